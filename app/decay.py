"""What a weight decay λ does over a whole run, in numbers, before any compute is spent. Pure.

AdamW multiplies decayed weights by 1 − lr·λ each step, so λ means nothing without the learning rates. What
counts is Λ = Σ lr_t·λ: exp(−Λ) of the initial weights is left at the end. Sources: Wang & Aitchison
2405.13698 (timescale 1/(lr·λ)), Kosson et al. 2305.17212 (equilibrium RMS).
"""

import math
from typing import Literal

from app.contract.config import ScheduleConfig

INERT = 0.1
"""Below this Λ more than nine tenths of the initial weights are left: |Δ val| < .005 was measured at Λ = .055."""
INFORMATIVE = (0.5, 10.0)
OVER = 20.0
"""Above this Λ the run forgets its weights many times over."""

Verdict = Literal["none", "inert", "weak", "informative", "strong", "over"]


def rate_sum(schedule: ScheduleConfig) -> float:
    """Σ lr over the run, of contract.schedule.learning_rate. A closed form: 100 million steps cost no more than ten."""
    steps, warmup = schedule.steps, schedule.warmup_steps
    end = schedule.decay_steps or steps
    rising = min(warmup, steps)
    total = schedule.lr * rising * (rising + 1) / 2 / (warmup + 1)
    span, reached = end - warmup, min(steps, end) - warmup
    if reached > 0:
        # Σ_{k<n} cos(kθ) = sin(nθ/2)·cos((n−1)θ/2) / sin(θ/2) with θ = π/span
        theta = math.pi / span
        cosines = math.sin(reached * theta / 2) * math.cos((reached - 1) * theta / 2) / math.sin(theta / 2)
        total += reached * schedule.min_lr + 0.5 * (schedule.lr - schedule.min_lr) * (reached + cosines)
    return total + max(0, steps - end) * schedule.min_lr


def total_decay(schedule: ScheduleConfig, weight_decay: float) -> float:
    """Λ = Σ lr_t·λ over the run: e-folds by which decayed weights would shrink without gradients."""
    return weight_decay * rate_sum(schedule)


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
