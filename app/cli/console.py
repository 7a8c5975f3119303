"""`plateau log`: what a run's process printed, searched on the server, page by page."""

from datetime import datetime
from typing import Annotated, Any

import typer

from app.cli.commands import AsJson, RunId, Token, Url, app
from app.cli.rest import Rest, place

AT_ONCE = 500


@app.command("log")
def log(
    run: RunId,
    search: Annotated[str, typer.Option("--search", "-s", help="Only lines that hold this text.")] = "",
    level: Annotated[str, typer.Option(help="The least severe shown: debug, info, warn, error.")] = "debug",
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many, counted from the end.")] = 100,
    whole: Annotated[bool, typer.Option("--all", help="Every line, from the first.")] = False,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Show what a run printed: the last lines, or all of them; with --json one object a line."""
    from app.cli import show

    with Rest(place(url, token)) as rest:
        asked = {"q": search, "level": level}
        found: list[dict[str, Any]] = []
        while whole or len(found) < lines:
            limit = AT_ONCE if whole else min(AT_ONCE, lines - len(found))
            before = found[0]["id"] if found else 0
            page = rest.get(f"runs/{run}/log", **asked, before=before, limit=limit)["lines"]
            found = page + found
            if len(page) < limit:
                break
    for line in found:
        if as_json:
            show.as_json(line)
        else:
            typer.echo(f"{datetime.fromtimestamp(line['at']):%Y-%m-%d %H:%M:%S} {line['level']:5} {line['text']}")
