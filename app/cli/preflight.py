"""`plateau preflight`: a run's numbers before it is launched; exit code 0 whatever they say, for they are advice."""

from typing import Annotated, Any

import typer

from app.cli.commands import (
    AsJson,
    DatasetOption,
    Lr,
    OnWorker,
    SetFields,
    Token,
    Url,
    WeightDecay,
    _print,
    app,
    configured,
)
from app.cli.rest import Rest, place


@app.command()
def preflight(
    preset: Annotated[str | None, typer.Option(help="Starting point, as for plateau launch.")] = None,
    dataset: DatasetOption = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    lr: Lr = None,
    weight_decay: WeightDecay = None,
    decayed: Annotated[
        str | None, typer.Option(help="Which tensors decay: weights, matrices, all, or pattern with --pattern.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(help="Names of the tensors that decay, as 'transformer.h.*.weight !*.ln_*'.")
    ] = None,
    set_: SetFields = None,
    on: OnWorker = None,
    names: Annotated[bool, typer.Option("--names", help="Also every name, and whether it decays.")] = False,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Show what a run would cost and what its weight decay would do; nothing is launched."""
    direct = {
        "data.dataset": dataset, "schedule.steps": steps, "schedule.lr": lr, "optim.weight_decay": weight_decay,
        "optim.decayed": decayed or ("pattern" if pattern else None), "optim.decay_pattern": pattern,
    }  # fmt: skip
    config = configured(direct, set_)
    body = {"preset": preset, "config": config, "worker": on}
    with Rest(place(url, token)) as rest:
        found = rest.post("preflight", {key: value for key, value in body.items() if value is not None})
    if as_json:
        _print(found)
        return
    for warning in found["warnings"]:
        typer.echo(f"!  {warning['text']}")
    _numbers(found)
    _groups(found, names)


def _numbers(found: dict[str, Any]) -> None:
    from app.cli.show import duration, number, table

    def share(value: float | None) -> str:
        return "–" if value is None else f"{100 * value:.1f} %"

    priors = (found["decay_priors"] or {}).get("laws", ())
    rows = [
        ["parameters", number(found["parameters"]), f"{number(found['parameters_without_embeddings'])} without embeddings"],
        ["tokens", number(found["total_tokens"]), f"{found['tokens_per_step']:,} per step × {found['steps']:,} steps"],
        ["tokens per parameter", number(found["tokens_per_parameter"]), "compute-optimal is about 20"],
        ["epochs", number(found["epochs"]), f"repetition costs {number(found['repetition_penalty'], 2)} nats" if found["repetition_penalty"] else ""],
        ["memory", f"{found['memory_bytes'] / 2**30:.2f} GiB", f"on {found['memory_device']}, an estimate"],
        *(
            ["", f"{fit['verdict'].replace('_', ' ')}", f"{fit['device']}: {fit['total_gib']:.1f} of {fit['free_gib']:.1f} GiB, largest micro-batch {fit['largest_micro_batch']}"]
            for fit in found["memory_fits"]
        ),
        ["time", duration(found["seconds"]), f"at {number(found['tok_per_s'])} tok/s, measured" if found["tok_per_s"] else "not measured yet"],
        ["checkpoint disk", f"{found['checkpoints_bytes'] / 2**30:.2f} GiB", f"{found['checkpoint_bytes'] / 2**30:.2f} GiB each"],
        ["decay of the run Λ", number(found["total_decay"]), found["decay_verdict"]],
        ["effective decay", number(found["effective_decay"]), "lr·λ at the peak, per step"],
        ["half-life", number(found["half_life_steps"]), "steps at the peak"],
        ["timescale", number(found["timescale_steps"]), f"steps; {number(found['timescale_tokens'])} tokens, {number(found['timescale_epochs'])} epochs"],
        ["weights left", share(found["init_keep"]), "of the start, at the end"],
        ["equilibrium RMS", number(found["rms_equilibrium"]), f"rotation {number(found['rotation_equilibrium'])} radians per step"],
        *([f"λ by {law['name']}", number(law["weight_decay"], 2), f"a prior; {law['formula']} ({law['source']})"] for law in priors),
    ]  # fmt: skip
    table(["what", "value", "detail"], rows, "")


def _groups(found: dict[str, Any], names: bool) -> None:
    from app.cli.show import number, table

    decayed = found["decayed"]
    typer.echo(
        f"Decayed ({decayed['rule']}): {decayed['tensors']} of {decayed['of_tensors']} tensors,"
        f" {decayed['parameters']:,} of {decayed['of_parameters']:,} parameters"
    )
    rows = [
        [one["group"], str(one["tensors"]), f"{one['parameters']:,}", number(one["weight_decay"]), number(one["lr"]), one["moved_by"]]
        for one in decayed["groups"]
    ]  # fmt: skip
    table(["group", "tensors", "parameters", "λ", "lr", "moved by"], rows, "")
    if names:
        shown = [
            [
                one["name"],
                "decays" if one["decays"] else "spared",
                f"{one['tensors']} × {'×'.join(map(str, one['shape']))}",
            ]
            for one in decayed["kinds"]
        ]
        table(["name", "", "shape"], shown, "")
