"""The coarser levels of a series: summaries of its points in cells of 64, 1,024, 16,384, … points.

A row holds the 16 cells below one cell of the level above: row n of level 0 the sixteenths of chunk n, row n of level 1
the chunks 16n to 16n+15, row n of level 2 sixteen rows of level 1, and so on. A row exists once everything below it is
sealed; what no row covers is read from the chunks. So any window of any series costs about as many cells as it has pixels.
"""

import itertools
import sqlite3
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app import chunkrows, chunks, downsample
from app.chunks import Steps, Values

FAN = 16  #: cells in a row
CELL = np.dtype(
    [("min", "<f8"), ("max", "<f8"), ("min_step", "<i8"), ("max_step", "<i8"), ("count", "<i4"), ("bad", "<i4")]
)
"""min and max over finite values, NaN where there are none; bad: how many values are not finite."""

Cells = NDArray[Any]  # of CELL
Places = NDArray[np.int64]  # where cells begin, in sixteenths of a chunk from the series' start


def refresh(raw: sqlite3.Connection, series_id: int, first: int, last: int) -> None:
    """Chunks `first` to `last` are sealed, and new or not what they were: their rows, and those above, again."""
    made: list[tuple[int, int, int, bytes]] = []
    for number in range(first, last + 1):
        cells = _of_points(*chunkrows.between(raw, series_id, number, number))
        full = np.zeros(FAN, CELL)
        full[: len(cells)] = cells
        made.append((series_id, 0, number, full.tobytes()))
    for level in itertools.count(1):
        raw.executemany("INSERT OR REPLACE INTO levels VALUES (?, ?, ?, ?)", made)
        first, last = first // FAN, last // FAN
        below = _rows(raw, series_id, level - 1, first * FAN, last * FAN + FAN - 1)
        made = []
        for number, group in itertools.groupby(below, lambda row: row[0] // FAN):
            rows = list(group)
            if len(rows) == FAN:
                joined = [_joined(np.frombuffer(blob, CELL)) for _, blob in rows]
                made.append((series_id, level, number, np.concatenate(joined).tobytes()))
        if not made:
            return


def forget(raw: sqlite3.Connection, series_id: int, first: int) -> None:
    """Drop the rows that cover chunk `first` or one after it."""
    levels = raw.execute("SELECT DISTINCT level FROM levels WHERE series_id = ?", (series_id,)).fetchall()
    for (level,) in levels:
        raw.execute(
            "DELETE FROM levels WHERE series_id = ? AND level = ? AND number >= ?",
            (series_id, level, first // FAN**level),
        )


def far_view(
    raw: sqlite3.Connection, series_id: int, first: int, last: int, low: int, high: int, width: int, most: int
) -> tuple[Steps, Values, int] | None:
    """Extremes of the points with low ≤ step ≤ high, which chunks `first` to `last` hold, for buckets of about `width` steps.

    With the first and the last point and what is not finite (up to `most` of it); the third value is how many points
    the window holds. None where cells are coarser than buckets: then the points have to be read. The extremes of a
    sealed cell never move, hence neither do those of a full bucket.
    """
    if last == first:
        return None
    starts = "SELECT first_step FROM chunks WHERE series_id = ? AND number IN (?, ?) ORDER BY number"
    (start,), (end,) = raw.execute(starts, (series_id, first, last)).fetchall()
    # 1.5 lies in the middle between powers of two, so that some missing steps do not tip the balance
    sixteenths = int(1.5 * width * FAN * (last - first) / (end - start))  # of a chunk, in one bucket
    if not sixteenths:
        return None
    shift = sixteenths.bit_length() - 1
    if last - first < FAN:  # so few that reading their points is cheaper than finding rows
        place, steps, values = _points(raw, series_id, first, last, low, high)
        bucket = place >> shift
        bad = downsample.non_finite(bucket, values, most)
        kept: list[Any] = [
            downsample.lowest(bucket, values),
            downsample.highest(bucket, values),
            bad,
            [0, len(steps) - 1],
        ]
        chosen = np.unique(np.concatenate(kept)).astype(np.intp)
        return steps[chosen], values[chosen], len(steps)
    ends = [_points(raw, series_id, number, number, low, high) for number in (first, last)]
    edges = [(place, _single(steps, values)) for place, steps, values in ends]
    within = _between(raw, series_id, first + 1, last - 1, shift // (FAN.bit_length() - 1))
    place, cells = (np.concatenate(column) for column in zip(*edges, *within, strict=True))
    order = np.argsort(place, kind="stable")
    place, cells = place[order], cells[order]
    bucket = place >> shift
    lows, highs = downsample.lowest(bucket, cells["min"]), downsample.highest(bucket, cells["max"])
    found = [(cells["min_step"][lows], cells["min"][lows]), (cells["max_step"][highs], cells["max"][highs])]
    found += [(ends[0][1][:1], ends[0][2][:1]), (ends[1][1][-1:], ends[1][2][-1:])]
    if holding := sorted(set(_troubled(raw, series_id, bucket, place, cells["bad"], most))):
        decoded = chunkrows.decoded(chunkrows.numbered(raw, series_id, holding))
        steps, values = chunkrows.within(*decoded, low, high)
        where = downsample.non_finite(steps // width, values, most)
        found.append((steps[where], values[where]))
    steps, values = (np.concatenate(column) for column in zip(*found, strict=True))
    return *chunks.ordered(steps, values), int(cells["count"].sum())


def _block() -> int:
    """Points in a cell of level 0."""
    return max(1, chunks.SEALED // FAN)


def _points(
    raw: sqlite3.Connection, series_id: int, first: int, last: int, low: int, high: int
) -> tuple[Places, Steps, Values]:
    """The points of these chunks that lie in the window, and the sixteenth each is in."""
    rows = chunkrows.numbered(raw, series_id, range(first, last + 1))
    steps, values = chunkrows.decoded(rows)
    place = np.concatenate([(first + index) * FAN + np.arange(row[0]) // _block() for index, row in enumerate(rows)])
    window = slice(np.searchsorted(steps, low), np.searchsorted(steps, high, "right"))
    return place[window], steps[window], values[window]


def _single(steps: Steps, values: Values) -> Cells:
    """Each point as a cell of its own."""
    cells = np.zeros(len(steps), CELL)
    finite = np.isfinite(values)
    cells["min"] = cells["max"] = np.where(finite, values, np.nan)
    cells["min_step"] = cells["max_step"] = steps
    cells["count"], cells["bad"] = 1, ~finite
    return cells


def _of_points(steps: Steps, values: Values) -> Cells:
    """A chunk's points as its cells of level 0."""
    block = _block()
    cells = np.zeros(-(-len(steps) // block), CELL)
    which = np.arange(len(steps)) // block
    starts = np.arange(0, len(steps), block)
    cells["min"] = cells["max"] = np.nan
    lows, highs = downsample.lowest(which, values), downsample.highest(which, values)
    cells["min"][which[lows]], cells["min_step"][which[lows]] = values[lows], steps[lows]
    cells["max"][which[highs]], cells["max_step"][which[highs]] = values[highs], steps[highs]
    cells["count"] = np.diff(starts, append=len(steps))
    cells["bad"] = np.add.reduceat((~np.isfinite(values)).astype(np.int32), starts)
    return cells


def _joined(cells: Cells) -> Cells:
    """A row's cells as the one cell above them, shape (1,)."""
    one = np.zeros(1, CELL)
    one["min"] = one["max"] = np.nan
    cells = cells[cells["count"] > 0]
    if np.isfinite(cells["min"]).any():
        low, high = np.nanargmin(cells["min"]), np.nanargmax(cells["max"])
        one["min"], one["min_step"] = cells["min"][low], cells["min_step"][low]
        one["max"], one["max_step"] = cells["max"][high], cells["max_step"][high]
    one["count"], one["bad"] = cells["count"].sum(), cells["bad"].sum()
    return one


def _rows(raw: sqlite3.Connection, series_id: int, level: int, first: int, last: int) -> list[tuple[int, bytes]]:
    return raw.execute(
        "SELECT number, cells FROM levels WHERE series_id = ? AND level = ? AND number BETWEEN ? AND ? ORDER BY number",
        (series_id, level, first, last),
    ).fetchall()


def _between(raw: sqlite3.Connection, series_id: int, first: int, last: int, level: int) -> list[tuple[Places, Cells]]:
    """Cells that cover the chunks `first` to `last` exactly, in no order: of `level` where they fit, finer ones at the ends."""
    covered = np.zeros(max(0, last + 1 - first), bool)
    parts: list[tuple[Places, Cells]] = []
    for at in range(level, 0 if level else -1, -1):
        per_cell = FAN**at // FAN  # chunks; 0 for the sixteenths of level 0
        for start, end in _gaps(covered, first):
            rows = _rows(raw, series_id, at, start // FAN**at, end // FAN**at)
            if rows:
                begin = np.repeat([number * FAN**at for number, _ in rows], FAN) * FAN
                place = begin + np.tile(np.arange(FAN) * FAN**at, len(rows))
                cells = np.frombuffer(b"".join(blob for _, blob in rows), CELL)
                chunk = place // FAN
                whole = (chunk >= start) & (chunk + max(per_cell, 1) - 1 <= end) & (cells["count"] > 0)
                if not whole.any():
                    continue
                parts.append((place[whole], cells[whole]))
                covered[(np.unique(chunk[whole])[:, None] - first + np.arange(max(per_cell, 1))).ravel()] = True
    for start, end in _gaps(covered, first):
        parts.append(_from_chunks(raw, series_id, start, end) if level else _from_points(raw, series_id, start, end))
    return parts


def _gaps(covered: NDArray[np.bool_], first: int) -> Iterator[tuple[int, int]]:
    """The runs of chunks that nothing covers yet, as (first, last)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([True], covered, [True])).astype(np.int8)))
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        yield first + start, first + end - 1


def _from_chunks(raw: sqlite3.Connection, series_id: int, first: int, last: int) -> tuple[Places, Cells]:
    """The summaries that chunks carry themselves."""
    rows = raw.execute(
        "SELECT min, max, coalesce(min_step, 0), coalesce(max_step, 0), count, non_finite FROM chunks"
        " WHERE series_id = ? AND number BETWEEN ? AND ? ORDER BY number",
        (series_id, first, last),
    ).fetchall()
    nan = float("nan")
    cells = [(nan if row[0] is None else row[0], nan if row[1] is None else row[1], *row[2:]) for row in rows]
    return np.arange(first, last + 1) * FAN, np.array(cells, CELL)


def _from_points(raw: sqlite3.Connection, series_id: int, first: int, last: int) -> tuple[Places, Cells]:
    """Sixteenths of chunks that have no row, from their points."""
    made = [_of_points(*chunkrows.between(raw, series_id, n, n)) for n in range(first, last + 1)]
    places = [number * FAN + np.arange(len(cells)) for number, cells in enumerate(made, first)]
    return np.concatenate(places), np.concatenate(made)


def _troubled(
    raw: sqlite3.Connection, series_id: int, bucket: Places, place: Places, bad: NDArray[np.int32], most: int
) -> Iterator[int]:
    """Chunks that hold what is not finite: all of them, or with more than `most` such values the outermost of each bucket."""
    cells = np.flatnonzero(bad)
    few = bad.sum() <= most
    if not few:
        cells = cells[downsample.ends(bucket[cells])]
    after = np.append(place[1:], place[-1:] + 1)
    for cell in cells.tolist():
        start, end = int(place[cell]) // FAN, (int(after[cell]) - 1) // FAN
        if end <= start:
            yield start
            continue
        holding = "SELECT {} FROM chunks WHERE series_id = ? AND non_finite > 0 AND number BETWEEN ? AND ?"
        for columns in ("number",) if few else ("min(number)", "max(number)"):
            yield from (row[0] for row in raw.execute(holding.format(columns), (series_id, start, end)))
