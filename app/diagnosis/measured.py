"""The loss that verdicts are about: validation, or where a log has none, means of train losses over equal stretches."""

import math
from typing import NamedTuple

import numpy as np

from app.diagnosis.observations import Curve, Observations

MOST = 600
"""Values; means of neighbours where there are more, which have less noise and next to no bias."""


SPIKE, LEAST_SPIKE = 8.0, 0.02
"""Robust standard deviations above its neighbours, and nats, beyond which a value stands in a spike."""


class Measured(NamedTuple):
    curve: Curve
    errors: Curve  #: the standard errors that were stated, at some of its steps
    name: str
    of_train: bool


def measured(o: Observations) -> Measured:
    val = o.finite("val/loss")
    of_train = not len(val.step) and len(o.finite("train/loss").step) > 0
    curve, errors = (
        (o.finite("train/loss"), Curve(val.step[:0], val.value[:0])) if of_train else (val, o.finite("val/loss_se"))
    )
    size = math.ceil(len(curve.step) / MOST)
    if size > 1:
        curve = means(curve, size)
        stated = np.median(errors.value) / math.sqrt(size) if len(errors.value) else math.nan
        errors = Curve(curve.step, np.full(len(curve.step), stated)).finite()
    return Measured(curve, errors, "train loss" if of_train else "validation loss", of_train)


def means(curve: Curve, size: int) -> Curve:
    """Of groups of `size` neighbours, the last values included and up to size − 1 of the first left out."""
    first = len(curve.step) % size
    step = curve.step[first:].reshape(-1, size)
    value = curve.value[first:].reshape(-1, size).mean(1)
    return Curve(np.round(step.mean(1)).astype(np.int64), value)


def without_spikes(curve: Curve) -> Curve:
    """No trend goes through the middle of a spike: values far above the median of the four around go, a fifth of all at most.

    Of the ends none goes: the first two may be steep, and the last may begin something.
    """
    if len(curve.step) < 8:
        return curve
    y, left = curve.value, np.zeros(len(curve.step))
    before, after = (
        np.minimum(y[:-4], y[1:-3]),
        np.minimum(y[3:-1], y[4:]),
    )  # above both sides: the edge of a step is no spike
    left[2:-2] = y[2:-2] - np.maximum(np.median([y[:-4], y[1:-3], y[3:-1], y[4:]], axis=0), np.maximum(before, after))
    left[-2] = y[-2] - max(float(np.median(y[[-5, -4, -3, -1]])), float(y[-1]))
    scale = 1.4826 * float(np.median(np.abs(left[2:-1])))
    keep = left <= max(SPIKE * scale, LEAST_SPIKE)
    return curve if keep.all() or keep.mean() < 0.8 else Curve(curve.step[keep], curve.value[keep])
