"""D03: over-fitting is validation rising while train falls and the gap opens. Validation below train is not over-fitting.

Three signs (science.md B.3): both slopes by D01's line, the rise above the best by max(2√2·SE, 0.01), and the gap's own slope.
Prior: what the model can memorise, 3.6 bit a parameter (2505.24832), against what there is to memorise, U·L/ln 2.
"""

import math

import numpy as np

from app.diagnosis import eval_noise, gap, plateau
from app.diagnosis.findings import Evidence, Experiment, Finding, Level, Mark
from app.diagnosis.observations import Curve, Observations

BITS_PER_PARAMETER = 3.6
IMPLAUSIBLE, EXPECTED = 0.1, 1.0
"""Capacity over content, ρ: below the first the model cannot have memorised the data, above the second it will."""
LEAST_RISE, SUSPECT_GAP = 0.01, 0.1
"""nats."""
SMOOTH = 3
"""Evaluations whose median is "now", or "best"."""


def memory_ratio(o: Observations, loss: float) -> float | None:
    if not o.parameters or not o.train_tokens or loss <= 0:
        return None
    distinct = o.train_tokens * (1 - (o.duplicate_share or 0.0))
    return BITS_PER_PARAMETER * o.parameters / (distinct * loss / math.log(2)) if distinct > 0 else None


def judge(o: Observations) -> Finding | None:
    if not len(o.finite("val/loss").step):
        return None
    found = gap.pair(o)
    if found is None:
        return Finding(
            "D03", "Over-fitting", "not enough data", Level.unknown,
            "Validation cannot be held against train: the log has no train loss that is comparable.",
            needs=gap.missing(o), missing=("dropout",) if o.dropout is None else (), would_change="Such a train loss.",
        )  # fmt: skip
    found = found.since(max(1, o.warmup_steps))
    part = plateau.window(o, found.val)
    if part is None:
        have = len(found.val.step)
        return Finding(
            "D03", "Over-fitting", "not enough data", Level.unknown, f"{have} evaluations since the warm-up do not show a trend.",
            evidence=(Evidence("evaluations", have, "", limit=f"{plateau.FEWEST} within the last half of the steps"),),
            needs=f"{plateau.FEWEST} evaluations within the last half of the steps.", would_change="More evaluations.",
        )  # fmt: skip
    inside = np.isin(found.val.step, part.step)
    x = np.log(part.step.astype(float))
    lines = [plateau.fit(x, one.value[inside], None) for one in (found.val, found.train, found.gap)]
    val, train, opening = lines
    noise = eval_noise.noise(o)
    sigma = noise.sigma if noise else val.noise
    smooth = _smooth(found.val)
    best = int(smooth.value.argmin())
    rise, limit = float(smooth.value[-1] - smooth.value[best]), max(2 * math.sqrt(2) * sigma, LEAST_RISE)
    now_gap, mean_gap = float(np.median(found.gap.value[inside][-SMOOTH:])), float(found.gap.value[inside].mean())
    ratio = memory_ratio(o, float(found.train.value[-1]))
    evidence = [
        Evidence("slope of the validation loss", val.slope, "nats per e-fold of tokens", val.low, val.high, "rising above 0"),
        Evidence("slope of the train loss", train.slope, "nats per e-fold of tokens", train.low, train.high, "falling below 0"),
        Evidence("slope of the gap", opening.slope, "nats per e-fold of tokens", opening.low, opening.high, "opening above 0"),
        Evidence("validation above its best", rise, "nats", limit=f"much: {limit:.3f}"),
        Evidence("gap now, validation − train", now_gap, "nats", limit=f"{mean_gap:+.3f} over these evaluations"),
    ]  # fmt: skip
    if ratio is not None:
        evidence.append(
            Evidence("what it can memorise over what there is", ratio, "", limit=f"implausible below {IMPLAUSIBLE}, expected above {EXPECTED:g}")
        )  # fmt: skip
    rising, falling, opens, risen = val.low > 0, train.high < 0, opening.low > 0, rise > limit
    because = _prior(o, ratio)
    best_step = int(smooth.step[best])
    if rising and falling and opens and risen:
        return Finding(
            "D03", "Over-fitting", "over-fitting", Level.warn,
            f"Validation is {rise:.3f} nats above its best (step {best_step:,}) and rising while train falls: the run over-fits.",
            evidence=tuple(evidence), confidence="low" if ratio is not None and ratio < IMPLAUSIBLE else "high", because=because,
            would_change="Validation falling again over the next evaluations.", advice=_advice(o, best_step),
            experiment=_experiment(o), marks=(Mark(best_step, int(part.step[-1]), "over-fitting"),),
        )  # fmt: skip
    if now_gap > SUSPECT_GAP and (opens or risen):
        what = "the gap opens" if opens else f"validation is {rise:.3f} nats above its best of step {best_step:,}"
        return Finding(
            "D03", "Over-fitting", "suspect", Level.info,
            f"Validation is {now_gap:.3f} nats above train, and {what}; validation itself {'rises' if rising else 'does not surely rise'}.",
            evidence=tuple(evidence), confidence="low" if ratio is not None and ratio < IMPLAUSIBLE else "medium", because=because,
            would_change="Validation rising (over-fitting), or a gap that stays as it is.", advice=_advice(o, best_step),
            experiment=_experiment(o), marks=(Mark(int(part.step[0]), int(part.step[-1]), "the gap opens"),) if opens else (),
        )  # fmt: skip
    below = now_gap <= 0 and mean_gap <= 0
    sentence = (
        f"Not over-fitting: validation is {-mean_gap:.3f} nats below train, and over-fitting would put it above."
        if below
        else f"Not over-fitting: the gap is {now_gap:.3f} nats and "
        + ("does not open." if not opens else "opens slowly.")
    )
    return Finding(
        "D03", "Over-fitting", "not over-fitting", Level.ok, sentence, evidence=tuple(evidence),
        confidence="high" if below or (ratio is not None and ratio < IMPLAUSIBLE) else "medium", because=because,
        would_change="Validation rising while train falls and the gap opens.",
    )  # fmt: skip


def _smooth(curve: Curve) -> Curve:
    """Medians of three: one evaluation in a spike is neither the best nor what is now."""
    if len(curve.step) < SMOOTH:
        return curve
    windows = np.lib.stride_tricks.sliding_window_view(curve.value, SMOOTH)
    return Curve(curve.step[SMOOTH - 1 :], np.median(windows, axis=1))


def _prior(o: Observations, ratio: float | None) -> str:
    if ratio is None:
        return ""
    if ratio < IMPLAUSIBLE:
        return f"The model could memorise {ratio:.1%} of the data at most ({BITS_PER_PARAMETER} bit a parameter): that does not make a gap."
    if ratio > EXPECTED:
        return f"The model can hold {ratio:.1f} times the data: with many passes it will over-fit."
    return ""


def _advice(o: Observations, best_step: int) -> str:
    many = o.epochs is not None and o.epochs > 4
    decay = "then three to ten times the weight decay (λ up to about 3), " if many else ""
    return f"Keep the checkpoint of about step {best_step:,}. More distinct text helps most; {decay}dropout of 0.1 to 0.2, or a smaller model."


def _experiment(o: Observations) -> Experiment:
    steps = o.steps or o.step
    if o.optim is not None and o.epochs is not None and o.epochs > 4:
        base = o.optim.weight_decay or 0.1
        grid = sorted({base, min(3.0, 3 * base), min(3.0, 10 * base)})
        return Experiment(
            "decay_sweep", "Does more weight decay lower the best validation loss?", {"optim.weight_decay": grid}, steps
        )
    return Experiment("more_data", "Does validation keep falling on more distinct text?", {}, steps)
