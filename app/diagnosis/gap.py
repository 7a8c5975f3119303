"""Train and validation loss side by side, where they can be compared at all: both in eval mode, or no dropout between them."""

import math
from typing import NamedTuple

import numpy as np

from app.diagnosis.observations import Curve, Floats, Observations

LEAST_POINTS = 8
"""Train losses around an evaluation whose mean stands in for an evaluation of train."""


class Pair(NamedTuple):
    """At the same steps."""

    val: Curve
    train: Curve
    se: Floats  #: of val − train at each step; NaN where nobody stated it
    evaluated: bool  #: False: train is the mean of batch losses around the step

    @property
    def gap(self) -> Curve:
        return Curve(self.val.step, self.val.value - self.train.value)

    def since(self, step: float) -> "Pair":
        keep = self.val.step >= step
        return Pair(
            Curve(self.val.step[keep], self.val.value[keep]), Curve(self.train.step[keep], self.train.value[keep]),
            self.se[keep], self.evaluated,
        )  # fmt: skip


def pair(o: Observations) -> Pair | None:
    """None where train losses are missing, or are inflated by dropout and nothing else is there."""
    val = o.finite("val/loss")
    evaluated = o.finite("eval/train_loss")
    if len(evaluated.step) and len(val.step):
        steps, here, there = np.intersect1d(val.step, evaluated.step, return_indices=True)
        if len(steps):
            errors = o.curve("val/loss_se").at(steps)
            others = o.curve("eval/train_loss_se").at(steps)
            others = np.where(np.isfinite(others), others, errors)  # as many windows, nearly the same text
            train = Curve(steps, evaluated.value[there])
            return Pair(Curve(steps, val.value[here]), train, np.hypot(errors, others), True)
    if o.dropout == 0 or o.train_loss_mode == "eval":
        return _from_batches(o, val)
    return None


def missing(o: Observations) -> str:
    """What would make them comparable."""
    if o.dropout is None and len(o.curve("train/loss").step):
        return "Train loss in eval mode, or the knowledge that there is no dropout."
    return "Train loss in eval mode, on as many windows as validation."


def _from_batches(o: Observations, val: Curve) -> Pair | None:
    batches = o.finite("train/loss")
    if len(batches.step) < LEAST_POINTS or len(val.step) < 2:
        return None
    reach = max(1.0, float(np.median(np.diff(val.step))) / 2)
    first = np.searchsorted(batches.step, val.step - reach, side="left")
    last = np.searchsorted(batches.step, val.step + reach, side="right")
    centred = batches.value - batches.value.mean()  # for the sums of squares' sake
    sums, squares = (np.concatenate(([0.0], np.cumsum(one))) for one in (centred, centred**2))
    count = last - first
    # one-sided windows would be older or newer than the evaluation
    sided = (val.step + reach <= batches.step[-1] + 1) & (val.step - reach >= batches.step[0] - 1)
    keep = (count >= LEAST_POINTS) & sided
    if not keep.any():
        return None
    first, last, count = first[keep], last[keep], count[keep]
    mean = (sums[last] - sums[first]) / count
    variance = np.maximum((squares[last] - squares[first]) / count - mean**2, 0) * count / (count - 1)
    errors = np.hypot(o.curve("val/loss_se").at(val.step[keep]), np.sqrt(variance / count))
    train = Curve(val.step[keep], mean + batches.value.mean())
    return Pair(Curve(val.step[keep], val.value[keep]), train, errors, False)


def mean_gap(found: Pair, fixed: bool | None) -> tuple[float, float]:
    """Mean of val − train and its standard error; NaN where it cannot be told.

    The errors of evaluations on fixed windows are the same each time: their mean is no surer than one of them.
    """
    gap = found.gap.value
    stated = float(np.nanmean(found.se)) if np.isfinite(found.se).any() else math.nan
    if fixed:
        return float(gap.mean()), stated
    scatter = float(gap.std(ddof=1)) if len(gap) > 1 else math.nan
    return float(gap.mean()), (stated if math.isfinite(stated) else scatter) / math.sqrt(len(gap))
