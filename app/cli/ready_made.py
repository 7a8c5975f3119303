"""`plateau sweep ready`: the ready-made experiments, listed, priced, started."""

from typing import Annotated

import typer

from app.cli.commands import AsJson, Token, Url, _print
from app.cli.rest import Rest, place
from app.cli.sweeping import sweep


@sweep.command("ready")
def ready(
    key: Annotated[str | None, typer.Argument(help="Which one; without it they are listed.")] = None,
    start: Annotated[bool, typer.Option("--start", help="Queue its runs.")] = False,
    cost: Annotated[bool, typer.Option("--cost", help="What it would take on the machines that are here.")] = False,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Experiments, most about weight decay, that only need to be started."""
    import uuid

    from app.cli import show

    with Rest(place(url, token)) as rest:
        if key is None:
            found = rest.get("ready-made")
            rows = [[one["key"], one["question"], f"{one['minutes']} min"] for one in found["experiments"]]
            _print(found) if as_json else show.table(["experiment", "question", "on two cores"], rows, "")
            return
        if start:
            made = rest.post_once(f"ready-made/{key}", None, key=str(uuid.uuid4()))
            _print(made) if as_json else typer.echo(f"{made['id']} {made['name']}: {rest.url}/sweeps/{made['id']}")
            return
        one = rest.get(f"ready-made/{key}")
        price = rest.post("sweeps/cost", one["spec"]) if cost else None
    if as_json:
        _print(price or one)
        return
    typer.echo(f"{one['name']}\n{one['question']}\n{one['why']}\nLook at: {one['look_at']}")
    if price:
        time = show.duration(price["seconds"]) if price["seconds"] is not None else "not measured yet"
        typer.echo(f"{price['runs']} runs, {price['new']} to be trained; {price['tokens']:,} tokens; {time}")
