"""Min and max per bucket: what a chart of few pixels must keep so that no spike is lost. Pure numpy.

Buckets are anchored to absolute steps and their width is a power of two, so the buckets of a growing series
stay where they are once they are full, and the chart does not shimmer.
"""

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]


def bucket_width(first_step: int, last_step: int, buckets: int) -> int:
    """The smallest power of two of steps with which the window fills about `buckets` buckets (one more at most)."""
    assert buckets > 0, f"a chart has at least one bucket, not {buckets}"
    span = last_step - first_step + 1
    return 1 << max(0, -(-span // buckets) - 1).bit_length()


def lowest(bucket: NDArray[np.int64], values: NDArray[np.float64]) -> Indices:
    """Where the smallest finite value of each bucket first stands; `bucket` ascends. Buckets without one have none."""
    if not len(values):
        return np.empty(0, np.intp)
    # argmin would answer with the place of a NaN, hence infinity in its stead
    masked = np.where(np.isfinite(values), values, np.inf)
    changes = np.flatnonzero(bucket[1:] != bucket[:-1]) + 1
    starts = np.concatenate(([0], changes))
    lows = np.minimum.reduceat(masked, starts)
    hits = np.flatnonzero(masked == np.repeat(lows, np.diff(starts, append=len(values))))
    hits = hits[np.isfinite(masked[hits])]
    return hits[np.concatenate(([True], bucket[hits[1:]] != bucket[hits[:-1]]))[: len(hits)]]


def highest(bucket: NDArray[np.int64], values: NDArray[np.float64]) -> Indices:
    return lowest(bucket, -values)


def non_finite(bucket: NDArray[np.int64], values: NDArray[np.float64], most: int) -> Indices:
    """All places of NaN and infinities, up to `most`; beyond that the first and last of each bucket."""
    where = np.flatnonzero(~np.isfinite(values))
    return where if len(where) <= most else where[ends(bucket[where])]


def ends(bucket: NDArray[np.int64]) -> Indices:
    """Where each bucket's first and last entry stand; `bucket` ascends."""
    if not len(bucket):
        return np.empty(0, np.intp)
    change = bucket[1:] != bucket[:-1]
    return np.flatnonzero(np.concatenate(([True], change)) | np.concatenate((change, [True])))


def min_max(steps: NDArray[np.int64], values: NDArray[np.float64], width: int, most: int) -> Indices:
    """What to keep of ascending steps: first, last, each bucket's minimum and maximum, and what is not finite."""
    if not len(steps):
        return np.empty(0, np.intp)
    bucket = steps >> (width.bit_length() - 1)
    ends = np.array([0, len(steps) - 1])
    return np.unique(
        np.concatenate((ends, lowest(bucket, values), highest(bucket, values), non_finite(bucket, values, most)))
    )
