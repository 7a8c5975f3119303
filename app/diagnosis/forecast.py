"""D02: where the loss will end. Three laws with their uncertainty, refused where the curve cannot tell.

    power law        L = E + A·t^−α
    with annealing   L = E + A·S1^−α − C·S2    S1 = Σ lr, m_i = 0.999 m_{i−1} + (lr_{i−1} − lr_i), S2 = Σ m    (Tissue et al. 2408.11029)
    multi-power      L = E + A·S1^−α − B·LD    LD = Σ (lr_{k−1} − lr_k)·(1 − (1 + 2.066·lr_k^−0.641·S1_{k..t})^−0.583)    (2503.12811)

The first two count as much as the curve speaks for each; where the rate never falls they are one. A decay after a constant
phase has the third instead of the first, which knows of no gain: half through the decay of the published WSD curve the second
alone ends .065 too low, the third .001 off. For a given α all are linear in the rest, so the posterior is a
sum of Gaussians over α and law: no start values, no bootstrap, the same answer each time.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.diagnosis import annealing, log_meaning
from app.diagnosis.findings import Evidence, Finding, Level
from app.diagnosis.measured import measured, without_spikes
from app.diagnosis.observations import Curve, Floats, Observations

DRAWS = 4000
FEWEST, LEAST_R2, WIDEST, FARTHEST = 12, 0.9, 0.1, 3.0
"""Evaluations; variance explained; nats, of the 90 % band at the end; how many times as far as the run has come."""
EARLY = 0.15
"""Share of the steps so far that is left out: no power law describes the beginning."""
HARDLY = 1e-6
"""Of the whole run's learning rates added up: so little learning is none, and x^−α beyond what can be reckoned with."""
ALPHA = (0.5, 0.2)
GAIN = (0.10, 0.06)
"""nats: what annealing to the end takes off, prior mean and spread; 0.06 to 0.14 on published curves."""
SEEN = 0.3
"""Share of the annealing, S2, that has to be behind the run: with less, its gain is the prior's and not the curve's."""
MODEL_ERROR = 0.08
"""nats, times the squared share still to come: published cosine curves are missed by .027, .008, .006 and .003 at .5, .4, .3 and .2."""
MISFIT = 0.0015
"""nats by which the laws miss the published curves even at their end."""
REMAINING = (
    (0.2, 0.336),
    (0.3, 0.227),
    (0.4, 0.160),
    (0.5, 0.114),
    (0.6, 0.077),
    (0.7, 0.047),
    (0.8, 0.024),
    (0.9, 0.008),
    (1.0, 0.0),
)
"""Share of a cosine run → nats it still fell: the published curve of a 25 M model, 24,000 steps (2503.12811, MIT licence)."""
UNLIKE = 0.12
"""Standard deviation of that, as a share, between runs: 25, 100 and 400 M models fell .073, .082 and .093 from .5 to .725."""


class Forecast(NamedTuple):
    """The loss to come, 90 % band: arrays over `step`, from now to the planned end."""

    step: NDArray[np.int64]
    mean: Floats
    low: Floats
    high: Floats
    now: float  #: the law's loss at the last step
    alpha: float
    gain: float  #: nats that annealing takes off by the end; 0 where the rate never falls
    r2: float
    law: str


class Refused(NamedTuple):
    reasons: tuple[str, ...]
    needs: str


def forecast(o: Observations) -> Forecast | Refused:
    curve, end = _usable(o), o.steps
    if end is not None:
        end = max(end, int(curve.step[-1]) if len(curve.step) else 1)
    if end is None or o.lr(end - 1) is None or (o.schedule is None and not o.ended):
        return Refused(
            ("The schedule is not known, so neither is what the learning rate will do.",), "The configuration."
        )
    reasons = []
    if other := log_meaning.other_rate(o):
        reasons.append(
            f"The schedule is not this log's: at step {other[0]:,} the rate was {other[1]:.3g}, not {other[2]:.3g}."
        )
    if len(curve.step) < FEWEST:
        reasons.append(f"{len(curve.step)} evaluations; {FEWEST} are needed after the first {EARLY:.0%} of the steps.")
    if len(curve.step) and end > FARTHEST * curve.step[-1]:
        reasons.append(
            f"The end is {end / curve.step[-1]:.1f} times as far as the run has come; beyond {FARTHEST:g} no law holds."
        )
    if len(curve.step) < 5:
        return Refused(tuple(reasons), _wait(o, curve))
    future = np.unique(np.linspace(max(int(curve.step[-1]), 1), end, 60).astype(np.int64))
    rates = annealing.rates_of(o, end)
    if not rates.s1[-1] > 0:
        return Refused(("The learning rate is 0 throughout.",), "The rates.")
    moved = np.interp(curve.step, rates.grid, rates.s1) > HARDLY * rates.s1[-1]  # before that no law speaks
    curve = Curve(curve.step[moved], curve.value[moved])
    if len(curve.step) < 5:
        return Refused(("The learning rate was 0 nearly throughout.",), _wait(o, curve))
    both, n = np.concatenate((curve.step, future)), len(curve.step)
    s1, s2 = np.interp(both, rates.grid, rates.s1), annealing.lagged(rates, both)
    if s2[n - 1] < SEEN * s2[-1]:
        reasons.append(
            "The learning rate has still most of its fall before it: the gain of annealing is unknown, typically 0.08 to 0.14 nats."
        )
    remaining = 1 - float(curve.step[-1]) / end
    if s2[-1] <= 0:
        laws = [_Law("power law", s1 / s1[-1], None)]
    elif rates.constant_phase:
        gain = annealing.saturating(rates, both)
        laws = [_Law("power law with annealing", s1 / s1[-1], s2 / s2[-1])]
        if gain[-1] > 0:  # a rate that fell and came back has gained nothing by this law
            remaining = max(remaining, 1 - float(gain[n - 1] / gain[-1]))
            laws.insert(0, _Law("multi-power law", s1 / s1[-1], gain / gain[-1]))
    else:
        laws = [_Law("power law", both / end, None), _Law("power law with annealing", s1 / s1[-1], s2 / s2[-1])]
    found = _posterior(curve, laws, future, remaining)
    if found.r2 < LEAST_R2:
        share = max(0.0, found.r2)
        reasons.append(f"The law explains {share:.0%} of the curve's variance; below {LEAST_R2:.0%} noise decides.")
    if (band := float(found.high[-1] - found.low[-1])) > WIDEST:
        reasons.append(f"The end is known within {band:.2f} nats only; more than {WIDEST:g} is no forecast.")
    return Refused(tuple(reasons), _wait(o, curve)) if reasons else found


def _usable(o: Observations) -> Curve:
    curve = o.once(measured).curve
    return without_spikes(curve.between(max(1, o.warmup_steps, math.ceil(EARLY * o.step)), math.inf))


class _Law(NamedTuple):
    """x and the annealed share, at the curve's steps and then at the future's; both are 1 at the planned end."""

    name: str
    x: Floats
    annealed: Floats | None

    def design(self, alpha: float) -> Floats:
        """Columns of E, A and the gain, shape (steps, 3); the gain's are 0 where the law has none."""
        gone = np.zeros(len(self.x)) if self.annealed is None else -self.annealed
        return np.stack([np.ones(len(self.x)), self.x**-alpha, gone], 1)


def _posterior(curve: Curve, laws: list[_Law], future: NDArray[np.int64], remaining: float) -> Forecast:
    """The laws given the curve, each at every α, weighted by its evidence."""
    n, y = len(curve.step), curve.value
    # weak on E and A (nats, over curves that span less than ten), on the gain what published curves show
    precision = np.diag([1e-4, 1e-4, 1 / GAIN[1] ** 2])
    pull = np.array([0.0, 0.0, GAIN[0] / GAIN[1] ** 2])
    alphas = np.linspace(0.1, 1.2, 56)
    candidates = [(law, alpha, law.design(alpha)) for law in laws for alpha in alphas.tolist()]
    weights, noise = _robust([design[:n] for *_, design in candidates[::4]], y, precision, pull)
    solved = []
    for _, alpha, design in candidates:
        scaled = design[:n] * (weights / noise**2)[:, None]
        inner, b = scaled.T @ design[:n] + precision, scaled.T @ y + pull
        mean = np.linalg.solve(inner, b)
        prior = -0.5 * ((alpha - ALPHA[0]) / ALPHA[1]) ** 2
        solved.append(
            (0.5 * float(b @ mean) - 0.5 * float(np.linalg.slogdet(inner)[1]) + prior, mean, np.linalg.inv(inner))
        )
    logs = np.array([one[0] for one in solved])
    if not np.isfinite(logs).all():
        raise FloatingPointError("no candidate has evidence")
    chances = np.exp(logs - logs.max())
    chances /= chances.sum()
    rng = np.random.default_rng(0)
    drawn, ahead = [], []
    for (_, _, design), (_, mean, covariance), count in zip(
        candidates, solved, rng.multinomial(DRAWS, chances), strict=True
    ):
        if count:
            parameters = rng.multivariate_normal(mean, covariance, count, method="eigh")
            parameters[:, 2] = np.abs(parameters[:, 2])  # annealing never costs loss
            drawn.append(parameters)
            ahead.append(parameters @ design[n:].T)
    futures = np.concatenate(ahead)
    spread = np.hypot(MISFIT, MODEL_ERROR * (remaining * np.linspace(0, 1, futures.shape[1])) ** 2)
    low, high = np.quantile(futures + rng.normal(0, 1, (len(futures), 1)) * spread, [0.05, 0.95], axis=0)
    best = int(logs.argmax())
    left = y - candidates[best][2][:n] @ solved[best][1]
    shares = {law.name: float(chances[[one is law for one, *_ in candidates]].sum()) for law in laws}
    gained = sum(shares[law.name] for law in laws if law.annealed is not None)
    mean = futures.mean(0)
    return Forecast(
        future, mean, low, high, float(mean[0]),
        alpha=float(sum(chance * alpha for chance, (_, alpha, _) in zip(chances.tolist(), candidates, strict=True))),
        gain=float(np.concatenate(drawn)[:, 2].mean()) * gained,
        r2=1 - float(weights @ left**2) / max(float(weights @ (y - np.average(y, weights=weights)) ** 2), 1e-300),
        law=max(shares, key=shares.__getitem__),
    )  # fmt: skip


def _robust(designs: list[Floats], y: Floats, precision: Floats, pull: Floats) -> tuple[Floats, float]:
    """Weights that let single spikes count for little, and the noise of one evaluation, by the best candidate."""
    weights, noise = np.ones(len(y)), float(y.std()) or 1e-4
    for _ in range(8):
        fits = []
        for candidate in designs:
            scaled = candidate * (weights / noise**2)[:, None]
            beta = np.linalg.solve(scaled.T @ candidate + precision, scaled.T @ y + pull)
            left = y - candidate @ beta
            fits.append((float(weights @ left**2), left))
        left = min(fits, key=lambda one: one[0])[1]
        noise = max(math.sqrt(float(weights @ left**2) / max(1, len(y) - 4)), 1e-4)
        weights = 1 / np.sqrt(1 + (left / (2.5 * noise)) ** 2)
    return weights, noise


def from_published_curves(o: Observations) -> tuple[float, float] | None:
    """Final loss, 90 %: the level of the last five evaluations less what a published cosine run still fell from here."""
    curve, s = o.finite("val/loss"), o.schedule
    if s is None or s.shape != "cosine" or not o.steps or len(curve.step) < 5 or o.step / o.steps < REMAINING[0][0]:
        return None
    last = curve.value[-5:]
    errors = o.curve("val/loss_se").at(curve.step[-5:])
    noise = max(
        float(np.nanmean(errors)) if np.isfinite(errors).any() else 0.0, float(np.diff(last).std()) / math.sqrt(2)
    )
    shares, drops = zip(*REMAINING, strict=True)
    drop = float(np.interp(o.step / o.steps, shares, drops))
    half = 1.645 * math.hypot(noise / math.sqrt(len(last)), UNLIKE * drop)
    return float(last.mean()) - half - drop, float(last.mean()) + half - drop


def _wait(o: Observations, curve: Curve) -> str:
    if len(curve.step) < FEWEST:
        return f"{FEWEST - len(curve.step)} more evaluations."
    return "More steps, or evaluations with less noise (more windows)."


def judge(o: Observations) -> Finding | None:
    if not len(o.once(measured).curve.step):
        return None
    found = forecast(o)
    if isinstance(found, Refused):
        band = from_published_curves(o)
        expected = (
            f" Published curves of this shape would put the end at {band[0]:.2f} to {band[1]:.2f}; that is not this run's own evidence."
            if band
            else ""
        )
        return Finding(
            "D02", "Forecast", "refused", Level.unknown, "No forecast from this run's own curve. " + " ".join(found.reasons) + expected,
            evidence=(Evidence("expected end, from published curves", sum(band) / 2, "nats", *band),) if band else (),
            needs=found.needs, would_change="More of the curve.",
        )  # fmt: skip
    end, low, high = float(found.mean[-1]), float(found.low[-1]), float(found.high[-1])
    left = found.now - end
    evidence = [
        Evidence(f"final {o.once(measured).name}", end, "nats", low, high, f"at step {int(found.step[-1]):,}"),
        Evidence("still to gain", left, "nats"),
        Evidence("of that by annealing", found.gain, "nats"),
        Evidence("exponent of the law", found.alpha),
        Evidence("variance explained", found.r2, "", limit=f"≥ {LEAST_R2}"),
    ]
    rate = _per_hour(o, found)
    if rate is not None:
        evidence.append(Evidence("improvement now", rate, "nats per hour"))
    hour = f" It falls by {rate:.3f} nats an hour now." if rate is not None and not o.ended else ""
    stop = "" if o.ended or left <= 0 else f" Stopping now costs about {left:.3f} nats."
    return Finding(
        "D02", "Forecast", "forecast", Level.info, f"Ends at {end:.3f} ({low:.3f} to {high:.3f}) by the {found.law}.{stop}{hour}",
        evidence=tuple(evidence), confidence="high" if high - low < 0.02 else "medium" if high - low < 0.06 else "low",
        because="The law is optimistic by about 0.01 where the rate falls to the end." if found.gain else "",
        would_change="An evaluation outside the band.",
    )  # fmt: skip


def _per_hour(o: Observations, found: Forecast) -> float | None:
    """nats an hour, from the law's slope now and the run's recent pace."""
    wall = o.finite("x/wall_s")
    recent = wall.between(0.8 * o.step, math.inf)
    if len(recent.step) < 2 or len(found.step) < 2 or recent.value[-1] <= recent.value[0]:
        return None
    steps_per_hour = (recent.step[-1] - recent.step[0]) / (recent.value[-1] - recent.value[0]) * 3600
    return float((found.mean[0] - found.mean[1]) / (found.step[1] - found.step[0]) * steps_per_hour)
