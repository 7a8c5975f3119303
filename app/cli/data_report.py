"""`plateau dataset report`: have a dataset read again; and how `plateau dataset show` prints what is in it."""

from typing import Annotated, Any

import typer

from app.cli.commands import AsJson, Token, Url, dataset
from app.cli.rest import Rest, place

MARKS = {"warning": "!", "note": "·", "ok": "✓"}


@dataset.command("report")
def report(
    dataset: Annotated[str, typer.Argument(help="A dataset's id, d-0001.")],
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Have a worker read it again: lengths, duplicates, leakage, entropies. `plateau dataset show` prints the result."""
    with Rest(place(url, token)) as rest:
        asked = rest.post(f"datasets/{dataset}/report")
    if as_json:
        from app.cli import show

        show.as_json(asked)
    else:
        typer.echo(f"{asked['id']} {asked['name']}: report {asked['report']['state']}, {asked['report']['detail']}.")


def printed(stands: dict[str, Any] | None) -> None:
    """The verdicts, warnings first; or how far the reading is."""
    if stands is None:
        typer.echo("Not read yet; have it read: plateau dataset report ID")
        return
    if stands["state"] != "ready":
        share = stands["progress"].get("share")
        far = f", {stands['progress']['phase']} {share:.0%}" if share is not None else ""
        typer.echo(f"report {stands['state']}: {stands['detail']}{far}")
    for finding in (stands["result"] or {}).get("findings", ()):
        typer.echo(f"{MARKS[finding['level']]} {finding['text']} {finding['advice']}".rstrip())
