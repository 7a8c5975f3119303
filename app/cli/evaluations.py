"""`plateau evaluations`: what a run scored, window by window."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.commands import AsJson, RunId, Token, Url, app
from app.cli.rest import Rest, place


@app.command("evaluations")
def evaluations(
    run: RunId,
    at: Annotated[str | None, typer.Option(help="One evaluation with its losses: best, last or a step.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write every window's loss of every evaluation to this CSV.")] = None,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """List a run's evaluations; the validation loss of each window with --at or --out."""
    from app.cli import show

    with Rest(place(url, token)) as rest:
        if out is not None:
            rest.save(f"runs/{run}/evaluations.csv", out)
            typer.echo(f"{out} written.")
            return
        found = rest.get(f"runs/{run}/evaluations" if at is None else f"runs/{run}/evaluations/{at}")
    if as_json:
        show.as_json(found)
    elif at is not None:
        show.table(["window", "loss"], [[str(i), show.loss(loss)] for i, loss in enumerate(found["losses"])], "")
    else:
        rows = [
            [str(one["step"]), show.loss(one["loss"]), f"± {one['se']:.4f}", str(one["windows"])]
            for one in found["evaluations"]
        ]
        show.table(["step", "val loss", "se", "windows"], rows, f"{run} keeps no losses per window.")
