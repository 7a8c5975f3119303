"""What an experiment changes of its run, and from where it starts. Pure: a configuration and checkpoints in, a plan out.

A probe starts from a checkpoint and ends on a step at which its parent is evaluated, so that both can be compared there;
where the parent will not get so far, an earlier checkpoint is taken, or the whole run is made again.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from app.contract.config import RunConfig
from app.contract.schedule import learning_rate

PROBE = 0.1
"""Share of the steps so far in which an anneal probe takes the rate to zero."""
RATE_PROBE, SHORTEST = 0.05, 20
"""Share of the planned steps, and the fewest steps, over which another learning rate is tried."""
MORE_WINDOWS = 4
DECAYS = (0.1, 10**-0.5, 1.0, 10**0.5)
"""Around the prior, in λ; 0 and the run's own λ are added."""

SETTINGS = (
    "model.n_layer", "model.n_embd", "model.block_size", "batch.micro_batch", "batch.accumulation", "schedule.steps", "schedule.lr",
)  # fmt: skip
"""Without these a run from elsewhere cannot be made again, nor can anybody say what that would cost."""
UNTOLD = "It trains the run again, whose settings are not known: its config file or command line would tell what that is and what it costs."


class Saved(NamedTuple):
    """A checkpoint of the run."""

    id: str
    step: int
    val_loss: float | None


class Known(NamedTuple):
    """What a plan needs to know of the run besides its configuration."""

    step: int
    active: bool
    checkpoints: Sequence[Saved]  #: newest first
    parameters: int | None = None
    val_windows: int | None = None  #: that the validation split has
    larger_data: str | None = None  #: a dataset of the same vocabulary with more text
    vocab: int = 50_304  #: entries, padded
    fixed: bool = True  #: it is scored on the same windows each time
    elsewhere: bool = False  #: no run of this server: its dataset has to be named
    told: bool = True  #: whether its settings are known, of a run from elsewhere
    before: int | None = None  #: the step of a jump or a NaN: a probe starts before it and goes beyond


class Plan(NamedTuple):
    """`changes` are flat fields over the run's configuration; `factors` those of a sweep."""

    kind: str
    changes: dict[str, Any]
    steps: int  #: that are trained
    checkpoint: Saved | None = None  #: None: from the start
    cooldown: int | None = None  #: steps; sets the schedule
    factors: dict[str, list[float]] | None = None
    seeds: int = 1
    note: str = ""  #: what has still to be chosen, or why it is as it is


class Impossible(Exception):
    """The experiment cannot be made of this run; the message says why and what would help."""


def plan(kind: str, config: RunConfig, known: Known, wanted: Mapping[str, Any] | None = None) -> Plan:
    """`wanted`: what a rule asks for in particular, where the kind leaves that open. Raises Impossible."""
    given = wanted or {}
    if known.before is not None:
        known = known._replace(checkpoints=[one for one in known.checkpoints if one.step < known.before])
    if kind == "longer_eval":
        return _longer(config, known, given.get("eval.windows"))
    made = (
        _decay(config, known, given.get("optim.weight_decay")) if kind == "decay_sweep" else _PLANS[kind](config, known)
    )
    if known.elsewhere and made.checkpoint is None:
        if not known.told:
            raise Impossible(UNTOLD)
        made = made._replace(note="Name the dataset it was trained on: this run is from elsewhere.")
    own = {key: value for key, value in given.items() if kind == "fork_best" and key not in _ENDS}
    return made._replace(changes=made.changes | own)


_ENDS = ("schedule.steps", "schedule.decay_steps")


def _anneal(config: RunConfig, known: Known) -> Plan:
    saved = _newest(known)
    if _rate(config, saved.step) <= 0:
        raise Impossible("The learning rate is zero already.")
    steps = max(SHORTEST, round(PROBE * saved.step / (1 - PROBE)))
    return Plan("anneal_probe", {}, steps, saved, cooldown=steps)


def _half(config: RunConfig, known: Known) -> Plan:
    return _rates(config, known, "lr_half", 0.5)


def _double(config: RunConfig, known: Known) -> Plan:
    return _rates(config, known, "lr_double", 2.0)


def _rates(config: RunConfig, known: Known, kind: str, factor: float) -> Plan:
    s = config.schedule
    changes: dict[str, Any] = {"schedule.lr": s.lr * factor, "schedule.min_lr": s.min_lr * factor}
    reach = s.steps if known.active or known.before is not None else known.step
    length = max(SHORTEST, round(RATE_PROBE * s.steps))
    for saved in known.checkpoints:
        if saved.step == 0:
            continue
        goal = max(saved.step, known.before or 0) + length
        # where the parent will not be there to be compared with, its last evaluation is
        end = min(math.ceil(goal / config.eval.every) * config.eval.every, s.steps, reach)
        if end - saved.step >= max(SHORTEST, length // 2):
            changes |= {"schedule.steps": end, "schedule.decay_steps": s.decay_steps or s.steps}
            return Plan(kind, changes, end - saved.step, saved)
    return Plan(
        kind, changes, s.steps, note="No checkpoint leaves room for a comparison at the same step: the whole run again."
    )


def _more_data(config: RunConfig, known: Known) -> Plan:
    if known.larger_data is None:
        return Plan(
            "more_data",
            {},
            config.schedule.steps,
            note="Choose a dataset with more text of the same kind and vocabulary.",
        )
    return Plan("more_data", {"data.dataset": known.larger_data}, config.schedule.steps)


def _larger(config: RunConfig, known: Known) -> Plan:
    """Width × √2 in whole heads, so that parameters double, for as many FLOPs in all."""
    m = config.model
    head = m.n_embd // m.n_head
    heads = max(m.n_head + 1, round(m.n_head * math.sqrt(2)))
    width = heads * head

    def flops(channels: int) -> float:
        return (
            6.0 * (12 * m.n_layer * channels**2 + known.vocab * channels) + 12.0 * m.n_layer * channels * m.block_size
        )

    steps = max(1, round(config.schedule.steps * flops(m.n_embd) / flops(width)))
    warmup = min(config.schedule.warmup_steps, steps)
    changes: dict[str, Any] = {
        "model.n_embd": width,
        "model.n_head": heads,
        "schedule.steps": steps,
        "schedule.warmup_steps": warmup,
    }
    if config.schedule.decay_steps is not None:
        changes["schedule.decay_steps"] = None
    return Plan("larger_model", changes, steps)


def _decay(config: RunConfig, known: Known, grid: Sequence[float] | None = None) -> Plan:
    centre = prior_decay(config, known)
    values = grid or [0.0, *(_tidy(centre * factor) for factor in DECAYS)]
    factors = {"optim.weight_decay": sorted({*map(float, values), config.optim.weight_decay})}
    return Plan("decay_sweep", {}, config.schedule.steps, factors=factors, seeds=3)


def prior_decay(config: RunConfig, known: Known) -> float:
    """λ at which 1/(lr·λ·steps) is 1.084·(D/N)^−.527 (Power Lines 2505.13738): the centre of a grid, never a verdict."""
    per_parameter = config.total_tokens / known.parameters if known.parameters else 20.0
    timescale = 1.084 * per_parameter**-0.527
    return float(1.0 / (config.schedule.lr * timescale * config.schedule.steps))


def _tidy(value: float) -> float:
    return float(f"{value:.1g}")


def _longer(config: RunConfig, known: Known, wanted: int | None = None) -> Plan:
    saved = _newest(known)
    windows = wanted or config.eval.windows * MORE_WINDOWS
    if known.val_windows is not None:
        windows = min(windows, known.val_windows)
    if windows <= config.eval.windows:
        raise Impossible("Every window of the validation split is used already; it would take more validation text.")
    return Plan("longer_eval", {"eval.windows": windows, **_until(config, saved.step + 1)}, 1, saved)


def _fixed(config: RunConfig, known: Known) -> Plan:
    if known.fixed:
        raise Impossible("This run is scored on the same windows each time already.")
    steps = 2 * config.eval.every
    saved = next((one for one in known.checkpoints if one.step > 0), None)
    changes = {"data.sampler": "random", **_until(config, (saved.step if saved else 0) + steps)}
    return Plan("fixed_windows", changes, steps, saved)


def _best(config: RunConfig, known: Known) -> Plan:
    measured = [one for one in known.checkpoints if one.val_loss is not None and one.step > 0]
    if not measured:
        raise Impossible("It has no checkpoint with a validation loss that could be gone on from.")
    best = min(measured, key=lambda one: (one.val_loss or 0.0, -one.step))
    left = config.schedule.steps - best.step
    if left < 1:
        raise Impossible("Its best checkpoint is its last: extend the run instead.")
    return Plan("fork_best", {}, left, best)


def _until(config: RunConfig, steps: int) -> dict[str, Any]:
    """The run ends there, its learning rate being what it would have been."""
    s = config.schedule
    return {
        "schedule.steps": steps,
        "schedule.decay_steps": s.decay_steps or s.steps,
        "schedule.warmup_steps": min(s.warmup_steps, steps),
    }


def _newest(known: Known) -> Saved:
    found = next((one for one in known.checkpoints if one.step > 0), None)
    if found is None:
        raise Impossible("It needs a checkpoint to start from, and this run has none.")
    return found


def _rate(config: RunConfig, update: int) -> float:
    s = config.schedule
    return learning_rate(
        update, lr=s.lr, min_lr=s.min_lr, warmup_steps=s.warmup_steps, decay_steps=s.decay_steps or s.steps,
        shape=s.shape, cooldown=s.cooldown,
    )  # fmt: skip


_PLANS = {
    "anneal_probe": _anneal, "lr_half": _half, "lr_double": _double, "more_data": _more_data, "larger_model": _larger,
    "fixed_windows": _fixed, "fork_best": _best,
}  # fmt: skip
