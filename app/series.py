"""The metric store: series of (step, value), kept as rows of about 1,024 packed points with their summary.

Appending (app/appending.py) rewrites the last chunk only; a chart reads the level of summaries (app/levels.py) that its pixels call for,
so its cost follows them and not the length of the run. All of it on the driver's connection, inside the caller's
transaction.
"""

import sqlite3
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app import appending, chunkrows, chunks, downsample, levels
from app.chunks import Steps, Values
from app.contract.metrics import X_AXES

EXACT_CHUNKS = 8  #: x_at decodes up to this many; beyond them it joins their ends by straight lines


class Points(NamedTuple):
    step: Steps
    value: Values
    total: int  #: points the window holds
    merged: bool  #: these are the extremes of buckets, not every point


class Summary(NamedTuple):
    key: str
    count: int  # type: ignore[assignment]  # nobody asks a summary how often it contains something
    last_step: int
    last_value: float | None  #: None: not finite
    min: float | None  #: over finite values, as is max; None: there are none
    max: float | None
    min_step: int | None
    max_step: int | None


def truncate(raw: sqlite3.Connection, run_id: int, after_step: int) -> int:
    """Drop what was written after `after_step`, in all series. Returns how many points that were."""
    dropped = 0
    for series_id, count in raw.execute(
        "SELECT id, count FROM series WHERE run_id = ? AND last_step > ?", (run_id, after_step)
    ).fetchall():
        number = chunkrows.number_at(raw, series_id, after_step)
        raw.execute("DELETE FROM chunks WHERE series_id = ? AND number > ?", (series_id, number))
        dropped += count
        levels.forget(raw, series_id, max(0, number))
        if number < 0:
            raw.execute("DELETE FROM series WHERE id = ?", (series_id,))
            continue
        steps, values = chunkrows.between(raw, series_id, number, number)
        kept = int(np.searchsorted(steps, after_step, "right"))
        chunkrows.put(raw, series_id, number, steps[:kept], values[:kept], is_last=True)
        (left,) = raw.execute("SELECT sum(count) FROM chunks WHERE series_id = ?", (series_id,)).fetchone()
        appending.note(raw, series_id, left, int(steps[kept - 1]), float(values[kept - 1]))
        dropped -= left
    return dropped


def delete(raw: sqlite3.Connection, run_id: int) -> None:
    for table in ("chunks", "levels"):
        raw.execute(f"DELETE FROM {table} WHERE series_id IN (SELECT id FROM series WHERE run_id = ?)", (run_id,))  # noqa: S608
    raw.execute("DELETE FROM series WHERE run_id = ?", (run_id,))


def read(
    raw: sqlite3.Connection,
    run_id: int,
    key: str,
    lo: int | None = None,
    hi: int | None = None,
    buckets: int | None = None,
) -> Points:
    """Points with lo ≤ step ≤ hi. More than 2 · buckets of them come as each bucket's minimum and maximum, with
    the first and the last point of the window and what is not finite; a key without points gives none."""
    found = chunks_between(raw, run_id, key, lo, hi)
    if found is None:
        return _no_points()
    series_id, first, last = found
    low, high = -chunkrows.FAR if lo is None else lo, chunkrows.FAR if hi is None else hi
    # chunks are half full at least: more of them than this hold too many points to draw each
    if buckets is None or last - first <= 4 * buckets // chunks.SEALED + 2:
        steps, values = chunkrows.within(*chunkrows.between(raw, series_id, first, last), low, high)
        if buckets is None or len(steps) <= 2 * buckets:
            return Points(steps, values, len(steps), merged=False)
    width = _width(raw, series_id, first, last, low, high, buckets)
    if far := levels.far_view(raw, series_id, first, last, low, high, width, most=2 * buckets):
        return Points(*far, merged=True)
    steps, values = chunkrows.within(*chunkrows.between(raw, series_id, first, last), low, high)
    kept = downsample.min_max(steps, values, width, most=2 * buckets)
    return Points(steps[kept], values[kept], len(steps), merged=len(kept) < len(steps))


def chunks_between(
    raw: sqlite3.Connection, run_id: int, key: str, lo: int | None, hi: int | None
) -> tuple[int, int, int] | None:
    """(series id, number of the first chunk, of the last) that hold lo ≤ step ≤ hi; None where nothing can."""
    low, high = -chunkrows.FAR if lo is None else lo, chunkrows.FAR if hi is None else hi
    series_id = _series(raw, run_id, key)
    if series_id is None:
        return None
    first, last = max(0, chunkrows.number_at(raw, series_id, low)), chunkrows.number_at(raw, series_id, high)
    return None if last < first or high < low else (series_id, first, last)


def since(
    raw: sqlite3.Connection, run_id: int, from_step: int, keys: Collection[str] | None = None
) -> dict[str, tuple[Steps, Values]]:
    """Every point with step ≥ from_step of these keys (None: of all); keys without any are left out."""
    rows = raw.execute(
        "SELECT id, key FROM series WHERE run_id = ? AND last_step >= ? ORDER BY key", (run_id, from_step)
    )
    found = {}
    for series_id, key in rows.fetchall():
        if keys is None or key in keys:
            first = max(0, chunkrows.number_at(raw, series_id, from_step))
            found[key] = chunkrows.within(
                *chunkrows.between(raw, series_id, first, chunkrows.FAR), from_step, chunkrows.FAR
            )
    return found


def summaries(raw: sqlite3.Connection, run_id: int, keys: Collection[str] | None = None) -> dict[str, Summary]:
    """Count, last point and extremes of these series of a run (None: of all), in the order of their keys."""
    chosen = "" if keys is None else f" AND s.key IN ({', '.join('?' * len(keys))})"
    # with one min() or max() in a query SQLite takes the other columns from the row that holds it
    query = """
        SELECT s.key, s.count, s.last_step, s.last_value, {0}(c.{0}), c.{0}_step
        FROM series s JOIN chunks c ON c.series_id = s.id
        WHERE s.run_id = ?{1} GROUP BY s.id ORDER BY s.key"""
    lows = raw.execute(query.format("min", chosen), (run_id, *(keys or ()))).fetchall()
    highs = raw.execute(query.format("max", chosen), (run_id, *(keys or ()))).fetchall()
    return {
        key: Summary(key, count, last_step, last_value, low, high, low_step, high_step)
        for (key, count, last_step, last_value, low, low_step), (*_, high, high_step) in zip(lows, highs, strict=True)
    }


def x_at(raw: sqlite3.Connection, run_id: int, axis: str, steps: ArrayLike) -> NDArray[np.float64]:
    """Tokens, seconds or FLOPs at these steps; between known points a straight line, before the first one the line
    through the first two (evaluations begin at step 0). NaN if the run has no such series."""
    wanted = np.asarray(steps, np.float64)
    key = X_AXES[axis]
    if key is None or not wanted.size:
        return wanted
    series_id = _series(raw, run_id, key)
    if series_id is None:
        return np.full(wanted.shape, np.nan)
    first = max(0, chunkrows.number_at(raw, series_id, int(wanted.min())))
    last = chunkrows.number_at(raw, series_id, int(np.ceil(wanted.max()))) + 1  # and the start of the next chunk
    if last - first < EXACT_CHUNKS:
        known, x = chunkrows.between(raw, series_id, first, last)
    else:
        # the x series only ever rise, so a chunk's extremes are its ends
        ends = raw.execute(
            "SELECT first_step, min, last_step, max FROM chunks WHERE series_id = ? AND number BETWEEN ? AND ?"
            " AND min IS NOT NULL ORDER BY number",
            (series_id, first, last),
        ).fetchall()
        known, x = (
            np.array([end[::2] for end in ends]).ravel(),
            np.array([end[1::2] for end in ends], np.float64).ravel(),
        )
    finite = np.isfinite(x)
    known, x = known[finite], np.maximum.accumulate(x[finite])
    if not len(known):
        return np.full(wanted.shape, np.nan)
    found = np.interp(wanted, known, x)
    if len(known) > 1 and (before := wanted < known[0]).any():
        slope = (x[1] - x[0]) / (known[1] - known[0])
        found[before] = np.maximum(x[0] + slope * (wanted[before] - known[0]), min(0.0, x[0]))
    return found


def _width(raw: sqlite3.Connection, series_id: int, first: int, last: int, low: int, high: int, buckets: int) -> int:
    """Steps in a bucket of a chart from `low` to `high`, as far as the chunks `first` to `last` reach."""
    ends = "SELECT min(first_step), max(last_step) FROM chunks WHERE series_id = ? AND number IN (?, ?)"
    begin, end = raw.execute(ends, (series_id, first, last)).fetchone()
    return downsample.bucket_width(max(low, begin), max(low, min(high, end)), buckets)


def _series(raw: sqlite3.Connection, run_id: int, key: str) -> int | None:
    row = raw.execute("SELECT id FROM series WHERE run_id = ? AND key = ?", (run_id, key)).fetchone()
    return row[0] if row else None


def _no_points() -> Points:
    return Points(np.empty(0, np.int64), np.empty(0, np.float64), 0, merged=False)
