"""What a configuration and the facts beside it say of a run, as the rules read it: nothing that nobody told. Pure.

A run from elsewhere has a whole configuration, most of it defaults: of those fields only what its log or its config really
told counts as known, and everything else is None to the rules.
"""

from collections.abc import Collection, Mapping
from typing import Any

from app import preflight
from app.contract.config import RunConfig
from app.contract.states import ENDED
from app.diagnosis.observations import Curve, Observations

SCHEDULE = ("schedule.steps", "schedule.lr", "schedule.warmup_steps")
"""What has to be known of a schedule before it says anything."""


def said(config: RunConfig, known: Collection[str] | None, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of Observations. `known`: flat names of what was told of the configuration, None for all of it; `facts`:
    what a worker told of the engine, or a log and people of a run from elsewhere."""
    told = config.flat()
    if known is not None:
        told = {field: value for field, value in told.items() if field in known}
    batch = {key: facts.get(key) or told.get(f"batch.{key}") for key in ("micro_batch", "accumulation")}
    block_size, tokens = told.get("model.block_size"), None
    if block_size and all(batch.values()):
        tokens = int((batch["micro_batch"] or 0) * (batch["accumulation"] or 0) * block_size)
    scheduled = known is None or set(known).issuperset(SCHEDULE)
    processes, dtype = int(facts.get("processes") or 1), told.get("system.dtype")
    return {
        **batch,
        **sizes(config, known, facts),
        "steps": config.schedule.steps if scheduled else facts.get("steps"),
        "schedule": config.schedule if scheduled else None,
        "optim": config.optim if "optim.weight_decay" in told else None,
        "tokens_per_step": facts.get("tokens_per_step") or tokens,
        "dropout": told.get("model.dropout"),
        "block_size": block_size,
        "n_layer": told.get("model.n_layer"),
        "n_embd": told.get("model.n_embd"),
        "tied_head": told.get("model.tied_head"),
        "zero_init": told.get("model.zero_init"),
        "dtype": facts.get("dtype") or (None if dtype == "auto" else dtype),
        "device": _device(facts, known),
        "devices": processes,
        # a worker tells the peak of all its devices together
        "peak_flops": facts["peak_flops"] / processes if facts.get("peak_flops") else None,
        "mfu_peak_flops": facts.get("mfu_peak_flops"),
        "train_tokens": facts.get("train_tokens"),
        "val_tokens": facts.get("val_tokens"),
        "eval_every": told.get("eval.every"),
        "eval_windows": facts.get("eval_windows") or told.get("eval.windows"),
        "fixed_eval": config.data.sampler != "nanogpt" if known is None else facts.get("fixed_eval"),
        "train_loss_is": facts.get("train_loss_is") or "batch mean",
        "train_loss_mode": facts.get("train_loss_mode") or "train",
        "log_every": 1 if known is None else facts.get("log_every"),
        "pretrained": facts.get("pretrained"),
        "replays_data": bool(facts.get("replays_data")),
        "resumed_at": tuple(facts.get("resumed_at") or ()),
    }


def _device(facts: Mapping[str, Any], known: Collection[str] | None) -> str | None:
    """Its name; of a run of ours on no accelerator only that, because processors and Apple's chips have no one peak."""
    if known is None and facts.get("device") in ("cpu", "mps"):
        return str(facts["device"])
    return facts.get("device_name") or (facts.get("device") if known is not None else None)


def sizes(config: RunConfig, known: Collection[str] | None, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Of the network: as they were counted, else worked out where the whole shape is known."""
    vocab, everything = facts.get("vocab_size"), facts.get("parameters")
    inner = facts.get("parameters_no_embedding")
    shape = known is None or set(known).issuperset(("model.n_layer", "model.n_embd", "model.block_size"))
    if vocab and shape:
        counted = preflight.count_parameters(config.model, int(vocab))
        everything, inner = everything or counted.total, inner or counted.without_embeddings
    if everything and shape and config.model.positions == "learned":  # the rules count without them
        everything -= config.model.block_size * config.model.n_embd
    return {"parameters": everything, "parameters_no_embedding": inner, "vocab_size": vocab}


def from_elsewhere(
    config: RunConfig,
    known: Collection[str],
    facts: Mapping[str, Any],
    curves: Mapping[str, Curve],
    *,
    step: int,
    state: str,
    reason: str | None,
) -> Observations:
    """A log that is no run of this server."""
    failed = reason if state == "failed" else None
    return Observations(curves, step=step, ended=state in ENDED, failed=failed, **said(config, known, facts))
