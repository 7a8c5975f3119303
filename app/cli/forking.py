"""`plateau fork` and `plateau extend`: training that goes on from what is there."""

from typing import Annotated, Any

import typer

from app.cli.commands import (
    AsJson,
    ForPeople,
    Lr,
    Notes,
    OnWorker,
    RunId,
    SetFields,
    Token,
    Url,
    WatchIt,
    WeightDecay,
    _print,
    app,
    configured,
)
from app.cli.rest import USAGE, CliError, Rest, place


@app.command()
def fork(
    run: RunId,
    at: Annotated[
        str, typer.Option(help="The checkpoint to start from: best, last, a step, or an id, c-0001.")
    ] = "last",
    cooldown: Annotated[
        str | None, typer.Option(help="Bring the learning rate to zero: in 200 steps, or in 10% of the whole run.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the whole run, those before the fork included.")] = None,
    lr: Lr = None,
    weight_decay: WeightDecay = None,
    dataset: Annotated[str | None, typer.Option(help="Other data of the same vocabulary.")] = None,
    set_: SetFields = None,
    name: ForPeople = None,
    tag: Annotated[list[str] | None, typer.Option(help="Repeatable; else the run's own.")] = None,
    notes: Notes = None,
    on: OnWorker = None,
    watch: WatchIt = False,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Queue a new run that starts from a checkpoint of RUN, with what you change."""
    import uuid

    direct = {
        "schedule.steps": steps, "schedule.lr": lr, "optim.weight_decay": weight_decay, "data.dataset": dataset,
    }  # fmt: skip
    config = configured(direct, set_)
    body = {
        **_place(at), "config": config, "cooldown": _length(cooldown) if cooldown else None,
        "name": name, "tags": tag, "notes": notes, "worker": on,
    }  # fmt: skip
    asked = {key: value for key, value in body.items() if value is not None}
    with Rest(place(url, token)) as rest:
        made = rest.post_once(f"runs/{run}/fork", asked, key=str(uuid.uuid4()))
        if as_json and not watch:
            _print(made)
        elif not as_json:
            origin = made["fork"]
            typer.echo(
                f"{made['id']} {made['name']}: from step {origin['step']:,} of {origin['run']}. {rest.url}/runs/{made['id']}"
            )
        if watch:
            from app.cli.watch import watch as follow

            raise typer.Exit(follow(rest, made["id"], as_json))


@app.command()
def extend(
    run: RunId,
    steps: Annotated[int, typer.Argument(min=1, help="Steps of the whole run, those already made included.")],
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Train a finished, stopped or paused run longer; its schedule is stretched."""
    with Rest(place(url, token)) as rest:
        changed = rest.post(f"runs/{run}/extend", {"steps": steps})
    if as_json:
        _print(changed)
    else:
        typer.echo(f"{changed['id']} {changed['name']}: {changed['state']}, {changed['steps']:,} steps.")


def _place(at: str) -> dict[str, Any]:
    if at.isdecimal():
        return {"at": int(at)}
    return {"checkpoint": at} if at.startswith("c-") else {"at": at}


def _length(text: str) -> dict[str, Any]:
    """{"share": 0.1} of 10%, {"steps": 200} of 200."""
    number, percent, _ = text.strip().partition("%")
    try:
        return {"share": float(number) / 100} if percent else {"steps": int(number.replace("_", ""))}
    except ValueError:
        raise CliError(f"--cooldown takes steps or a share of the run, as 200 or 10%; got {text!r}.", USAGE) from None
