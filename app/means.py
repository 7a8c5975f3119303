"""The means of a window's buckets: what a smoothed curve is drawn from where its points were merged to extremes."""

import sqlite3

import numpy as np

from app import chunkrows, downsample, series
from app.chunks import Steps, Values

EXACT_CHUNKS = 256  #: up to so many are decoded; beyond them a chunk's own sum is one mean
MOST_CHUNKS = 4096  #: beyond them evenly chosen ones stand for all


def read(
    raw: sqlite3.Connection, run_id: int, key: str, lo: int | None, hi: int | None, buckets: int
) -> tuple[Steps, Values]:
    """About `buckets` (step in the middle, mean of the finite values) of the points with lo ≤ step ≤ hi.

    In a window of more than a quarter of a million points a mean covers whole chunks, at its ends too.
    """
    found = series.chunks_between(raw, run_id, key, lo, hi)
    if found is None:
        return np.empty(0, np.int64), np.empty(0, np.float64)
    series_id, first, last = found
    if last - first < EXACT_CHUNKS:
        low, high = -chunkrows.FAR if lo is None else lo, chunkrows.FAR if hi is None else hi
        steps, values = chunkrows.within(*chunkrows.between(raw, series_id, first, last), low, high)
        finite = np.isfinite(values)
        steps, values = steps[finite], values[finite]
        if not len(steps):
            return steps, values
        bucket = steps // downsample.bucket_width(int(steps[0]), int(steps[-1]), buckets)
        starts = np.flatnonzero(np.concatenate(([True], bucket[1:] != bucket[:-1])))
        sizes = np.diff(starts, append=len(steps))
        middle = steps[starts] + (steps[starts + sizes - 1] - steps[starts]) // 2
        return _means(middle, values, starts, sizes)
    stride = -(-(last + 1 - first) // MOST_CHUNKS)
    rows = raw.execute(
        'SELECT first_step, last_step, "sum", count - non_finite FROM chunks'
        " WHERE series_id = ? AND number BETWEEN ? AND ? AND number % ? = 0 AND non_finite < count ORDER BY number",
        (series_id, first, last, stride),
    ).fetchall()
    if not rows:
        return np.empty(0, np.int64), np.empty(0, np.float64)
    begin, end, total, count = (np.array(column) for column in zip(*rows, strict=True))
    starts = np.arange(0, len(rows), -(-len(rows) // buckets))
    ends = np.append(starts[1:], len(rows)) - 1
    middle = begin[starts] + (end[ends] - begin[starts]) // 2
    return _means(middle, total.astype(np.float64), starts, np.add.reduceat(count, starts))


def _means(middle: Steps, values: Values, starts: Steps, counts: Steps) -> tuple[Steps, Values]:
    """Sums over counts; a sum beyond float64 is left out."""
    with np.errstate(over="ignore", invalid="ignore"):
        means = np.add.reduceat(values, starts) / counts
    kept = np.isfinite(means)
    return middle[kept].astype(np.int64), means[kept]
