"""What the falling learning rate has taken off the loss so far, by two published laws: S2, which lags, and LD, which saturates.

S1 = Σ lr    m_i = 0.999 m_{i−1} + (lr_{i−1} − lr_i)    S2 = Σ m                     (Tissue et al. 2408.11029)
LD = Σ (lr_{k−1} − lr_k)·(1 − (1 + 2.066·lr_k^−0.641·S1_{k..t})^−0.583)              (2503.12811)
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.diagnosis.observations import Floats, Observations

MOMENTUM = 0.999
GRID = 4096
"""Updates looked at for S1 and S2; the terms between are summed in closed form."""
COARSE = 400
"""Of those, falls of the rate that the third law adds up one by one."""
SATURATION = (2.066, 0.641, 0.583)
"""Its C, γ and β, of the published 25 M model, whose rate peaked at 3e-4."""
PUBLISHED_PEAK = 3e-4
PHASE = 0.25
"""Share of the steps within 2 % of the peak rate that makes a constant phase; a cosine has a tenth."""


class Rates(NamedTuple):
    """The learning rate on a grid of updates up to the end."""

    grid: NDArray[np.int64]
    rate: Floats
    s1: Floats  #: Σ rate up to there
    falls: Floats  #: by how much it falls over each interval; warm-up is no annealing, so 0 up to its end

    @property
    def constant_phase(self) -> bool:
        return bool(self.falls.any()) and float(np.mean(self.rate > 0.98 * self.rate.max())) > PHASE


def rates_of(o: Observations, end: int) -> Rates:
    grid = np.unique(np.round(np.linspace(0, end, min(end, GRID) + 1)).astype(np.int64))
    rate = o.rates(grid)
    assert rate is not None, "the rates have to be known"
    s1 = np.concatenate(([0.0], np.cumsum(np.diff(grid) * (rate[1:] + rate[:-1]) / 2)))
    start = o.warmup_steps if o.schedule else grid[int(rate.argmax())]
    return Rates(grid, rate, s1, np.where(grid[1:] > start, rate[:-1] - rate[1:], 0.0))


def lagged(rates: Rates, steps: NDArray[np.int64]) -> Floats:
    """S2 at these steps."""
    h = np.diff(rates.grid).astype(float)
    kept = MOMENTUM**h
    added = rates.falls * (1 - kept) / ((1 - MOMENTUM) * h)
    m = np.zeros(len(rates.grid))
    for i in range(len(h)):
        m[i + 1] = kept[i] * m[i] + added[i]
    s2 = np.concatenate(([0.0], np.cumsum(h * (m[1:] + m[:-1]) / 2)))
    return np.interp(steps, rates.grid, s2)


def saturating(rates: Rates, steps: NDArray[np.int64]) -> Floats:
    """LD at these steps, at rates scaled to the published peak."""
    scale, (c, gamma, beta) = PUBLISHED_PEAK / rates.rate.max(), SATURATION
    places = np.unique(np.round(np.linspace(0, len(rates.grid) - 1, COARSE + 1)).astype(np.int64))
    fall = np.diff(np.concatenate(([0.0], np.cumsum(rates.falls)))[places])
    kept = fall != 0
    middle = ((places[1:] + places[:-1]) // 2)[kept]
    rate, since = np.maximum(rates.rate[middle] * scale, 1e-12), rates.s1[middle] * scale
    s1 = np.interp(steps, rates.grid, rates.s1) * scale
    x = c * rate**-gamma * np.maximum(s1[:, None] - since, 0.0)
    drop: Floats = (1 - (1 + x) ** -beta) @ (fall[kept] * scale)
    return drop
