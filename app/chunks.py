"""How points lie in a chunk: packed steps and values with a summary beside them. Pure numpy, no database.

Values are little-endian float64 and keep NaN, infinities and -0.0 to the bit. Regular steps cost nothing
(first step and stride); irregular ones are the zlib of their int64 differences.
"""

import math
import sys
import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Steps = NDArray[np.int64]
Values = NDArray[np.float64]

SEALED = 1024  #: points of a full chunk


class Packed(NamedTuple):
    """The columns of a Chunk row, in the order of the table."""

    size: int  #: points
    first_step: int
    last_step: int
    stride: int
    min: float | None  #: over finite values, as are max and sum
    max: float | None
    sum: float
    min_step: int | None
    max_step: int | None
    non_finite: int
    steps: bytes | None
    values: bytes


def pack(steps: Steps, values: Values) -> Packed:
    """Ascending steps and their values as one row."""
    count = len(steps)
    assert 0 < count <= SEALED, f"a chunk holds 1 to {SEALED} points, not {count}"
    stride, packed_steps = 1, None
    if count > 1:
        gaps = steps[1:] - steps[:-1]
        stride = int(gaps[0])
        if (gaps != stride).any():
            stride, packed_steps = 0, zlib.compress(gaps.astype("<i8").tobytes(), 1)
    finite = np.isfinite(values)
    bad = count - int(np.count_nonzero(finite))
    at, good = (steps[finite], values[finite]) if bad else (steps, values)
    lowest, highest, total = None, None, 0.0
    low_step, high_step = None, None
    if bad < count:
        low, high = int(good.argmin()), int(good.argmax())
        lowest, highest = float(good[low]), float(good[high])
        low_step, high_step = int(at[low]), int(at[high])
        with np.errstate(over="ignore", invalid="ignore"):
            total = float(good.sum())
        if not math.isfinite(total):  # beyond float64: at its edge, for the column holds no NaN
            total = 0.0 if math.isnan(total) else math.copysign(sys.float_info.max, total)
    return Packed(
        count, int(steps[0]), int(steps[-1]), stride, lowest, highest, total, low_step, high_step, bad,
        packed_steps, values.astype("<f8").tobytes(),
    )  # fmt: skip


def extended(old: Packed, steps: Steps, values: Values) -> Packed | None:
    """`old` with ascending points behind it, from its summary and without a look at its own points: a third of the cost.

    None where these have to be packed together: more than a chunk holds, steps without a rhythm, something not finite.
    """
    size = old.size + len(steps)
    if size > SEALED or old.steps is not None or old.min is None or old.max is None:
        return None
    first, last, stride = int(steps[0]), int(steps[-1]), old.stride
    if old.size == 1:
        stride = first - old.last_step
    if first - old.last_step != stride or (len(steps) > 1 and (steps[1:] - steps[:-1] != stride).any()):
        return None
    added = values.tolist()  # so few that Python is faster than numpy
    total = old.sum + sum(added)
    if not math.isfinite(total):  # one of them is not, or their sum is beyond float64
        return None
    low, high = min(added), max(added)
    lower, higher = low < old.min, high > old.max
    return Packed(
        size, old.first_step, last, stride, low if lower else old.min, high if higher else old.max, total,
        int(steps[added.index(low)]) if lower else old.min_step,
        int(steps[added.index(high)]) if higher else old.max_step,
        old.non_finite, None, old.values + values.astype("<f8", copy=False).tobytes(),
    )  # fmt: skip


def unpack_steps(count: int, first_step: int, stride: int, packed: bytes | None) -> Steps:
    if packed is None:
        return np.arange(first_step, first_step + stride * count, stride, dtype=np.int64)
    gaps = np.frombuffer(zlib.decompress(packed), "<i8")
    return np.concatenate(([first_step], gaps)).cumsum(dtype=np.int64)


def unpack_values(packed: bytes) -> Values:
    """A view of these bytes, not writable."""
    return np.frombuffer(packed, "<f8").astype(np.float64, copy=False)


def ordered(steps: Steps, values: Values) -> tuple[Steps, Values]:
    """Ascending and without repeats: of points at the same step the one that came last stays."""
    assert len(steps) == len(values), f"{len(steps)} steps but {len(values)} values"
    if len(steps) == 1 or (steps[1:] > steps[:-1]).all():
        return steps, values
    order = np.argsort(steps, kind="stable")
    steps, values = steps[order], values[order]
    kept = np.append(steps[1:] != steps[:-1], True)
    return steps[kept], values[kept]


def merge(steps: Steps, values: Values, new_steps: Steps, new_values: Values) -> tuple[Steps, Values]:
    """Old and new points, both ascending, as one; at the same step the new value stays."""
    return ordered(np.concatenate((steps, new_steps)), np.concatenate((values, new_values)))


def cut(count: int, *, is_last: bool) -> list[slice]:
    """Where to part `count` points: full chunks and an open one at a series' end, even halves elsewhere,
    so that repeated insertions in one place do not leave a trail of tiny chunks."""
    parts = -(-count // SEALED)
    size = SEALED if is_last else -(-count // parts)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
