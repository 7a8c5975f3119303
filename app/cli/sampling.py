"""`plateau sample`: text from a run's checkpoint, on the terminal as it is written."""

import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from app.cli.commands import AsJson, RunId, Token, Url, app
from app.cli.rest import AWAY, FAILED, CliError, Rest, place

OPEN = ("queued", "writing")
GIVE_UP_S = 60.0


@app.command()
def sample(
    run: RunId,
    at: Annotated[
        str, typer.Option(help="last, best, a step, c-0001; now: the weights of a run that trains.")
    ] = "last",
    prompt: Annotated[str, typer.Option(help="What the text begins with; empty: the start of a document.")] = "",
    temperature: Annotated[float, typer.Option(help="0 always takes the most probable token.")] = 0.8,
    top_k: Annotated[int, typer.Option(help="Only the k most probable tokens; 0: all.")] = 200,
    top_p: Annotated[float, typer.Option(help="Only the most probable ones that hold this share together.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Equal seed and settings: equal text.")] = 1,
    samples: Annotated[int, typer.Option(help="How many texts.")] = 1,
    tokens: Annotated[int, typer.Option(help="Written after the prompt at most.")] = 200,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Write text from a run's checkpoint; Ctrl-C stops it and keeps what is there."""
    asked = {
        "at": at, "prompt": prompt, "temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed,
        "samples": samples, "tokens": tokens,
    }  # fmt: skip
    with Rest(place(url, token)) as rest:
        made = rest.post(f"runs/{run}/samples", asked)
        pen = Pen(samples, silent=as_json)
        try:
            for grown in states(rest, made):
                made = grown
                pen.write(made["texts"])
        except KeyboardInterrupt:
            pen.end()
            rest.post(f"runs/{run}/samples/{made['id']}/stop")
            raise
    pen.end()
    if as_json:
        from app.cli import show

        show.as_json(made)
    elif made["state"] != "done":
        typer.echo(f"{made['id']} {made['state']}: {made['detail'] or 'stopped'}", err=True)
    raise typer.Exit(FAILED if made["state"] == "failed" else 0)


class Pen:
    """Prints what is new of texts that grow one after the other."""

    def __init__(self, samples: int, silent: bool) -> None:
        self._samples = samples
        self._silent = silent
        self._shown: list[str] = []

    def write(self, texts: list[str]) -> None:
        for index, text in enumerate(texts):
            if index == len(self._shown):
                self._shown.append("")
                if self._samples > 1:
                    self._say(f"{chr(10) * 2 if index else ''}--- {index + 1} of {self._samples}\n")
            before = self._shown[index]
            if not text.startswith(before):  # another worker began anew
                self._say("\n--- begun anew\n")
                before = ""
            self._say(text[len(before) :])
            self._shown[index] = text

    def end(self) -> None:
        if self._shown:
            self._say("\n")

    def _say(self, text: str) -> None:
        if not self._silent:
            sys.stdout.write(text)
            sys.stdout.flush()


def states(rest: Rest, made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The sample as it grows, until it is over. Reconnects with Last-Event-ID."""
    import httpx

    from app.cli.rest import refusal
    from app.cli.watch import SILENCE_S, messages

    path = f"runs/{made['run']}/samples/{made['id']}"
    cursor: str | None = None
    away_since: float | None = None
    while True:
        headers = {"Last-Event-ID": cursor} if cursor else {}
        timeout = httpx.Timeout(10.0, read=SILENCE_S)
        try:
            with rest.http.stream(
                "GET", "stream", params={"run": made["run"]}, headers=headers, timeout=timeout
            ) as answer:
                if not answer.is_success:
                    answer.read()
                    raise refusal(answer)
                for kind, data, after in messages(answer.iter_lines(), cursor):
                    away_since = None
                    if kind == "resync" or cursor is None:  # the first greeting: what happened before it is asked for
                        made = rest.get(path)
                    elif kind == "sample":
                        made = next((one for one in data["samples"] if one["id"] == made["id"]), made)
                    cursor = after or cursor or ""
                    yield made
                    if made["state"] not in OPEN:
                        return
        except (httpx.TransportError, CliError) as error:
            if isinstance(error, CliError) and error.exit != AWAY:
                raise
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > GIVE_UP_S:
                raise CliError(f"The server at {rest.url} has not answered for a minute.", AWAY) from error
        time.sleep(1.0)
