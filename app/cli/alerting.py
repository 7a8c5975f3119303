"""`plateau alert`: webhooks that are told what happens to runs."""

import time
from typing import Annotated, Any

import typer

from app.cli.commands import AsJson, Token, Url, _print, app
from app.cli.rest import FAILED, OK, Rest, place

alert = typer.Typer(help="Alerts: webhooks that are told of verdicts, ends, NaN, thresholds.", no_args_is_help=True)
app.add_typer(alert, name="alert")
AlertId = Annotated[str, typer.Argument(help="An alert's id, a-0001.")]
ASK_EVERY_S, WAIT_S = 0.3, 30.0


@alert.command("add")
def add(
    name: Annotated[str, typer.Argument(help="For people.")],
    webhook: Annotated[str, typer.Option("--webhook", help="The address that is told; https://…")],
    on: Annotated[list[str] | None, typer.Option("--on", help="verdict, finished, failed, lost, nan, metric; repeatable. Else failed, lost, nan.")] = None,
    verdict: Annotated[list[str] | None, typer.Option("--verdict", help="With --on verdict: only this one; repeatable.")] = None,
    metric: Annotated[str | None, typer.Option(help="With --on metric: its key, val/loss.")] = None,
    over: Annotated[float | None, typer.Option(help="Tell when the metric is over this.")] = None,
    under: Annotated[float | None, typer.Option(help="Tell when the metric is under this.")] = None,
    times: Annotated[int, typer.Option(min=1, help="So many values in a row.")] = 1,
    tag: Annotated[str, typer.Option(help="Only runs with this tag.")] = "",
    shape: Annotated[str, typer.Option(help="json (signed), slack or discord.")] = "json",
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Add an alert; it tells what happens from now on. The secret of its signatures is printed this once."""
    body: dict[str, Any] = {
        "name": name,
        "url": webhook,
        "shape": shape,
        "times": times,
        "tag": tag,
        "verdicts": verdict or [],
    }
    body |= {
        "metric": metric,
        "direction": "under" if under is not None else "over",
        "value": under if under is not None else over,
    }
    body["on"] = on or (["metric"] if metric else ["verdict"] if verdict else ["failed", "lost", "nan"])
    with Rest(place(url, token)) as rest:
        made = rest.post("alerts", body)
    if as_json:
        _print(made)
    else:
        typer.echo(f"{made['id']} {made['name']}: {', '.join(made['on'])} → {made['place']} ({made['shape']})")
        if made["secret"]:
            typer.echo(f"secret of its signatures, shown this once: {made['secret']}")


@alert.command("list")
def listing(url: Url = None, token: Token = None, as_json: AsJson = False) -> None:
    """List alerts."""
    with Rest(place(url, token)) as rest:
        found = rest.get("alerts")
    if as_json:
        _print(found)
    for one in () if as_json else found["alerts"]:
        off = "" if one["enabled"] else " (off)"
        typer.echo(f"{one['id']} {one['name']}{off}: {', '.join(one['on'])} → {one['place']} ({one['shape']})")


@alert.command("test")
def send_test(which: AlertId, url: Url = None, token: Token = None, as_json: AsJson = False) -> None:
    """Send a message now and say what came of it; exit code 1 unless it was taken."""
    with Rest(place(url, token)) as rest:
        sent = rest.post(f"alerts/{which}/test")
        until = time.monotonic() + WAIT_S
        while sent["state"] == "waiting" and not sent["tries"] and time.monotonic() < until:
            time.sleep(ASK_EVERY_S)
            sent = next(one for one in rest.get(f"alerts/{which}/deliveries")["deliveries"] if one["id"] == sent["id"])
    if as_json:
        _print(sent)
    else:
        typer.echo(f"{sent['id']} {sent['state']}: {sent['answer'] or 'not tried yet'}")
    raise typer.Exit(OK if sent["state"] == "sent" else FAILED)


@alert.command("enable")
def enable(which: AlertId, url: Url = None, token: Token = None, as_json: AsJson = False) -> None:
    """Switch an alert on; of the time it was off it tells nothing."""
    _switch(which, True, url, token, as_json)


@alert.command("disable")
def disable(which: AlertId, url: Url = None, token: Token = None, as_json: AsJson = False) -> None:
    """Switch an alert off."""
    _switch(which, False, url, token, as_json)


@alert.command("delete")
def delete(which: AlertId, url: Url = None, token: Token = None) -> None:
    """Delete an alert with its history."""
    with Rest(place(url, token)) as rest:
        rest.delete(f"alerts/{which}")
    typer.echo(f"{which} is deleted.")


@alert.command("history")
def history(
    which: Annotated[str | None, typer.Argument(help="An alert's id; else of all.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 30,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """What was sent, newest first."""
    with Rest(place(url, token)) as rest:
        found = rest.get(f"alerts/{which}/deliveries" if which else "alerts/deliveries", limit=limit)
    if as_json:
        _print(found)
    for one in () if as_json else found["deliveries"]:
        typer.echo(
            f"{one['created_at']} {one['alert']} {one['state']} {one['kind']} {one['run'] or ''}: {one['text']} [{one['answer']}]"
        )


def _switch(which: str, enabled: bool, url: str | None, token: str | None, as_json: bool) -> None:
    with Rest(place(url, token)) as rest:
        found = rest.patch(f"alerts/{which}", {"enabled": enabled})
    if as_json:
        _print(found)
    else:
        typer.echo(f"{found['id']} {found['name']} is {'on' if found['enabled'] else 'off'}.")
