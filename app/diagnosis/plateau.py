"""D01: is the loss still falling? A three-way test with its noise: improving, plateau, or not to be told yet.

A line through the last evaluations against ln(tokens). "Not significantly falling" is not a plateau: for that the slope
has to be shown small (two one-sided tests). Thresholds and their error rates by simulation: tests/test_plateau.py.
"""

import math
from typing import NamedTuple

import numpy as np

from app.diagnosis.findings import Evidence, Experiment, Finding, Level, Mark, plural
from app.diagnosis.measured import measured, without_spikes
from app.diagnosis.observations import Curve, Floats, Observations, quantile_t

SLOPE = 0.05
"""nats per e-fold of tokens (0.035 per doubling): a quarter of what healthy runs show, −0.19 to −0.23."""
FEWEST, SHARE, SPAN = 8, 0.2, 0.2
"""Evaluations, share of the elapsed steps and e-folds of tokens that a line needs."""
WINDOW, WIDEST = 1 / 3, 1 / 2
"""Share of the steps looked at, and the most where evaluations are few: over more the law itself bends."""
ANNEAL_GAIN = "0.10 to 0.14"
"""nats, measured on published curves when the learning rate of a constant phase was taken to zero."""


class Line(NamedTuple):
    """y = level + slope·x by least squares, with the interval that decides."""

    slope: float
    se: float
    low: float  #: 90 %
    high: float
    noise: float  #: nats, of one evaluation: the larger of what was stated and what is left over
    df: float  #: infinite where the stated noise decides
    sxx: float


def fit(x: Floats, y: Floats, stated: float | None) -> Line:
    """`stated`: the standard error of one evaluation, where the run reports it."""
    centred = x - x.mean()
    sxx = float(centred @ centred)
    slope = float(centred @ (y - y.mean())) / sxx
    left = y - y.mean() - slope * centred
    df = len(x) - 2
    scatter = math.sqrt(float(left @ left) / df)
    noise, freedom = (stated, math.inf) if stated is not None and stated >= scatter else (scatter, float(df))
    se = noise / math.sqrt(sxx)
    squares = float(left @ left)
    rho = float(left[1:] @ left[:-1]) / squares if squares > 0 else 0.0
    if rho > 0.3 and math.isfinite(freedom):  # neighbours that err together count for less than they are
        se *= math.sqrt((1 + rho) / (1 - rho))
    half = quantile_t(0.95, freedom) * se
    return Line(slope, se, slope - half, slope + half, noise, freedom, sxx)


def classify(low: float, high: float, slope: float = SLOPE) -> str:
    if low > 0:
        return "worsening"
    if high < 0 and low < -slope:
        return "improving"
    return "plateau" if low > -slope and high < slope else "inconclusive"


def window(o: Observations, curve: Curve) -> Curve | None:
    """The evaluations a line may go through: the last third of the steps, more only where they are fewer than FEWEST."""
    start = max(o.warmup_steps, 1, *_restarts(o))
    usable = curve.between(start, math.inf)
    if not len(usable.step):
        return None
    last = int(usable.step[-1])
    for share in (WINDOW, WIDEST):
        part = usable.between((1 - share) * last, last)
        enough = len(part.step) >= FEWEST and part.step[-1] - part.step[0] >= SHARE * last
        if enough and math.log(part.step[-1] / part.step[0]) >= SPAN:
            return part
    return None


def _restarts(o: Observations) -> list[int]:
    """Steps after the warm-up at which the learning rate rose again: another run begins there."""
    logged = o.finite("train/lr")
    if len(logged.step) < 2:
        return []
    rising = np.flatnonzero(logged.value[1:] > 1.05 * logged.value[:-1]) + 1
    return [int(logged.step[i]) for i in rising if logged.step[i] > o.warmup_steps + 1]


def judge(o: Observations) -> Finding | None:
    found = o.once(measured)
    if not len(found.curve.step):
        return None
    part = window(o, found.curve)
    if part is None:
        return _too_few(o, found.curve)
    whole, part = part, without_spikes(part)
    spikes = len(whole.step) - len(part.step)
    x = np.log(part.step.astype(float))
    errors = found.errors.at(part.step)
    stated = float(np.nanmean(errors)) if not o.fixed_eval and np.isfinite(errors).any() else None
    line = fit(x, part.value, stated)
    verdict, robust = classify(line.low, line.high), theil_sen(x, part.value)
    disagree = classify(*robust[1:]) != verdict
    if disagree:
        verdict = "inconclusive"
    doubling = math.log(2)
    evidence = (
        Evidence(f"slope of the {found.name}", line.slope, "nats per e-fold of tokens", line.low, line.high,
                 f"falling below −{SLOPE}, flat within ±{SLOPE}"),
        Evidence("the same by a robust line", robust[0], "nats per e-fold of tokens", robust[1], robust[2]),
        Evidence("noise of one evaluation", line.noise, "nats", limit="stated" if math.isinf(line.df) else "scatter about the line"),
        Evidence("evaluations looked at", len(part.step), "", float(part.step[0]), float(part.step[-1])),
    )  # fmt: skip
    change = (
        f"{abs(line.slope) * doubling:.3f} ± {(line.high - line.low) / 2 * doubling:.3f} nats per doubling of tokens"
    )
    sentence = {
        "improving": f"Still falling, by {change}.",
        "plateau": f"Flat: whatever slope is left is less than {SLOPE * doubling:.3f} nats per doubling of tokens.",
        "worsening": f"Rising, by {change}.",
        "inconclusive": f"Cannot be told: at a noise of {line.noise:.3f} nats, {len(part.step)} evaluations show {'−' if line.slope < 0 else '+'}{change}.",
    }[verdict]
    qualifier, experiment = _schedule(o, verdict)
    return Finding(
        "D01", "Plateau", verdict, Level.ok if verdict == "improving" else Level.warn if verdict in ("plateau", "worsening") else Level.info,
        " ".join(filter(None, (sentence, "This is the train loss; the log has no validation." if found.of_train else "", qualifier))),
        evidence=evidence,
        confidence="low" if disagree or verdict == "inconclusive" else "high" if abs(line.slope) > 4 * line.se or verdict == "plateau" else "medium",
        because="The line and its robust twin disagree: single evaluations decide." if disagree else f"{plural(spikes, 'evaluation')} far above the line left out." if spikes else "",
        would_change=_more(line, x, verdict),
        advice=_advice(o, verdict),
        experiment=experiment,
        marks=(Mark(int(part.step[0]), int(part.step[-1]), verdict),),
    )  # fmt: skip


def theil_sen(x: Floats, y: Floats) -> tuple[float, float, float]:
    """The median of the slopes between all pairs and its 90 % interval (Sen 1968, eq. 2.6); x all different."""
    apart = x[:, None] - x
    slopes = np.sort((y[:, None] - y)[apart > 0] / apart[apart > 0])
    n, pairs = len(x), len(slopes)
    ties = np.unique(y, return_counts=True)[1]
    sigma = math.sqrt((n * (n - 1) * (2 * n + 5) - float(np.sum(ties * (ties - 1) * (2 * ties + 5)))) / 18)
    reach = quantile_t(0.95, math.inf) * sigma
    low, high = max(round((pairs - reach) / 2) - 1, 0), min(round((pairs + reach) / 2), pairs - 1)
    return float(np.median(slopes)), float(slopes[low]), float(slopes[high])


def _too_few(o: Observations, curve: Curve) -> Finding:
    have = len(curve.between(max(o.warmup_steps, 1, *_restarts(o)), math.inf).step)
    restarts = _restarts(o)
    since = f"the learning rate rose again at step {max(restarts):,}" if restarts else "the warm-up"
    every = int(np.median(np.diff(curve.step))) if len(curve.step) > 1 else None
    until = f" Evaluating every {every:,} steps gives that by step {2 * FEWEST * every:,}." if every else ""
    return Finding(
        "D01", "Plateau", "not enough data", Level.unknown,
        f"{plural(have, 'evaluation')} since {since} do not make a line.",
        evidence=(Evidence("evaluations", have, "", limit=f"{FEWEST} within the last half of the steps"),),
        needs=f"{FEWEST} evaluations within the last half of the steps.{until}",
        would_change="More evaluations.",
    )  # fmt: skip


def _more(line: Line, x: Floats, verdict: str) -> str:
    """How many evaluations at this pace and noise would settle it with 80 % power."""
    if verdict != "inconclusive":
        return "An opposite slope over the next evaluations."
    steps, more = np.exp(x), 0
    pace = float(steps[-1] - steps[0]) / (len(x) - 1)
    while more < 1000:
        more += 1
        ahead = np.log(np.append(steps, steps[-1] + pace * np.arange(1, more + 1)))
        if 2.49 * line.noise / math.sqrt(float(((ahead - ahead.mean()) ** 2).sum())) <= SLOPE:
            break
    quieter = (2.49 * line.noise / math.sqrt(line.sxx) / SLOPE) ** 2
    return f"About {more} more evaluations at this noise, or evaluations of {quieter:.0f} times as many windows."


def _schedule(o: Observations, verdict: str) -> tuple[str, Experiment | None]:
    """What the learning rate still to come means for the verdict."""
    lr, s = o.lr(max(0, o.step - 1)), o.schedule
    if lr is None or s is None or o.ended:
        return "", None
    if verdict in ("plateau", "inconclusive") and (s.shape == "constant" or (s.shape == "wsd" and lr >= s.lr)):
        return (
            f"At a constant learning rate this is its noise floor; taking the rate to zero is expected to give {ANNEAL_GAIN} nats.",
            anneal_probe(o),
        )
    if verdict in ("plateau", "inconclusive") and lr > 1.05 * s.min_lr:
        return "The learning rate is still falling: do not judge the final loss yet.", None
    return "", None


def anneal_probe(o: Observations) -> Experiment | None:
    """The rate from where it is to zero over a tenth of the steps so far, from the last checkpoint."""
    rate, probe = o.lr(max(0, o.step - 1)), max(20, o.step // 10)
    if not rate:
        return None
    steps = o.step + probe
    changes = {"schedule.shape": "wsd", "schedule.lr": rate, "schedule.min_lr": 0.0, "schedule.steps": steps,
               "schedule.decay_steps": None, "schedule.cooldown": probe / steps}  # fmt: skip
    question = "Does the loss drop by 0.05 or more when the rate goes to zero (noise of the rate), or by less than 0.02 (data or capacity)?"
    return Experiment("anneal_probe", question, changes, probe, fork=True)


def _advice(o: Observations, verdict: str) -> str:
    if verdict == "inconclusive":
        return "Lower the noise of evaluation first: more windows, and the same ones each time."
    if verdict == "plateau":
        return "Find out what limits it before training on: the learning rate's noise, the data, or the model's size."
    if verdict == "worsening":
        return "See whether train loss rises too (learning rate, instability) or falls (over-fitting)."
    return ""
