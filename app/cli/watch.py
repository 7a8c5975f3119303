"""A run, live in the terminal: the same event stream as the page's, reconnecting where it ended."""

import json
import math
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import typer

from app.cli.rest import AWAY, FAILED, OK, CliError, Rest, refusal
from app.cli.show import COLOURS, duration, loss, number, sparkline
from app.contract.states import ENDED

SILENCE_S = 40.0
"""The server sends a comment every 15 s; this long without any, and the connection is dead."""
GIVE_UP_S = 60.0
STILL = frozenset({*ENDED, "paused"})
"""States in which nothing more will come without a person."""
PLAIN_EVERY_S = 5.0


class Shown:
    """What is known of the run: its newest JSON and its curves."""

    def __init__(self, run: dict[str, Any]) -> None:
        self.run = run
        self.curves: dict[str, dict[int, float]] = {"train/loss": {}, "val/loss": {}}

    def take(self, kind: str, data: dict[str, Any]) -> None:
        if kind == "state" and data.get("run") == self.run["id"]:
            self.run = {**self.run, **data}
        elif kind == "points":
            for key, curve in self.curves.items():
                column = data["columns"].get(key, {"step": [], "value": []})
                curve.update((step, float(value)) for step, value in zip(column["step"], column["value"], strict=True))
        elif kind == "truncate":
            for key, curve in self.curves.items():
                self.curves[key] = {step: value for step, value in curve.items() if step <= data["after"]}

    def fill(self, metrics: dict[str, Any]) -> None:
        """From the metrics route: what happened before the stream began."""
        for key, series in metrics["runs"].get(self.run["id"], {}).items():
            pairs = zip(series["step"], series["y"], strict=True)
            self.curves[key] = {step: value for step, value in pairs if value is not None} | self.curves.get(key, {})

    def newest(self, key: str) -> float | None:
        curve = self.curves[key]
        return curve[max(curve)] if curve else None

    @property
    def curve(self) -> list[float]:
        return [value for _, value in sorted(self.curves["train/loss"].items())]

    def facts(self) -> dict[str, Any]:
        """One JSON line."""
        run = self.run
        return {
            "run": run["id"], "state": run["state"], "step": run["step"], "steps": run["steps"],
            "train/loss": plain(self.newest("train/loss")), "val/loss": plain(self.newest("val/loss")),
            "tok_per_s": run.get("tok_per_s"), "eta_s": run.get("eta_s"),
        }  # fmt: skip


def plain(value: float | None) -> float | str | None:
    """A float as JSON can hold it."""
    return value if value is None or math.isfinite(value) else str(value)


def watch(rest: Rest, run_id: str, as_json: bool) -> int:
    """Until the run is over; its exit code: 0 finished, stopped or paused, 1 failed, 5 the server stayed away."""
    shown = Shown(rest.get(f"runs/{run_id}"))
    if as_json:
        _follow_plainly(rest, shown, lambda: typer.echo(json.dumps(shown.facts())), every_s=0.0)
    elif sys.stdout.isatty():
        _follow_live(rest, shown)
    else:
        _follow_plainly(rest, shown, lambda: typer.echo(line(shown)), every_s=PLAIN_EVERY_S)
    run = shown.run
    if not as_json:
        typer.echo(f"{run['id']} {run['state']}: {run['detail'] or run['meaning']}. {rest.url}/runs/{run['id']}")
    return FAILED if run["state"] == "failed" else OK


def _follow_live(rest: Rest, shown: Shown) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with Live(_picture(shown), console=console, refresh_per_second=8, transient=True) as live:
        for _ in changes(rest, shown):
            live.update(_picture(shown))


def _follow_plainly(rest: Rest, shown: Shown, say: Any, every_s: float) -> None:
    said_at, said = float("-inf"), ""
    for _ in changes(rest, shown):
        new = json.dumps(shown.facts())
        if new != said and (time.monotonic() - said_at >= every_s or shown.run["state"] in STILL):
            say()
            said_at, said = time.monotonic(), new


def line(shown: Shown) -> str:
    run = shown.run
    return (
        f"{run['id']} {run['state']} {run['step']}/{run['steps']}"
        f"  loss {loss(shown.newest('train/loss'))}  val {loss(shown.newest('val/loss'))}"
        f"  {number(run.get('tok_per_s'))} tok/s  {duration(run.get('eta_s'))} left"
    )


def _picture(shown: Shown) -> Any:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    run = shown.run
    grid = Table.grid(padding=(0, 2))
    grid.add_row(
        Text(run["name"], style="bold", overflow="ellipsis", no_wrap=True),
        Text(run["state"], style=COLOURS.get(run["state"], "")),
        ProgressBar(total=run["steps"], completed=run["step"], width=24),
        f"{run['step']:,} of {run['steps']:,}",
        duration(run.get("eta_s")),
    )
    curve = Table.grid(padding=(0, 2))
    curve.add_row(
        Text(sparkline(shown.curve), style="cyan"),
        f"loss {loss(shown.newest('train/loss'))}",
        f"val {loss(shown.newest('val/loss'))}",
        f"{number(run.get('tok_per_s'))} tok/s",
    )
    whole = Table.grid()
    whole.add_row(grid)
    whole.add_row(curve)
    return whole


def changes(rest: Rest, shown: Shown) -> Iterator[None]:
    """One step per message that changed something; ends when the run is over. Reconnects with Last-Event-ID."""
    import httpx

    cursor: str | None = None
    filled = False
    away_since: float | None = None
    while True:
        headers = {"Last-Event-ID": cursor} if cursor else {}
        timeout = httpx.Timeout(10.0, read=SILENCE_S)
        try:
            with rest.http.stream(
                "GET", "stream", params={"run": shown.run["id"]}, headers=headers, timeout=timeout
            ) as answer:
                if not answer.is_success:
                    answer.read()
                    raise refusal(answer)
                for kind, data, after in messages(answer.iter_lines(), cursor):
                    cursor, away_since = after, None
                    if kind == "resync" or not filled:  # later greetings are followed by what was missed
                        filled = True
                        shown.run = rest.get(f"runs/{shown.run['id']}")
                        shown.fill(rest.get("metrics", run=shown.run["id"], key=["train/loss", "val/loss"], width=400))
                    else:
                        shown.take(kind, data)
                    yield
                    if shown.run["state"] in STILL:
                        return
        except (httpx.TransportError, CliError) as error:
            if isinstance(error, CliError) and error.exit != AWAY:
                raise
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > GIVE_UP_S:
                raise CliError(
                    f"The server at {rest.url} has not answered for a minute. The run goes on without it.", AWAY
                ) from error
        time.sleep(1.0)


def messages(lines: Iterable[str], cursor: str | None) -> Iterator[tuple[str, dict[str, Any], str | None]]:
    """(event, data, cursor) of each server-sent event. The id that closes a group of messages holds for all of it."""
    kind, data = "message", ""
    for text in lines:
        if text.startswith("event:"):
            kind = text[6:].strip()
        elif text.startswith("data:"):
            data += text[5:].strip()
        elif text.startswith("id:"):
            cursor = text[3:].strip()
        elif not text and data:
            yield kind, json.loads(data), cursor
            kind, data = "message", ""
