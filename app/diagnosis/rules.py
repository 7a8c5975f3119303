"""All rules over one run: what is wrong, what is worth knowing, what cannot be told yet, most urgent first."""

from collections.abc import Callable

import numpy as np

from app.diagnosis import (
    capacity,
    eval_noise,
    forecast,
    initial_loss,
    learning_rate,
    log_meaning,
    loss_scale,
    noise_scale,
    not_finite,
    overfitting,
    plateau,
    rate_schedule,
    repeats,
    speed,
    spikes,
    val_split,
    weight_decay,
)  # fmt: skip
from app.diagnosis.findings import Finding, Level, ordered
from app.diagnosis.observations import Observations

Rule = Callable[[Observations], Finding | None]

RULES: tuple[Rule, ...] = (
    plateau.judge,  # D01
    forecast.judge,
    overfitting.judge,
    repeats.judge,
    capacity.judge,
    learning_rate.too_high,  # D06
    learning_rate.too_low,
    rate_schedule.warmup,
    rate_schedule.floor,
    spikes.spikes,  # D10
    spikes.norms,
    loss_scale.judge,
    not_finite.judge,
    eval_noise.judge,
    val_split.judge,  # D15
    speed.mfu,
    speed.slowdown,
    noise_scale.judge,
    weight_decay.judge,
    initial_loss.judge,  # D20
    log_meaning.judge,
)
"""D01 to D21. A rule is silent (None) where it does not apply; where it lacks data it says how much."""


def diagnose(o: Observations) -> list[Finding]:
    """Never raises for whatever a log holds: no points, one, ten million, values that are not finite, facts unknown."""
    with np.errstate(all="ignore"):
        return ordered([found for number, rule in enumerate(RULES, 1) if (found := _ask(number, rule, o)) is not None])


def _ask(number: int, rule: Rule, o: Observations) -> Finding | None:
    try:
        return rule(o)
    except (ArithmeticError, np.linalg.LinAlgError):  # losses of 1e90: no rule is for them, and D13 has told
        return Finding(
            f"D{number:02d}", "Out of range", "not enough data", Level.unknown, "The values are too large or too small to reckon with.",
            needs="Losses and norms of a size that occurs.", would_change="Such values.",
        )  # fmt: skip
