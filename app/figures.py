"""Charts as plain dicts: what a page draws and what its JSON twin returns, from one function."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app import feed, means, series
from app.axes import AXES, ruler
from app.contract import ids
from app.db import Tx
from app.errors import FieldError, Invalid

WIDTH = (16, 8000)
"""Fewest and most points drawn of one curve."""
MOST_CURVES = 2000
"""In one answer."""

Ruler = Callable[[NDArray[np.int64]], NDArray[np.float64]]


def chart(
    tx: Tx,
    run_ids: Iterable[int],
    keys: Sequence[str],
    axis: str = "step",
    lo: float | None = None,
    hi: float | None = None,
    width: int = 1000,
    mean: Collection[str] = (),
) -> dict[str, Any]:
    """Series of several runs, thinned to about `width` points that keep every extreme.

    A key that ends in "/" stands for all series below it. `lo` and `hi` are in units of the axis. Values that
    are not finite are null in `y` and named in `non_finite`. There is an `x` on every axis but that of steps. Merged curves of the keys in `mean` have the means of
    their buckets as well. The cost depends on `width`, not on the runs' length.
    """
    if axis not in AXES:
        raise Invalid([FieldError("/x", f"must be one of {', '.join(AXES)}")])
    buckets = min(max(width, WIDTH[0]), WIDTH[1]) // 2  # each keeps its minimum and its maximum
    cursor = feed.head(tx.raw)
    left = MOST_CURVES
    shown: dict[str, dict[str, Any]] = {}
    for run_id in run_ids:
        found = expanded(tx, run_id, keys, left)
        left -= len(found)
        place = ruler(tx, run_id, axis)
        across = None if axis == "step" else place  # on the axis of steps, x is the step
        window = _steps_between(tx, run_id, axis, place, lo, hi)
        curves = {key: _curve(tx, run_id, key, across, window, buckets) for key in found}
        for key in curves.keys() & set(mean):
            if curves[key]["merged"]:
                step, y = means.read(tx.raw, run_id, key, *window, buckets)
                curves[key]["mean"] = {"step": step.tolist(), "y": y.tolist()}
        shown[ids.show("run", run_id)] = curves
    return {"x": axis, "cursor": cursor, "runs": shown}


def _curve(
    tx: Tx, run_id: int, key: str, across: Ruler | None, window: tuple[int | None, int | None], buckets: int
) -> dict[str, Any]:
    points = series.read(tx.raw, run_id, key, *window, buckets)
    finite = np.isfinite(points.value)
    return {
        "step": points.step.tolist(),
        **({"x": _listed(across(points.step))} if across else {}),
        "y": _listed(points.value),
        "total": points.total,
        "merged": points.merged,
        "non_finite": [
            {"step": int(step), "value": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
            for step, value in zip(points.step[~finite], points.value[~finite], strict=True)
        ],
    }


def _listed(values: NDArray[Any]) -> list[Any]:
    """Numbers as JSON takes them: null for what is not finite."""
    listed: list[Any] = values.tolist()
    for index in np.flatnonzero(~np.isfinite(values)):
        listed[index] = None
    return listed


def expanded(tx: Tx, run_id: int, keys: Sequence[str], most: int = MOST_CURVES) -> list[str]:
    """The run's own series for the keys asked for, in that order; "" stands for all. Raises Invalid where they are more
    than `most`."""
    found: dict[str, None] = {}
    for key in keys:
        # "/" is followed by "0": all that begins with the key lies between the two
        last = key[:-1] + "0" if key.endswith("/") else key + "\0" if key else "\U0010ffff"
        query = "SELECT key FROM series WHERE run_id = ? AND key >= ? AND key < ? ORDER BY key LIMIT ?"
        found |= dict.fromkeys(row[0] for row in tx.raw.execute(query, (run_id, key, last, most + 1)))
        if len(found) > most:
            raise Invalid(
                [FieldError("/query/key", f"stands for more than {MOST_CURVES:,} curves; name fewer runs or keys")]
            )
    return list(found)


def _steps_between(
    tx: Tx, run_id: int, axis: str, place: Ruler, lo: float | None, hi: float | None
) -> tuple[int | None, int | None]:
    """The window as steps: the last step at or before `lo` to the first at or after `hi`."""
    if axis == "step" or (lo is None and hi is None):
        return (None if lo is None else math.floor(lo)), (None if hi is None else math.ceil(hi))
    last = tx.raw.execute("SELECT coalesce(max(last_step), 0) FROM series WHERE run_id = ?", (run_id,)).fetchone()[0]
    low = None if lo is None else max(0, _first_at(place, lo, last) - 1)
    return low, (None if hi is None else _first_at(place, hi, last))


def _first_at(place: Ruler, x: float, last: int) -> int:
    """The first step whose x is at least `x`; x only rises, so each look at 64 steps narrows it down 64-fold."""
    low, high = 0, last
    while low < high:
        steps = np.unique(np.linspace(low, high, 64).astype(np.int64))
        reached = place(steps) >= x
        if not reached.any():
            return high
        index = int(np.argmax(reached))
        if index == 0 or steps[index] - steps[index - 1] == 1:
            return int(steps[index])
        low, high = int(steps[index - 1]) + 1, int(steps[index])
    return high


def sparkline(tx: Tx, run_ids: Iterable[int], key: str = "val/loss", points: int = 40) -> dict[int, list[float]]:
    """Run id -> about `points` values for a line the size of a word; only finite ones, empty where there are none."""
    lines: dict[int, list[float]] = {}
    for run_id in run_ids:
        value = series.read(tx.raw, run_id, key, buckets=max(1, points // 2)).value
        lines[run_id] = value[np.isfinite(value)].tolist()
    return lines
