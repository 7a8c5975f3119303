"""`plateau sweep`: experiments of many runs, launched from a YAML file."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.commands import AsJson, Token, Url, _assignment, _print, app
from app.cli.rest import Rest, place

sweep = typer.Typer(help="Experiments of many runs: λ × lr × seeds.", no_args_is_help=True)
app.add_typer(sweep, name="sweep")
SweepId = Annotated[str, typer.Argument(help="A sweep's id, x-0001.")]


@sweep.command()
def launch(
    file: Annotated[Path, typer.Argument(help="The sweep's specification as YAML; docs/sweeps.md shows one.")],
    cost: Annotated[bool, typer.Option("--cost", help="Only say what it would take; nothing is started.")] = False,
    name: Annotated[str | None, typer.Option(help="For people.")] = None,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Queue every run of a sweep; its cost is printed first."""
    import uuid

    from app.cli import spec_file

    body = spec_file.read(file) | ({"name": name} if name else {})
    with Rest(place(url, token)) as rest:
        price = rest.post("sweeps/cost", body)
        if cost or not as_json:
            _print(price) if as_json else _say_cost(price)
        if cost:
            return
        made = rest.post_once("sweeps", body, key=str(uuid.uuid4()))
        if as_json:
            _print(made)
        else:
            typer.echo(f"{made['id']} {made['name']}: {made['state']}. {rest.url}/sweeps/{made['id']}")


@sweep.command("list")
def list_(url: Url = None, token: Token = None, as_json: AsJson = False) -> None:
    """List sweeps, newest first."""
    from app.cli import show

    with Rest(place(url, token)) as rest:
        found = rest.get("sweeps", limit=100)
    if as_json:
        _print(found)
        return
    rows = [
        [one["id"], one["state"], one["name"], f"{one['runs']['ended']}/{one['runs']['total']}", f"{one['runs']['share']:.0%}", show.age(one["created_at"])]
        for one in found["sweeps"]
    ]  # fmt: skip
    show.table(["sweep", "state", "name", "runs", "steps", "age"], rows, "No sweeps. Start one with: plateau sweep launch FILE.yaml")  # fmt: skip


@sweep.command("show")
def show_(sweep: SweepId, url: Url = None, token: Token = None, as_json: AsJson = False) -> None:
    """What the sweep says so far: the verdict, then a line for each arm."""
    from app.cli import show

    with Rest(place(url, token)) as rest:
        found, said = rest.get(f"sweeps/{sweep}"), rest.get(f"sweeps/{sweep}/analysis")
    if as_json:
        _print({"sweep": found, "analysis": said})
        return
    runs = found["runs"]
    typer.echo(f"{found['id']} {found['name']}: {found['state']}, {runs['ended']} of {runs['total']} runs ended.")
    typer.echo(said["verdict"]["text"])
    rows = [
        [arm["label"], str(arm["n"]), show.loss(arm["mean"]), _half(arm["low"], arm["high"]), _difference(arm["paired"]),
         _p(arm["paired"]), show.number(arm["total_decay"]), arm["reading_text"]]
        for arm in said["arms"]
    ]  # fmt: skip
    show.table(["arm", "n", "final val", "±", "Δ to reference", "p (Holm)", "Λ", "reading"], rows, "No runs yet.")


@sweep.command()
def pause(sweep: SweepId, url: Url = None, token: Token = None, as_json: AsJson = False) -> None:
    """Give nothing more of it to workers; what trains is saved."""
    _act(sweep, "pause", None, url, token, as_json)


@sweep.command()
def resume(sweep: SweepId, url: Url = None, token: Token = None, as_json: AsJson = False) -> None:
    """Queue its runs again, each from its newest checkpoint."""
    _act(sweep, "resume", None, url, token, as_json)


@sweep.command()
def cancel(sweep: SweepId, url: Url = None, token: Token = None, as_json: AsJson = False) -> None:
    """Drop what waits, stop what trains; nothing is deleted."""
    _act(sweep, "cancel", None, url, token, as_json)


@sweep.command()
def add(
    sweep: SweepId,
    seeds: Annotated[int, typer.Option(help="So many more runs of every arm.")] = 0,
    values: Annotated[
        list[str] | None, typer.Option("--values", help="More values of a factor: optim.weight_decay=[0.3,10].")
    ] = None,
    trials: Annotated[int, typer.Option(help="So many more draws of a search.")] = 0,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """More seeds, values or trials; only the runs that are missing are made."""
    factors = []
    for text in values or ():
        field, given = _assignment(text, "--values takes section.field=[value, …], as optim.weight_decay=[0.3, 10]")
        factors.append({"field": field, "values": given if isinstance(given, list) else [given]})
    _act(sweep, "add", {"seeds": seeds, "factors": factors, "trials": trials}, url, token, as_json)


def _act(sweep: str, verb: str, body: Any, url: str | None, token: str | None, as_json: bool) -> None:
    with Rest(place(url, token)) as rest:
        changed = rest.post(f"sweeps/{sweep}/{verb}", body)
    if as_json:
        _print(changed)
    else:
        runs = changed["runs"]
        typer.echo(
            f"{changed['id']} {changed['name']}: {changed['state']}, {runs['ended']} of {runs['total']} runs ended."
        )


def _say_cost(price: dict[str, Any]) -> None:
    from app.cli import show

    time = "time not known: no run of such a shape has been measured" if price["seconds"] is None else f"about {show.duration(price['seconds'])} of training"  # fmt: skip
    there = f", {price['there']} of them there already" if price["there"] else ""
    typer.echo(f"{price['runs']} runs{there}: {show.number(price['tokens'])} tokens, {time}.")
    rows = [[arm["label"], str(arm["runs"]), show.number(arm["total_decay"]), f"{arm['init_keep']:.1%}", arm["verdict"], show.duration(arm["seconds"])] for arm in price["arms"]]  # fmt: skip
    show.table(["arm", "runs", "Λ", "kept of init", "λ is", "a run"], rows, "")


def _half(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{(high - low) / 2:.4f}"


def _difference(paired: dict[str, Any] | None) -> str:
    if paired is None or paired["mean"] is None:
        return "–"
    half = _half(paired["low"], paired["high"])
    return f"{paired['mean']:+.4f}" + ("" if half == "–" else f" ± {half}")


def _p(paired: dict[str, Any] | None) -> str:
    found = paired and paired.get("p_adjusted")
    return "–" if found is None else f"{found:.2g}"
