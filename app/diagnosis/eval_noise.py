"""D14: is one evaluation sharper than the change it is meant to show? What its noise is, and how many windows would do."""

import math
from typing import NamedTuple

import numpy as np

from app.diagnosis import scaling
from app.diagnosis.findings import Evidence, Experiment, Finding, Level
from app.diagnosis.observations import Curve, Observations

SHARE_OF_DROP, SHARE_OF_DIFFERENCE = 0.5, 0.3
"""The standard error may be half the expected drop to the next evaluation, and 0.3 of a difference asked about (science.md B.8)."""
HOPELESS = 1e4
"""Times too noisy, beyond which no number of windows is named."""
HEALTHY_SLOPE = 0.2
"""nats per e-fold of tokens, where no law can be asked: healthy runs show 0.19 to 0.23."""


class Noise(NamedTuple):
    sigma: float  #: nats, of one evaluation against the next
    source: str  #: stated, scatter or batches


def noise(o: Observations) -> Noise | None:
    """Of fixed windows the scatter about the trend: their own error is the same each time. Else what is stated, if it is."""
    curve = o.finite("val/loss").between(max(1, o.warmup_steps), math.inf)
    errors = o.finite("val/loss_se").between(max(1, o.warmup_steps), math.inf).value
    if o.fixed_eval is not True and len(errors):
        return Noise(float(np.median(errors)), "stated")
    scattered = scatter(curve)
    if scattered is not None:
        return Noise(scattered, "scatter")
    return _from_batches(o)


def scatter(curve: Curve, last: int = 42) -> float | None:
    """Noise of one of the last values, from second differences, which a smooth trend hardly moves."""
    y = curve.value[-last:]
    if len(y) < 5:
        return None
    bends = y[2:] - 2 * y[1:-1] + y[:-2]
    if len(bends) >= 8:
        return float(np.median(np.abs(bends))) / 0.6745 / math.sqrt(6)
    return math.sqrt(float(np.mean(bends**2)) / 6)


def _from_batches(o: Observations) -> Noise | None:
    """nanoGPT's iter lines are losses of one micro-batch each: their scatter over √(micro-batches of an evaluation)."""
    if o.train_loss_is != "last micro-batch" or not o.eval_windows or not o.micro_batch:
        return None
    spread = scatter(o.finite("train/loss").between(max(1, o.warmup_steps), math.inf), 2000)
    return None if spread is None else Noise(spread / math.sqrt(max(1.0, o.eval_windows / o.micro_batch)), "batches")


def judge(o: Observations) -> Finding | None:
    curve = o.finite("val/loss")
    if not len(curve.step):
        return None
    found = noise(o)
    after = curve.between(max(1, o.warmup_steps), math.inf)
    if found is None or len(after.step) < 2:
        return Finding(
            "D14", "Evaluation noise", "not enough data", Level.unknown,
            f"{len(after.step)} evaluations since the warm-up, without a stated error, do not show their noise.",
            evidence=(Evidence("evaluations", len(after.step), "", limit="5"),),
            needs=f"{max(1, 5 - len(after.step))} more evaluations, or their standard error.", would_change="More evaluations.",
        )  # fmt: skip
    last, before = int(after.step[-1]), int(after.step[-2])
    per_fold = abs(scaling.slope(o.tokens)) if o.tokens and o.parameters else HEALTHY_SLOPE
    drop = per_fold * math.log(last / before)
    allowed = SHARE_OF_DROP * drop
    asked = o.asked_difference
    if asked:
        allowed = min(allowed, SHARE_OF_DIFFERENCE * asked)
    ratio = found.sigma / allowed if allowed > 0 else math.inf
    reachable = ratio < HOPELESS
    windows = math.ceil(o.eval_windows * ratio**2) if o.eval_windows and reachable else None
    how = {"stated": "stated", "scatter": "scatter about the trend", "batches": "from the scatter of single batches"}
    evidence = [
        Evidence("standard error of an evaluation", found.sigma, "nats", limit=how[found.source]),
        Evidence("expected drop to the next", drop, "nats", limit="by scaling laws" if o.parameters and o.tokens else f"at {HEALTHY_SLOPE} per e-fold of tokens"),
        Evidence("standard error allowed", allowed, "nats", limit="half the drop" + (f", and 0.3 of the {asked:g} asked about" if asked else "")),
    ]  # fmt: skip
    if o.seed_sd:
        evidence.append(
            Evidence(
                "spread between seeds", o.seed_sd, "nats", limit="comes on top: an evaluation's error does not have it"
            )
        )
    if windows and o.block_size:
        evidence.append(
            Evidence(
                "windows that would do",
                windows,
                "windows",
                limit=f"{windows * o.block_size / 1e6:.3g} M tokens each time",
            )
        )
    if found.sigma <= allowed:
        return Finding(
            "D14", "Evaluation noise", "sharp enough", Level.ok,
            f"An evaluation is good to {found.sigma:.4f} nats; the next is expected {drop:.4f} lower.",
            evidence=tuple(evidence), confidence="high" if found.source == "stated" else "medium", would_change="Evaluations closer together, or fewer windows.",
        )  # fmt: skip
    together = math.ceil(ratio**2) if reachable else None
    rarer = (
        f" Or read changes over {plural_evaluations(ratio)} instead of from one to the next." if ratio < 1000 else ""
    )
    fixed = o.fixed_eval is False
    experiment = None
    if fixed:
        experiment = Experiment(
            "fixed_windows", "Do evaluations on the same windows each time lie closer to a line?", {"data.sampler": "shuffled"},
            8 * (last - before), fork=bool(o.checkpoint_steps),
        )  # fmt: skip
    elif windows:
        experiment = Experiment(
            "longer_eval", f"Is an evaluation of {windows:,} windows good to {allowed:.4f} nats?", {"eval.windows": min(windows, 1_000_000)},
            8 * (last - before), fork=bool(o.checkpoint_steps),
        )  # fmt: skip
    return Finding(
        "D14", "Evaluation noise", "noisy", Level.warn,
        f"An evaluation is off by {found.sigma:.3f} nats (1 standard error), and the next is expected only {drop:.3f} lower: single evaluations rise and fall by noise.",
        evidence=tuple(evidence), confidence="high" if found.source == "stated" or len(after.step) >= 20 else "medium",
        because="" if found.source == "stated" else f"The noise is estimated from {len(after.step)} evaluations.",
        would_change=f"A standard error below {allowed:.4f} nats.",
        advice=("Evaluate on the same windows each time: then only the change is noisy. " if o.fixed_eval is not True else "")
        + (f"{together:,} times as many windows ({windows:,}) would do." if windows and together else f"{together:,} times as many windows would do." if together else "") + rarer,
        experiment=experiment,
    )  # fmt: skip


def plural_evaluations(ratio: float) -> str:
    return f"{max(2, math.ceil(ratio)):,} evaluations"
