"""D13: a loss or a gradient that is no number any more, what went before it, and the checkpoint to go back to."""

import numpy as np

from app.diagnosis.findings import Evidence, Finding, Level, Mark, plural
from app.diagnosis.observations import HUGE, Curve, Observations
from app.diagnosis.spikes import lower_rate

LOSSES = ("train/loss", "val/loss", "eval/train_loss")
TRACE = 20
"""Values before the first that is not finite."""


def judge(o: Observations) -> Finding:
    if not any(len(o.curve(key).step) for key in LOSSES):
        return Finding(
            "D13", "Not finite", "not enough data", Level.unknown, "There is no loss in this log.",
            needs="Train or validation losses, one at least.", would_change="A loss.",
        )  # fmt: skip
    bad = {key: steps for key in (*LOSSES, "train/grad_norm") if len(steps := _bad(o, key))}
    if not bad and o.failed != "non_finite":
        looked = sum(len(o.curve(key).step) for key in LOSSES)
        return Finding(
            "D13", "Not finite", "none", Level.ok, f"All {looked:,} losses are finite.",
            evidence=(Evidence("losses looked at", looked),), confidence="high", would_change="One that is not.",
        )  # fmt: skip
    step = min((int(steps[0]) for steps in bad.values()), default=o.step)
    key = min(bad, key=lambda one: int(bad[one][0]), default="")
    count = sum(len(steps) for steps in bad.values())
    recovered = o.failed != "non_finite" and all(_went_on(o.curve(one), steps) for one, steps in bad.items())
    good = max((saved for saved in o.checkpoint_steps if saved < step), default=None)
    what = key.replace("train/grad_norm", "gradient norm").replace("train/loss", "train loss")
    what = what.replace("val/loss", "validation loss").replace("eval/train_loss", "train loss in eval mode") or "loss"
    tensor = f" The first tensor: {o.non_finite_tensor}." if o.non_finite_tensor else ""
    evidence = [Evidence("values that are not finite", count), Evidence("the first, at step", step)]
    for name in ("train/loss", "train/grad_norm", "train/lr", "train/loss_scale"):
        before = o.finite(name).between(-np.inf, step - 1).value[-TRACE:]
        if len(before):
            evidence.append(
                Evidence(f"{name} before", float(before[-1]), "", float(before.min()), float(before.max()), f"the last of {len(before)}")
            )  # fmt: skip
    if recovered:
        return Finding(
            "D13", "Not finite", "was not finite", Level.warn,
            f"The {what} was not finite at step {step:,} ({plural(count, 'value')}); the losses since are.{tensor}",
            evidence=tuple(evidence), confidence="medium", because="Weights that are not finite would have kept it so.",
            would_change="Another value that is not finite.",
            advice="Look at that batch (empty, or all targets masked), or at float16's overflow; bfloat16 has float32's range.",
            marks=(Mark(step, step, "not finite"),),
        )  # fmt: skip
    back = f"Stop, and go on from the checkpoint of step {good:,}" if good is not None else "Stop, and start again"
    return Finding(
        "D13", "Not finite", "not finite", Level.critical,
        f"The {what} is not finite from step {step:,} on: nothing is learnt any more.{tensor}",
        evidence=tuple(evidence), confidence="high", because=_trace(o, step), would_change="Nothing: such weights do not mend.",
        advice=f"{back} with half the learning rate. Steps after {step - 1:,} are lost.",
        experiment=lower_rate(o, step, "Does the run pass this step at half the rate?"),
        marks=(Mark(step, max(step, o.step), "not finite"),),
    )  # fmt: skip


def _bad(o: Observations, key: str) -> np.ndarray:
    """Its steps that are not finite; a gradient that overflowed under float16's scaler was skipped, and is no fault."""
    curve = o.curve(key)
    if key == "train/grad_norm" and (o.dtype == "float16" or len(o.curve("train/loss_scale").step)):
        return np.empty(0, np.int64)
    return curve.step[~(np.abs(curve.value) < HUGE)]


def _went_on(curve: Curve, bad: np.ndarray) -> bool:
    """Ten finite values at the end, or as many as the curve could have."""
    after = curve.step > bad[-1]
    return bool(after.sum() >= min(10, max(1, len(curve.step) // 4)))


def _trace(o: Observations, step: int) -> str:
    norms = o.curve("train/grad_norm").between(-np.inf, step).value[-TRACE:]
    return f"The gradient norms before: {', '.join(f'{norm:.3g}' for norm in norms)}." if len(norms) else ""
