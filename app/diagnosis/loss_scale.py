"""D12: float16's loss scaler. A skip every 2,000 steps is its way of working; many, or a scale below 1, is not."""

import math

import numpy as np

from app.diagnosis.findings import Evidence, Finding, Level, Mark, plural
from app.diagnosis.observations import Curve, Observations

SHARE, WINDOW = 0.01, 500
"""Skipped steps, and over how many steps (science.md B.7): PyTorch's scaler doubles every 2,000 clean steps and halves at an overflow."""
IN_A_ROW = 10
LEAST_SCALE = 1.0


def judge(o: Observations) -> Finding | None:
    scale, skipped = o.finite("train/loss_scale"), o.finite("train/skipped")
    if not len(scale.step) and not len(skipped.step):
        if o.dtype != "float16":
            return None
        return Finding(
            "D12", "Loss scale", "not enough data", Level.unknown, "The run is in float16 and its log has no loss scale.",
            needs="The scaler's scale, or which steps it skipped.", advice="bfloat16 needs no scaler; most GPUs since 2020 have it.",
            would_change="A log of the scale.",
        )  # fmt: skip
    flags = _skips(scale, skipped)
    looked, count = len(flags.step), int(flags.value.sum())
    width = min(WINDOW, looked)
    sums = np.concatenate(([0.0], np.cumsum(flags.value)))
    windows = sums[width:] - sums[:-width]
    worst = int(windows.argmax())
    row, row_at = _longest_row(flags)
    lowest = float(scale.value.min()) if len(scale.step) else math.nan
    updates = o.step - round(o.step * count / looked)
    evidence = (
        Evidence("steps skipped", count, "", limit=f"of {looked:,}; about {looked / 2000:.0f} are usual"),
        Evidence(f"most within {width} steps", float(windows.max()), "", limit=f"many: more than {SHARE * WINDOW:.0f}"),
        Evidence("most in a row", row, "", limit=f"lost: {IN_A_ROW}"),
        Evidence("lowest scale", lowest, "", limit="lost: below 1"),
        Evidence("updates made", updates, "", limit="skipped steps move the learning rate, not the weights"),
    )
    advice = "Train in bfloat16: it has float32's range and needs no scaler."
    if row >= IN_A_ROW or lowest < LEAST_SCALE:
        why = (
            f"{row} steps in a row were skipped, from step {row_at:,} on"
            if row >= IN_A_ROW
            else f"The scale fell to {lowest:g}"
        )
        return Finding(
            "D12", "Loss scale", "lost", Level.critical, f"{why}: the gradients are not finite at any scale.",
            evidence=evidence, confidence="high", would_change="2,000 clean steps.", advice=advice,
            marks=(Mark(row_at, row_at + row, "skipped"),) if row >= IN_A_ROW else (),
        )  # fmt: skip
    if windows.max() > SHARE * WINDOW:
        first, last = int(flags.step[worst]), int(flags.step[worst + width - 1])
        return Finding(
            "D12", "Loss scale", "many skips", Level.warn,
            f"{windows.max():.0f} of {width} steps were skipped between steps {first:,} and {last:,}; one in 2,000 is usual.",
            evidence=evidence, confidence="high" if width == WINDOW else "medium", would_change=f"At most {SHARE * WINDOW:.0f} skips over 500 steps.",
            advice=advice, marks=(Mark(first, last, "many skips"),),
        )  # fmt: skip
    return Finding(
        "D12", "Loss scale", "usual", Level.ok, f"{plural(count, 'step')} of {looked:,} skipped, as the scaler's doubling brings about.",
        evidence=evidence, confidence="high" if looked >= WINDOW else "medium", would_change="More than 5 skips within 500 steps.",
    )  # fmt: skip


def _skips(scale: Curve, skipped: Curve) -> Curve:
    """1 where a step was skipped: as reported, else where the scale was lower than the point before."""
    if len(skipped.step):
        return Curve(skipped.step, (skipped.value > 0.5).astype(float))
    return Curve(scale.step, np.concatenate(([0.0], (np.diff(scale.value) < 0).astype(float))))


def _longest_row(flags: Curve) -> tuple[int, int]:
    """Length of the longest row of skips, and the step it begins at."""
    edges = np.diff(np.concatenate(([0.0], flags.value, [0.0])))
    starts, ends = np.flatnonzero(edges > 0), np.flatnonzero(edges < 0)
    if not len(starts):
        return 0, 0
    longest = int((ends - starts).argmax())
    return int(ends[longest] - starts[longest]), int(flags.step[starts[longest]])
