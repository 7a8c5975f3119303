"""`plateau diagnose` and `plateau experiment`: why a loss is as it is, of a run or of a log file, and what would tell."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.commands import AsJson, RunId, Token, Url, _assignment, _print, app, configured
from app.cli.rest import FAILED, NOT_FOUND, REFUSED, USAGE, CliError, Rest, place

RUN = re.compile(r"r-[0-9]{1,18}")
MARKS = {"critical": "!!", "warn": "! ", "info": "i ", "ok": "ok", "unknown": "? "}


@app.command()
def diagnose(
    what: Annotated[
        str, typer.Argument(metavar="RUN|FILE", help="A run's id, r-0001, or a log file; a file needs no server.")
    ],
    config: Annotated[Path | None, typer.Option(help="The file's config file; read, never executed.")] = None,
    args: Annotated[str, typer.Option(help="Or the command line it was started with.")] = "",
    fact: Annotated[
        list[str] | None,
        typer.Option(help="What the file does not say: train_tokens=7e8, device='RTX 4070'. Repeatable."),
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Also what was looked at and found healthy, and what waits for data.")
    ] = False,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Say why a loss is as it is: verdict, evidence with intervals, what would change it, the experiment that would tell.

    Exit codes: 0 a diagnosis was made and nothing in it is critical; 1 something is (NaN, a lasting jump); 2 usage; 3 no such
    run or file; 4 the file is no log; 5 no server.
    """
    path = Path(what)
    if RUN.fullmatch(what) and not path.exists():
        if config or args or fact:
            raise CliError("--config, --args and --fact are for files; a run's facts are changed on the server.", USAGE)
        with Rest(place(url, token)) as rest:
            found = rest.get(f"runs/{what}/diagnosis")
    else:
        found = _of_file(path, config, args, fact or [])
    if as_json:
        _print(found)
    else:
        _say(found, all_)
    raise typer.Exit(FAILED if any(one["level"] == "critical" for one in found["findings"]) else 0)


@app.command()
def experiment(
    run: RunId,
    kind: Annotated[
        str | None, typer.Argument(help="anneal_probe, lr_half, …; without it, the experiments are listed.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Changes it further: section.field=value.")] = None,
    name: Annotated[str | None, typer.Option(help="For people.")] = None,
    on: Annotated[str | None, typer.Option("--on", help="Only this worker may take it, w-02.")] = None,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Launch an experiment of a run's diagnosis; when it is over, its outcome is written there."""
    import uuid

    with Rest(place(url, token)) as rest:
        if kind is None:
            found = rest.get(f"runs/{run}/experiments")
            _print(found) if as_json else _list(found | {"run": run})
            return
        body = {"kind": kind, "config": configured({}, set_), "name": name, "worker": on}
        made = rest.post_once(
            f"runs/{run}/experiments", {k: v for k, v in body.items() if v is not None}, key=str(uuid.uuid4())
        )
    if as_json:
        _print(made)
    else:
        typer.echo(f"{made['title']}: {made['child']}. {made['question']}")


def _of_file(path: Path, config: Path | None, args: str, given: list[str]) -> dict[str, Any]:
    from pydantic import ValidationError

    from app.contract.elsewhere import RunFacts
    from app.errors import PlateauError
    from app.log_diagnosis import diagnose as judged

    pairs = dict(_assignment(text, "--fact takes name=value, as train_tokens=7e8") for text in given)
    try:
        facts = RunFacts.model_validate(pairs).model_dump(exclude_none=True)
    except ValidationError as error:
        raise CliError(
            "\n".join(f"--fact {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()), USAGE
        ) from None
    try:
        text = config.read_text(errors="replace") if config else ""
        return judged(path, config=text, args=args, supplied=facts)
    except OSError as error:
        raise CliError(f"{error.filename or path}: {error.strerror or error}", NOT_FOUND) from None
    except PlateauError as error:
        raise CliError(f"{path}: {error}", REFUSED) from None


def _say(found: dict[str, Any], everything: bool) -> None:
    where = found.get("run") or f"{found['log']} ({found['format']})"
    head = next((one for one in found["findings"] if one["rule"] == found["rule"]), None)
    typer.echo(f"{where}, step {found['step']:,}: {found['verdict'].upper()}. {found['headline']}")
    if head is not None:
        _evidence(head)
    if gain := found.get("gain"):
        hour = f", falls {gain['per_hour']:.3g} nats an hour now" if gain["per_hour"] else ""
        typer.echo(
            f"   training on to the end is worth {gain['nats']:.3f} nats ({gain['low']:.3f} to {gain['high']:.3f}){hour}"
        )
    shown = [
        one for one in found["findings"] if one is not head and (everything or one["level"] not in ("ok", "unknown"))
    ]
    for one in shown:
        typer.echo(f"\n{MARKS[one['level']]} {one['rule']} {one['subject']}: {one['verdict']}. {one['sentence']}")
        _evidence(one)
    rest = [one for one in found["findings"] if one is not head and one not in shown]
    healthy = [one["subject"] for one in rest if one["level"] == "ok"]
    if healthy:
        typer.echo(f"\nok Looked at and found healthy: {', '.join(healthy)}.")
    for one in rest:
        if one["level"] == "unknown":
            typer.echo(
                f"?  {one['subject']} waits: {one['sentence'] if one['rule'] == 'D02' else one['needs'] or one['sentence']}"
            )
    if found.get("asks"):
        typer.echo(f"?  Not known, and --fact or --config could say it: {', '.join(found['asks'])}.")
    for note in found.get("notes", ()):
        typer.echo(f"   {note}")
    if "next" in found:
        typer.echo("")
        _list(found)


def _evidence(one: dict[str, Any]) -> None:
    for row in one["evidence"]:
        value = "–" if row["value"] is None else f"{row['value']:.4g}"
        interval = (
            f" [{row['low']:.4g}, {row['high']:.4g}]" if row["low"] is not None and row["high"] is not None else ""
        )
        limit = f"  ({row['limit']})" if row["limit"] else ""
        typer.echo(f"   {row['name']}: {value}{interval} {row['unit']}{limit}".rstrip())
    because = f": {one['because']}" if one["because"] else ""
    typer.echo(f"   {one['confidence']} confidence{because}")
    for word, key in (("would change it", "would_change"), ("advice", "advice")):
        if one[key]:
            typer.echo(f"   {word}: {one[key]}")


def _list(found: dict[str, Any]) -> None:
    from app.cli import show

    for one in found["experiments"]:
        outcome = {None: "under way", "open": "still open"}.get(one["outcome"], one["outcome"])
        typer.echo(f"{one['title']} ({one['child']}): {outcome}. {one['sentence'] or one['question']}")
    for one in found["next"]:
        if not one["possible"]:
            continue
        cost = show.duration(one["seconds"]) if one["seconds"] is not None else f"{one['tokens']:,} tokens"
        mark = "*" if one["rule"] else " "
        typer.echo(
            f"{mark} plateau experiment {found.get('run', 'RUN')} {one['kind']}  {one['steps']:,} steps, {cost}  {one['question']}"
        )
