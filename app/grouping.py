"""Runs grouped by a setting: the mean of their curves with a band, and the same numbers at the last point all of a group reach."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app import axes, run_query, series
from app.contract import ids
from app.contract.config import RunConfig
from app.db import Tx
from app.errors import FieldError, Invalid
from app.tables import Run

Band = Literal["ci95", "se", "std", "range"]
POINTS = 400
"""Of a group's mean at most."""
BUCKETS = 2000
FIELDS = frozenset(RunConfig().flat())

Floats = NDArray[np.float64]


class Curve(NamedTuple):
    """One run's metric over an axis: x ascending, both finite."""

    run: str
    x: Floats
    y: Floats


class Spread(NamedTuple):
    """Across the runs of a group, at each x: arrays of equal length. With one run there is a mean and no band."""

    mean: Floats
    low: Floats
    high: Floats


def groups(
    tx: Tx,
    runs: Sequence[Run],
    *,
    by: str = "",
    key: str = "val/loss",
    axis: str = "tokens",
    band: Band = "ci95",
    minus: Run | None = None,
) -> dict[str, Any]:
    """Groups in the order of their value. `by` is a field of the configuration; empty: each run by itself.

    `minus`: each curve less this run's, where both have points. Runs without a finite point there are named in `left_out`.
    Raises Invalid for a field or axis that does not exist.
    """
    if by and by not in FIELDS:
        raise Invalid([FieldError("/query/by", f"{by[:60]!r} is not a setting; say for example optim.weight_decay")])
    if axis not in axes.AXES:
        raise Invalid([FieldError("/query/x", f"must be one of {', '.join(axes.AXES)}")])
    reference = _curve(tx, minus, key, axis) if minus is not None else None
    members: dict[str, tuple[Any, list[Curve]]] = {}
    left_out = []
    for run in runs:
        curve = _curve(tx, run, key, axis)
        if reference is not None:
            curve = _less(curve, reference)
        if not len(curve.x):
            left_out.append(curve.run)
            continue
        value = run_query.flat(run.config).get(by) if by else curve.run
        members.setdefault(repr(value), (value, []))[1].append(curve)
    ordered = sorted(members.values(), key=lambda one: _rank(one[0]))
    return {
        "by": by,
        "key": key,
        "x": axis,
        "band": band,
        "minus": ids.show("run", minus.id) if minus is not None else None,
        "groups": [_group(value, curves, band) for value, curves in ordered],
        "left_out": left_out,
    }


def spread(values: Floats, band: Band) -> Spread:
    """Of n runs' values, shape (n, points): mean, and a band of it (ci95: Student's t with n − 1; se; std with n − 1) or of
    the runs themselves (range). NaN bands for n = 1: one run says nothing about another."""
    n, mean = len(values), values.mean(0)
    if band == "range":
        return Spread(mean, values.min(0), values.max(0)) if n > 1 else Spread(mean, *(np.full_like(mean, np.nan),) * 2)
    if n == 1:
        return Spread(mean, *(np.full_like(mean, np.nan),) * 2)
    half = values.std(0, ddof=1)
    if band != "std":
        half = half / np.sqrt(n)
    if band == "ci95":
        from scipy.special import stdtrit  # 15 MiB at the first group; scipy.stats would take 60

        half = half * float(stdtrit(n - 1, 0.975))
    return Spread(mean, mean - half, mean + half)


def together(curves: Sequence[Curve]) -> tuple[Floats, Floats]:
    """x where every curve is, and their values there, (n, points): between two points of a curve lies a straight line."""
    first, last = max(one.x[0] for one in curves), min(one.x[-1] for one in curves)
    grid = np.unique(np.concatenate([one.x for one in curves]))
    grid = grid[(grid >= first) & (grid <= last)]
    if len(grid) > POINTS:
        grid = grid[np.unique(np.linspace(0, len(grid) - 1, POINTS).round().astype(int))]
    return grid, np.array([np.interp(grid, one.x, one.y) for one in curves]).reshape(len(curves), len(grid))


def _group(value: Any, curves: Sequence[Curve], band: Band) -> dict[str, Any]:
    x, values = together(curves)
    shown = spread(values, band) if len(x) else Spread(x, x, x)
    last: dict[str, Any] | None = None
    if len(x):
        end = values[:, -1:]
        last = {"x": float(x[-1]), "mean": float(end.mean()), "runs": end[:, 0].tolist()}
        for name in ("ci95", "se", "std", "range"):
            at = spread(end, name)
            last[name] = None if len(curves) == 1 else [float(at.low[0]), float(at.high[0])]
    return {
        "value": value,
        "runs": [one.run for one in curves],
        "n": len(curves),
        "x": x.tolist(),
        "mean": shown.mean.tolist(),
        "low": shown.low.tolist() if len(curves) > 1 else None,
        "high": shown.high.tolist() if len(curves) > 1 else None,
        "last": last,
    }


def _curve(tx: Tx, run: Run, key: str, axis: str) -> Curve:
    points = series.read(tx.raw, run.id, key, buckets=BUCKETS)
    x = axes.ruler(tx, run.id, axis)(points.step)
    good = np.isfinite(points.value) & np.isfinite(x)
    x, y = x[good].astype(float), points.value[good]
    x, place = np.unique(x, return_index=True)
    return Curve(ids.show("run", run.id), x, y[place])


def _less(curve: Curve, reference: Curve) -> Curve:
    if not len(curve.x) or not len(reference.x):
        return Curve(curve.run, np.empty(0), np.empty(0))
    inside = (curve.x >= reference.x[0]) & (curve.x <= reference.x[-1])
    x = curve.x[inside]
    return Curve(curve.run, x, curve.y[inside] - np.interp(x, reference.x, reference.y))


def _rank(value: Any) -> tuple[int, float, str]:
    """Numbers by size, then words."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 0, float(value), ""
    return 1, 0.0, str(value)
