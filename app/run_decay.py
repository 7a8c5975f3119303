"""What weight decay has done in a run so far and will do: numbers, a table by group, and curves with where they should settle."""

from dataclasses import asdict
from typing import Any

import numpy as np

from app import decay, decay_groups, decay_outlook, preflight, series
from app.contract.config import RunConfig
from app.contract.schedule import decay_per_step, decay_share
from app.db import Tx
from app.decay_groups import Decayed, Group
from app.tables import Dataset, Run

MEASURED = ("rms", "update_ratio", "rotation", "decay_share")
SHRUNK = 0.3
"""Of the first measured RMS: below it, while the validation loss rises, decay is suspected to be too strong (science.md A.4)."""


def standing(tx: Tx, run: Run) -> dict[str, Any]:
    """As REST answers it. Shares per step and λ are those of the newest update; Λ counts from where this run began."""
    config = RunConfig.model_validate(run.config)
    schedule, optim = config.schedule, config.optim
    first = int(run.telemetry.get("first_step", 0))
    update = max(first, run.step - 1)
    tokens, train_tokens = config.tokens_per_step, _train_tokens(tx, run)
    a = decay.per_step(schedule, optim)(update) if decay.decouples(optim) else 0.0
    skipped = _skipped(tx, run)
    share = decay.per_step(schedule, optim) if decay.decouples(optim) else (lambda _: 0.0)
    so_far = decay.total_decay(schedule, optim, first, max(first, run.step)) - sum(share(step - 1) for step in skipped)
    whole = decay.total_decay(schedule, optim, first)
    timescale = 1.0 / a if a > 0 else None
    table = decay_groups.table(config, _vocab_size(tx, run, config))
    newest = series.summaries(tx.raw, run.id)
    groups = [_group(one, newest, config, update) for one in table.groups]
    active = newest.get("decay/active")
    return {
        "rule": table.rule,
        "tensors": table.tensors,
        "parameters": table.parameters,
        "of_tensors": table.of_tensors,
        "of_parameters": table.of_parameters,
        "kinds": [asdict(one) for one in table.kinds],
        "coupling": "gradient" if optim.optimizer == "adam_l2" else optim.decay_coupling,
        "first_step": first,
        "step": run.step,
        "steps": schedule.steps,
        "lr": decay.rate(schedule, update),
        "per_step": a,
        "half_life_steps": decay.half_life_steps(1.0, a) if a > 0 else None,
        "timescale_steps": timescale,
        "timescale_tokens": timescale * tokens if timescale else None,
        "timescale_epochs": timescale * tokens / train_tokens if timescale and train_tokens else None,
        "total_so_far": so_far,
        "total": whole,
        "left_so_far": decay.init_keep(so_far),
        "left": decay.init_keep(whole),
        "verdict": decay.judge(whole, decay.coupled(schedule, optim)),
        "skipped_steps": len(skipped),
        "cautious_share": active.last_value if active else None,
        "over_decay_suspected": _shrinks(tx, run, table),
        "groups": groups,
        "outlook": asdict(decay_outlook.outlook(config, first)),
    }


def curves(tx: Tx, run: Run, metric: str, most: int = 240) -> dict[str, tuple[list[int], list[float]]]:
    """{group: (steps, values)} of one of MEASURED."""
    found = {}
    for key in series.summaries(tx.raw, run.id):
        if key.startswith(f"{metric}/"):
            points = series.read(tx.raw, run.id, key, buckets=most)
            found[key.partition("/")[2]] = (points.step.tolist(), points.value.tolist())
    return found


def _group(one: Group, newest: Any, config: RunConfig, update: int) -> dict[str, Any]:
    schedule, optim = config.schedule, config.optim
    rate = decay.rate(schedule, update)
    a: float | None = 0.0
    if one.weight_decay:
        end = schedule.decay_steps or schedule.steps
        in_force = one.weight_decay * decay_share(update, shape=optim.decay_schedule, decay_steps=end)
        corrected = optim.adamc and one.group.partition(".")[0] in ("attn", "mlp")
        a = decay_per_step(rate, in_force, peak=schedule.lr, coupling=optim.decay_coupling, adamc=corrected)
        a = None if optim.optimizer == "adam_l2" else a
    settles = decay_outlook.predictable(optim) and bool(a) and one.group not in ("norm", "bias")
    last = {metric: newest.get(f"{metric}/{one.group}") for metric in MEASURED}
    return asdict(one) | {
        "lr": rate,
        "per_step": a,
        "rms_equilibrium": decay_outlook.rms_at(rate, a) if a and settles else None,
        "rotation_equilibrium": decay.rotation_equilibrium(a, optim.beta1) if a and settles else None,
        **{metric: known.last_value if known else None for metric, known in last.items()},
    }


def _shrinks(tx: Tx, run: Run, table: Decayed) -> bool:
    """A decayed group has less than SHRUNK of its first RMS left, and the validation loss is above its best by more than
    two standard errors."""
    if run.best_val is None:
        return False
    newest = series.summaries(tx.raw, run.id, ("val/loss",)).get("val/loss")
    if newest is None or newest.last_value is None:
        return False
    if newest.last_value <= run.best_val + 2 * (run.best_val_se or 0.0):
        return False
    decayed = {one.group for one in table.groups if one.decays}
    for group, (_, values) in curves(tx, run, "rms").items():
        if group in decayed and values and values[-1] < SHRUNK * values[0]:
            return True
    return False


def _skipped(tx: Tx, run: Run) -> list[int]:
    """The steps in which float16's gradients overflowed: nothing was taken off the weights."""
    points = series.read(tx.raw, run.id, "train/skipped")
    return [int(step) for step in points.step[np.asarray(points.value) > 0]]


def _train_tokens(tx: Tx, run: Run) -> int | None:
    dataset = tx.session.get(Dataset, run.dataset_id) if run.dataset_id else None
    return int(dataset.manifest["train"]["tokens"]) if dataset is not None and dataset.manifest else None


def _vocab_size(tx: Tx, run: Run, config: RunConfig) -> int:
    """As the worker built it; before it has, what it will build."""
    if built := run.telemetry.get("vocab_size"):
        return int(built)
    dataset = tx.session.get(Dataset, run.dataset_id) if run.dataset_id else None
    known = dataset.manifest["tokenizer"]["vocab_size"] if dataset is not None and dataset.manifest else None
    return preflight.padded_vocab(int(known or preflight.GPT2_VOCAB), config.model.pad_vocab)
