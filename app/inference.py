"""What an experiment's numbers say: intervals, paired differences, power, the minimum over λ. Pure; scipy does the arithmetic.

Of scipy only `special` is loaded, 15 MiB; `stats` would take the server 60.

Values are one number a seed (a final validation loss in nats per token). Arms that share their seeds' initial weights and
data order are compared in pairs: the seed's share of the noise drops out of the differences. Values that are not finite
(a diverged run) are never averaged: callers pass what is finite and say how many were left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
DRAWS = 10_000
Floats = NDArray[np.float64]


class Mean(NamedTuple):
    """A mean with its t-interval; `low` and `high` are None for a single value: one seed says nothing about the next."""

    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None


class Difference(NamedTuple):
    """a − b: its t-interval, two-sided p, and the standard deviation of one difference."""

    n: int  #: pairs, or the smaller arm
    mean: float
    sd: float | None
    low: float | None
    high: float | None
    p: float | None


class Minimum(NamedTuple):
    """The λ of least loss by a parabola in log10 λ; without one, `refused` says why."""

    at: float | None
    low: float | None
    high: float | None
    flat: tuple[float, float] | None  #: every λ whose fitted loss is within `delta` of the least
    delta: float  #: nats: max(0.005, 2 standard errors of the fit there)
    coefficients: tuple[float, float, float] | None  #: loss = c0 + c1·x + c2·x², x = log10 λ, at the mean seed
    convex: float  #: share of bootstrap draws whose parabola opens upwards
    refused: str


def mean(values: Sequence[float], level: float = LEVEL) -> Mean:
    """The t-interval, never a percentile bootstrap: that covers 0.74 instead of 0.95 at n = 3."""
    from scipy.special import stdtrit

    x = np.asarray(values, float)
    assert len(x) > 0, "no values"
    assert np.isfinite(x).all(), "values that are not finite have to be left out and counted by the caller"
    if len(x) < 2:
        return Mean(len(x), float(x.mean()), None, None, None)
    sd = float(x.std(ddof=1))
    half = float(stdtrit(len(x) - 1, (1 + level) / 2)) * sd / np.sqrt(len(x))
    return Mean(len(x), float(x.mean()), sd, float(x.mean() - half), float(x.mean() + half))


def paired(a: Mapping[Any, float], b: Mapping[Any, float], level: float = LEVEL) -> Difference | None:
    """a − b over the seeds that both have (ttest_rel); None without one."""
    from scipy.special import stdtr

    seeds = [seed for seed in a if seed in b]
    if not seeds:
        return None
    differences = np.array([a[seed] - b[seed] for seed in seeds])
    found = mean(differences.tolist(), level)
    if found.sd is None:
        return Difference(1, found.mean, None, None, None, None)
    if found.sd == 0:  # the t statistic is 0/0 or infinite: equal, or different without any noise
        return Difference(found.n, found.mean, 0.0, found.mean, found.mean, 1.0 if found.mean == 0 else 0.0)
    p = 2 * float(stdtr(found.n - 1, -abs(found.mean) / (found.sd / np.sqrt(found.n))))
    return Difference(found.n, found.mean, found.sd, found.low, found.high, p)


def unpaired(a: Sequence[float], b: Sequence[float], level: float = LEVEL) -> Difference | None:
    """a − b by Welch's test, for arms that share no seeds; None where an arm has fewer than two values."""
    from scipy.special import stdtr, stdtrit

    if len(a) < 2 or len(b) < 2:
        return None
    of_a, of_b = np.var(a, ddof=1), np.var(b, ddof=1)
    n, difference, sd = min(len(a), len(b)), float(np.mean(a) - np.mean(b)), float(np.sqrt(of_a + of_b))
    square_a, square_b = of_a / len(a), of_b / len(b)  # of the means' standard errors
    if square_a + square_b == 0:
        return Difference(n, difference, 0.0, difference, difference, 1.0 if difference == 0 else 0.0)
    error = np.sqrt(square_a + square_b)
    freedom = (square_a + square_b) ** 2 / (square_a**2 / (len(a) - 1) + square_b**2 / (len(b) - 1))
    half = float(stdtrit(freedom, (1 + level) / 2) * error)
    p = 2 * float(stdtr(freedom, -abs(difference) / error))
    return Difference(n, difference, sd, difference - half, difference + half, p)


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p values, in the order given: the k-th smallest times (m − k + 1), never falling, at most 1 (Holm 1979)."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(np.asarray(p, float)[order] * np.arange(len(p), 0, -1)))
    return [float(p) for p in adjusted]


def dunnett(arms: Sequence[Sequence[float]], control: Sequence[float]) -> list[float]:
    """Adjusted p of each arm against the control, unpaired, of equal variance, two-sided (Dunnett 1955, eq. 3).

    Given the control's mean z and the pooled deviation s the arms are independent: a product of normal probabilities,
    integrated over z and ln s by equal steps, to 1e-9. NaN where nothing varies.
    """
    from scipy.special import gammaln, ndtr

    sizes, control_size = np.array([len(arm) for arm in arms], float), len(control)
    freedom = sizes.sum() + control_size - len(arms) - 1
    squares = sum(float(np.var(x) * len(x)) for x in (*arms, control))
    if freedom < 1 or squares == 0:
        return [float("nan")] * len(arms)
    errors = np.sqrt(squares / freedom * (1 / sizes + 1 / control_size))
    t = np.abs(np.array([np.mean(arm) for arm in arms]) - np.mean(control)) / errors
    several, arms_of = np.unique(sizes, return_counts=True)  # arms of one size have one probability: it is taken once
    several, arms_of = several[:, None, None], arms_of[:, None, None]
    load = np.sqrt(several / (several + control_size))  # the correlation of two arms is the product of theirs
    z = np.linspace(-8, 8, 129)
    log_s = np.linspace(-18 / freedom - 6 / np.sqrt(freedom), min(2.0, 6 / np.sqrt(freedom)), 257)[:, None]
    at = freedom / 2
    density = np.exp(np.log(2) + at * np.log(at) - gammaln(at) + freedom * log_s - at * np.exp(2 * log_s))
    weight = density * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0]) * (log_s[1] - log_s[0])
    own = np.sqrt(1 - load**2)
    p = []
    for limit in t:
        edge = limit * np.exp(log_s)
        inside = ndtr((edge - load * z) / own) - ndtr((-edge - load * z) / own)  # (sizes, s, z)
        p.append(float(np.clip(1 - np.sum(weight * (inside**arms_of).prod(0)), 0, 1)))
    return p


def pairs_needed(sd: float, delta: float, power: float = 0.8, alpha: float = 0.05, most: int = 10_000) -> int | None:
    """Pairs with which a paired t-test finds a true difference of `delta`, one difference having this sd; None beyond `most`.

    From the noncentral t distribution, not from the normal approximation, which asks for too few where few are needed.
    """
    return _needed(lambda n: (n - 1, delta / sd * np.sqrt(n)), sd, power, alpha, most)


def runs_needed(sd: float, delta: float, power: float = 0.8, alpha: float = 0.05, most: int = 10_000) -> int | None:
    """Runs in each of two unpaired arms, one run having this sd."""
    return _needed(lambda n: (2 * n - 2, delta / sd * np.sqrt(n / 2)), sd, power, alpha, most)


def _needed(at: Any, sd: float, power: float, alpha: float, most: int) -> int | None:
    from scipy.special import nctdtr, stdtrit

    if sd == 0:
        return 2

    def found(n: int) -> bool:
        df, shift = at(n)
        limit = stdtrit(df, 1 - alpha / 2)
        # far out in the other tail scipy's series gives NaN for what is 0
        return bool(1 - nctdtr(df, shift, limit) + np.nan_to_num(nctdtr(df, shift, -limit)) >= power)

    low, high = 1, 2
    while not found(high):  # then halve: power only rises with n
        low, high = high, 2 * high
        if high > most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


def chance_of_least(arms: Sequence[Sequence[float]], draws: int = DRAWS) -> list[float] | None:
    """How likely each arm's true mean is the least: draws from each mean's t posterior (flat prior), n ≥ 2 in every arm."""
    if any(len(arm) < 2 for arm in arms):
        return None
    rng = np.random.default_rng(0)
    means = np.stack([
        np.mean(arm) + np.std(arm, ddof=1) / np.sqrt(len(arm)) * rng.standard_t(len(arm) - 1, draws) for arm in arms
    ])  # fmt: skip
    return [float(share) for share in np.bincount(means.argmin(0), minlength=len(arms)) / draws]


def minimum(values: Mapping[float, Mapping[Any, float]], draws: int = 2_000) -> Minimum:
    """Fit loss = seed's level + b·x + c·x², x = log10 λ, over λ > 0 → {seed: loss}, and find its least.

    λ = 0 has no place on the axis and stays out. Least squares with a level for each seed, which is the weighted fit of
    the means where every λ has the same seeds. The interval resamples the fit's residuals; the minimum is told only
    where at least 97.5 % of the draws open upwards and it lies inside the grid.
    """
    from scipy.special import ndtri, stdtrit

    grid = sorted(value for value in values if value > 0 and values[value])
    seeds = sorted({seed for value in grid for seed in values[value]}, key=str)
    points = [(np.log10(value), seeds.index(seed), loss) for value in grid for seed, loss in values[value].items()]

    def no(why: str, convex: float = 0.0, coefficients: tuple[float, float, float] | None = None) -> Minimum:
        return Minimum(None, None, None, None, 0.005, coefficients, convex, why)

    if len(grid) < 3 or len(points) < len(seeds) + 3:
        return no("A parabola needs at least three λ above 0 and more runs than it has coefficients.")
    x, seed, loss = (np.array(column) for column in zip(*points, strict=True))
    levels = (seed[:, None] == np.arange(len(seeds))).astype(float)
    design = np.column_stack([levels, x, x**2])
    inverse = np.linalg.pinv(design)
    fit = inverse @ loss
    fitted = design @ fit
    freedom = len(loss) - np.linalg.matrix_rank(design)
    residuals = (loss - fitted) * np.sqrt(len(loss) / freedom)  # as large as the noise: a fit takes some of it up
    # Quantiles of draws do not know that the noise's size is an estimate too; Student's t does.
    wider = float(stdtrit(freedom, 0.975) / ndtri(0.975))
    drawn = fitted + wider * np.random.default_rng(0).choice(residuals, (draws, len(loss)))
    fits = drawn @ inverse.T
    b, c = fits[:, -2], fits[:, -1]
    convex = float(np.mean(c > 0))
    curve = (float(fit[:-2].mean()), float(fit[-2]), float(fit[-1]))
    lowest = -fit[-2] / (2 * fit[-1]) if fit[-1] > 0 else np.nan
    if convex < 0.975 or not x.min() <= lowest <= x.max():
        falling = fit[-2] + 2 * fit[-1] * x.mean() < 0
        edge = f"add a λ above {grid[-1]:g}" if falling else f"add a λ below {grid[0]:g}"
        return no(f"The minimum is not bracketed by the grid: {edge}.", convex, curve)
    places = -b[c > 0] / (2 * c[c > 0])
    low, high = np.quantile(places, [0.025, 0.975])
    at_least = np.concatenate([levels.mean(0), [lowest, lowest**2]])
    error = float(np.sqrt(np.sum(residuals**2) / len(loss) * (at_least @ np.linalg.pinv(design.T @ design) @ at_least)))
    delta = max(0.005, 2 * error)
    reach = np.sqrt(delta / fit[-1])
    flat = tuple(float(10 ** np.clip(lowest + side * reach, x.min(), x.max())) for side in (-1, 1))
    return Minimum(float(10**lowest), float(10**low), float(10**high), flat, delta, curve, convex, "")  # type: ignore[arg-type]


def mixed(values: Mapping[Any, Mapping[Any, float]], reference: Any) -> dict[Any, Difference]:
    """loss ~ arm + (1 | seed) by REML (statsmodels): each arm against `reference`, seeds as a random effect.

    For grids in which some arms lack some seeds, where plain pairing would drop runs. Raises ValueError for fewer than
    two seeds.
    """
    import warnings

    import pandas as pd
    from statsmodels.regression.mixed_linear_model import MixedLM
    from statsmodels.tools.sm_exceptions import ConvergenceWarning

    arms = [arm for arm in values if arm != reference]
    rows = [(arm, str(seed), loss) for arm, losses in values.items() for seed, loss in losses.items()]
    groups = [seed for _, seed, _ in rows]
    if len(set(groups)) < 2:
        raise ValueError("A mixed model needs at least two seeds.")
    design = pd.DataFrame(
        {"level": 1.0, **{f"arm{i}": [float(row[0] == arm) for row in rows] for i, arm in enumerate(arms)}}
    )
    with warnings.catch_warnings():  # seeds that explain nothing put their variance at its edge, 0: no error
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        result = MixedLM(np.array([row[2] for row in rows]), design, groups=groups).fit(reml=True)
    intervals = np.asarray(result.conf_int())
    counts = {arm: len(values[arm]) for arm in arms}
    return {
        arm: Difference(
            counts[arm], float(result.fe_params.iloc[i + 1]), None, float(intervals[i + 1][0]), float(intervals[i + 1][1]),
            float(result.pvalues.iloc[i + 1]),
        )
        for i, arm in enumerate(arms)
    }  # fmt: skip
