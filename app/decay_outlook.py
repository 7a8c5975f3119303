"""What decay will do over a run, step by step: the share taken off, what is left, and where weights should settle. Pure.

The average view (Wang & Aitchison 2405.13698): the last weights are a mean of the updates, w_T = keep·w_0 + Σ c_i·(−u_i/λ)
with c_i = a_i·exp(−Σ_{j>i} a_j) and Σc + keep = 1. Equilibria: Kosson et al. 2305.17212.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from app import decay
from app.contract.config import OptimConfig, RunConfig

POINTS = 97
"""Of the curves that are drawn; sums take more."""
CELLS = 16
"""Between two points of a curve; where a cell holds one update, sums are exact, and to 1e-6 elsewhere."""


@dataclass(frozen=True)
class Outlook:
    """Curves by finished update, and what they come to. Everything is about the blocks' matrices, while they decay."""

    step: tuple[int, ...]
    lr: tuple[float, ...]
    per_step: tuple[float, ...]  #: a_t of the update that leads to `step`
    left: tuple[float, ...]  #: share of the weights at the start that is still there
    rms_equilibrium: tuple[float | None, ...]  #: None where nothing decays or nothing can be predicted
    rotation_equilibrium: tuple[float | None, ...]  #: radians per step
    share_equilibrium: tuple[float | None, ...]  #: a·|w|/|Δw| at the equilibrium
    timescale_of_run: float | None  #: 1/a at the peak, as a share of the whole run's steps (Bergsma et al. 2505.13738)
    mean_age: float | None  #: of the updates that the last weights are a mean of, as a share of the steps shown
    averaged: float | None  #: updates that this mean counts as, (Σc)²/Σc²


def outlook(config: RunConfig, first: int = 0) -> Outlook:
    """From update `first` (a fork's) to the end of the run."""
    schedule, optim = config.schedule, config.optim
    a = decay.per_step(schedule, optim) if decay.decouples(optim) else (lambda update: 0.0)
    shown = sorted({first + round(i * (schedule.steps - first) / (POINTS - 1)) for i in range(POINTS)})
    updates = [max(first, step - 1) for step in shown]
    shares = [a(update) for update in updates]
    rates = [decay.rate(schedule, update) for update in updates]
    cells = _cells(config, first, shown, a)
    cumulated = _cumulated(cells, shown)
    settles = predictable(optim)
    peak = decay.coupled(schedule, optim) * schedule.lr
    age, averaged = _average(cells, first, schedule.steps) if cumulated[-1] > 0 else (None, None)
    return Outlook(
        step=tuple(shown),
        lr=tuple(rates),
        per_step=tuple(shares),
        left=tuple(math.exp(-total) for total in cumulated),
        rms_equilibrium=tuple(rms_at(lr, share) if settles else None for lr, share in zip(rates, shares, strict=True)),
        rotation_equilibrium=tuple(
            decay.rotation_equilibrium(share, optim.beta1) if settles and share else None for share in shares
        ),
        share_equilibrium=tuple(share_at(share, optim.beta1) if settles and share else None for share in shares),
        timescale_of_run=1.0 / (peak * schedule.steps) if peak > 0 else None,
        mean_age=age,
        averaged=averaged,
    )


def predictable(optim: OptimConfig) -> bool:
    """Whether the equilibria are those of AdamW: not for Muon's updates, nor where decay spares a part of the weights."""
    return optim.optimizer == "adamw" and not optim.cautious


def settles_at(config: RunConfig, update: int) -> float | None:
    """The equilibrium RMS of the blocks' matrices at this update; None where nothing decays or it cannot be predicted."""
    if not predictable(config.optim) or not decay.decouples(config.optim):
        return None
    return rms_at(decay.rate(config.schedule, update), decay.per_step(config.schedule, config.optim)(update))


def rms_at(lr: float, a: float) -> float | None:
    """√(lr²/2a), which is √(lr/2λ) for a = lr·λ; also right where decay is corrected, scheduled or independent of lr."""
    return lr / math.sqrt(2.0 * a) if a > 0 else None


def share_at(a: float, beta1: float) -> float:
    """a·|w|/|Δw| where the rotation |Δw|/|w| is the equilibrium's: √(a·(1+β₁)/(2(1−β₁)))."""
    return a / decay.rotation_equilibrium(a, beta1)


class _Cell(NamedTuple):
    """Some updates in a row, over which a hardly changes."""

    end: int  #: finished updates after it
    middle: float
    updates: int
    taken: float  #: Σ a


def _cells(config: RunConfig, first: int, shown: list[int], a: Callable[[float], float]) -> list[_Cell]:
    edges = sorted({*shown, *decay.bends(config.schedule, first, config.schedule.steps)})
    cuts = [edges[0]]
    for low, high in itertools.pairwise(edges):
        parts = min(high - low, CELLS)
        cuts += [low + round(i * (high - low) / parts) for i in range(1, parts + 1)]
    found = []
    for low, high in itertools.pairwise(cuts):
        middle = (low + high - 1) / 2
        found.append(_Cell(high, middle, high - low, a(middle) * (high - low)))
    return found


def _cumulated(cells: list[_Cell], shown: list[int]) -> list[float]:
    """Σ a from the beginning up to each of `shown`."""
    totals = {shown[0]: 0.0}
    total = 0.0
    for cell in cells:
        total += cell.taken
        totals[cell.end] = total
    return [totals[step] for step in shown]


def _average(cells: list[_Cell], first: int, steps: int) -> tuple[float, float]:
    """(mean age as a share of the steps, updates averaged) of the weights c_i."""
    gone, later = [], 0.0
    for cell in reversed(cells):
        own = cell.taken * (1 - 1 / cell.updates) / 2  # on average half of a cell's other updates come after one of it
        gone.append(later + own)
        later += cell.taken
    gone.reverse()
    least = min(one for one, cell in zip(gone, cells, strict=True) if cell.taken > 0)
    # only their proportions count: under an extreme decay exp(−gone) itself would be 0 for all
    weights = [cell.taken * math.exp(least - one) for one, cell in zip(gone, cells, strict=True)]
    total = math.fsum(weights)
    age = math.fsum(c * (steps - cell.middle) for c, cell in zip(weights, cells, strict=True)) / total / (steps - first)
    return age, total * total / math.fsum(c * c / cell.updates for c, cell in zip(weights, cells, strict=True))
