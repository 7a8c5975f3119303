"""What a weight decay λ does over a whole run, in numbers, before any compute is spent. Pure.

AdamW multiplies decayed weights by 1 − lr·λ each step, so λ means nothing without the learning rates. What
counts is Λ = Σ lr_t·λ: exp(−Λ) of the initial weights is left at the end. Sources: Wang & Aitchison
2405.13698 (timescale 1/(lr·λ)), Kosson et al. 2305.17212 (equilibrium RMS).
"""

import itertools
import math
from collections.abc import Callable
from typing import Literal

from numpy.polynomial.legendre import leggauss

from app.contract.config import OptimConfig, ScheduleConfig
from app.contract.schedule import cooldown_start, decay_per_step, decay_share, learning_rate

EXACT = 1000
"""Stretches of up to so many steps are simply added up."""

INERT = 0.1
"""Below this Λ more than nine tenths of the initial weights are left: |Δ val| < .005 was measured at Λ = .055."""
INERT_DIFFERENCE = 0.005
"""Nats of validation loss that λ makes below INERT: less than one pair of seeds can show."""
INFORMATIVE = (0.5, 10.0)
OVER = 20.0
"""Above this Λ the run forgets its weights many times over."""

NODES = list(zip(*(column.tolist() for column in leggauss(24)), strict=True))

Verdict = Literal["none", "inert", "weak", "informative", "strong", "over"]


def rate_sum(schedule: ScheduleConfig) -> float:
    """Σ lr over the run, of contract.schedule.learning_rate."""
    return _sum(lambda update: rate(schedule, update), bends(schedule, 0, schedule.steps))


def total_decay(schedule: ScheduleConfig, optim: OptimConfig, first: int = 0, last: int | None = None) -> float:
    """Λ = Σ a_t of the updates from `first` up to `last` (the run's end): e-folds by which the blocks' matrices would
    shrink without gradients."""
    if not decouples(optim):
        return 0.0
    return _sum(per_step(schedule, optim), bends(schedule, first, schedule.steps if last is None else last))


def decouples(optim: OptimConfig) -> bool:
    """Whether updates take a share off decayed weights at all. L2 in the gradient takes none."""
    return optim.optimizer != "adam_l2" and optim.weight_decay > 0


def per_step(schedule: ScheduleConfig, optim: OptimConfig) -> Callable[[float], float]:
    """a of the 0-based update, for the blocks' matrices.

    It is lr_t·λ_t unless decay is independent of lr or corrected (contract.schedule.decay_per_step). Cautious decay
    reaches a part of the weights only: this is its upper bound.
    """
    end = schedule.decay_steps or schedule.steps

    def a(update: float) -> float:
        weight_decay = optim.weight_decay * decay_share(update, shape=optim.decay_schedule, decay_steps=end)
        return decay_per_step(
            rate(schedule, update), weight_decay, peak=schedule.lr, coupling=optim.decay_coupling, adamc=optim.adamc
        )

    return a


def coupled(schedule: ScheduleConfig, optim: OptimConfig) -> float:
    """The λ that takes as much off at the peak of the learning rate when it is coupled to lr: a/lr."""
    if optim.optimizer == "adam_l2":
        return 0.0
    a = decay_per_step(schedule.lr, optim.weight_decay, peak=schedule.lr, coupling=optim.decay_coupling)
    return optim.weight_decay if optim.decay_coupling == "lr" else a / schedule.lr


def rate(schedule: ScheduleConfig, update: float) -> float:
    """The learning rate of the 0-based update."""
    return learning_rate(
        update, lr=schedule.lr, min_lr=schedule.min_lr, warmup_steps=schedule.warmup_steps,
        decay_steps=schedule.decay_steps or schedule.steps, shape=schedule.shape, cooldown=schedule.cooldown,
    )  # fmt: skip


def bends(schedule: ScheduleConfig, first: int, last: int) -> list[int]:
    """The updates between which rate and decay are smooth, from `first` to `last`."""
    end = schedule.decay_steps or schedule.steps
    found = {schedule.warmup_steps, end}
    if schedule.shape == "wsd":
        found.add(cooldown_start(schedule.warmup_steps, end, schedule.cooldown))
    return [first, *sorted(bend for bend in found if first < bend < last), last]


def _sum(f: Callable[[float], float], bends: list[int]) -> float:
    """Σ f(update) over a run; as cheap for 100 million steps as for a thousand.

    Long stretches by Euler and Maclaurin: the integral, half the difference of the ends and a twelfth of that of
    their slopes. What is left out is below 1e-13 of the sum for the half period of a cosine over a thousand steps.
    """
    total = []
    for first, last in itertools.pairwise(bends):
        if last - first <= EXACT:
            total += [f(update) for update in range(first, last)]
            continue
        # From just above the bend: at a bend f may be the neighbour's, whose value is equal and whose slope is not.
        slopes = (
            -(-3 * f(last) + 4 * f(last - 0.5) - f(last - 1)),
            -3 * f(first) + 4 * f(first + 0.5) - f(first + 1),
        )
        half, middle = (last - first) / 2, (last + first) / 2
        integral = half * math.fsum(w * f(middle + half * x) for x, w in NODES)
        total += [integral, (f(first) - f(last)) / 2, (slopes[0] - slopes[1]) / 12]
    return math.fsum(total)


def init_keep(total: float) -> float:
    """Share of the initial weights that is left after Λ e-folds, exp(−Λ)."""
    return math.exp(-total)


def timescale_steps(lr: float, weight_decay: float) -> float:
    """τ = 1/(lr·λ): updates over which AdamW averages; infinite without decay."""
    return 1.0 / (lr * weight_decay) if lr * weight_decay > 0 else math.inf


def half_life_steps(lr: float, weight_decay: float) -> float:
    """Steps after which half of a weight is left, ln 2 / −ln(1 − lr·λ)."""
    per_step = lr * weight_decay
    if per_step <= 0:
        return math.inf
    return math.log(2) / -math.log1p(-per_step) if per_step < 1 else 0.0


def rms_equilibrium(lr: float, weight_decay: float) -> float:
    """RMS = √(lr/2λ), where decay and noisy updates balance: a reference for normalised matrices, not a target."""
    return math.sqrt(lr / (2.0 * weight_decay)) if weight_decay > 0 else math.inf


def rotation_equilibrium(a: float, beta1: float) -> float:
    """√(2a·(1−β₁)/(1+β₁)), radians per step: how far such weights turn where decay and updates balance (2305.17212)."""
    return math.sqrt(2.0 * a * (1.0 - beta1) / (1.0 + beta1))


def judge(total: float, weight_decay: float) -> Verdict:
    """What Λ says about a comparison with λ = 0 (science.md A.4)."""
    if weight_decay == 0:
        return "none"
    if total < INERT:
        return "inert"
    if total < INFORMATIVE[0]:
        return "weak"
    if total <= INFORMATIVE[1]:
        return "informative"
    return "strong" if total <= OVER else "over"
