"""Points into the metric store. What comes behind a series' newest point is the hot path: one look for all series of a batch.

All of it on the driver's connection, inside the caller's transaction.
"""

import math
import sqlite3
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import orjson

from app import chunkrows, chunks, levels
from app.chunks import Packed, Steps, Values

Columns = Mapping[str, tuple[Steps, Values]]  #: key → (steps, values) in any order; of repeats the last one counts

_TAILS = """
    SELECT s.key, s.id, s.count, s.last_step, c.id, c.number, c.count, c.first_step, c.last_step, c.stride, c.min, c.max,
      c.sum, c.min_step, c.max_step, c.non_finite, c.steps, c."values"
    FROM series s JOIN chunks c ON c.id = (SELECT id FROM chunks WHERE series_id = s.id ORDER BY number DESC LIMIT 1)
    WHERE s.run_id = ? AND s.key IN (SELECT value FROM json_each(?))"""
_EXTEND = """
    UPDATE chunks SET count = ?, last_step = ?, stride = ?, min = ?, max = ?, sum = ?, min_step = ?, max_step = ?, "values" = ?
    WHERE id = ?"""
_NOTE = "UPDATE series SET count = ?, last_step = ?, last_value = ? WHERE id = ?"


class _Tail(NamedTuple):
    """The end of a series: its row, and its last chunk."""

    series_id: int
    count: int  # type: ignore[assignment]  # nobody asks a tail how often it contains something
    last_step: int
    chunk_id: int
    number: int
    chunk: Packed


def append(raw: sqlite3.Connection, run_id: int, columns: Columns) -> int:
    """Write points; the same step written again replaces its point. Returns how many series are new."""
    rows = raw.execute(_TAILS, (run_id, orjson.dumps(list(columns)).decode())).fetchall()
    tails = {row[0]: _Tail._make((*row[1:6], Packed._make(row[6:]))) for row in rows}
    extended, noted, new = [], [], 0
    for key, column in columns.items():
        if not len(column[0]):
            continue
        steps, values = chunks.ordered(np.asarray(column[0], np.int64), np.asarray(column[1], np.float64))
        tail = tails.get(key)
        if tail is None:
            _begin(raw, run_id, key, steps, values)
            new += 1
        elif steps[0] <= tail.last_step:
            _insert(raw, tail, steps, values)
        elif longer := chunks.extended(tail.chunk, steps, values):
            extended.append((longer.size, *longer[2:9], longer.values, tail.chunk_id))
            noted.append((tail.count + len(steps), longer.last_step, float(values[-1]), tail.series_id))
        else:
            _lengthen(raw, tail, steps, values)
    raw.executemany(_EXTEND, extended)
    raw.executemany(_NOTE, noted)
    return new


def note(raw: sqlite3.Connection, series_id: int, count: int, last_step: int, last_value: float) -> None:
    """The series' row: its number of points and its newest one."""
    raw.execute(_NOTE, (count, last_step, last_value if math.isfinite(last_value) else None, series_id))


def _begin(raw: sqlite3.Connection, run_id: int, key: str, steps: Steps, values: Values) -> None:
    (series_id,) = raw.execute(
        "INSERT INTO series (run_id, key, count, last_step) VALUES (?, ?, 0, -1) RETURNING id", (run_id, key)
    ).fetchone()
    _seal(raw, series_id, 0, chunkrows.put(raw, series_id, 0, steps, values, is_last=True))
    note(raw, series_id, len(steps), int(steps[-1]), float(values[-1]))


def _lengthen(raw: sqlite3.Connection, tail: _Tail, steps: Steps, values: Values) -> None:
    """Points behind the last chunk's, packed together with them; where it gets full, further chunks begin."""
    chunk = tail.chunk
    old_steps = chunks.unpack_steps(chunk.size, chunk.first_step, chunk.stride, chunk.steps)
    joined = np.concatenate((old_steps, steps)), np.concatenate((chunks.unpack_values(chunk.values), values))
    _seal(raw, tail.series_id, tail.number, chunkrows.put(raw, tail.series_id, tail.number, *joined, is_last=True))
    note(raw, tail.series_id, tail.count + len(steps), int(steps[-1]), float(values[-1]))


def _insert(raw: sqlite3.Connection, tail: _Tail, steps: Steps, values: Values) -> None:
    """Points among older ones, or in their place."""
    merged = chunkrows.merge(raw, tail.series_id, steps, values)
    (last,) = raw.execute("SELECT max(number) FROM chunks WHERE series_id = ?", (tail.series_id,)).fetchone()
    if merged.moved:
        first = merged.touched[0]
        levels.forget(raw, tail.series_id, first)
        _seal(raw, tail.series_id, first, last - first)
    else:
        for number in merged.touched:
            if number < last:
                levels.refresh(raw, tail.series_id, number, number)
    count = tail.count + merged.added
    if steps[-1] >= tail.last_step:
        note(raw, tail.series_id, count, int(steps[-1]), float(values[-1]))
    else:
        raw.execute("UPDATE series SET count = ? WHERE id = ?", (count, tail.series_id))


def _seal(raw: sqlite3.Connection, series_id: int, number: int, sealed: int) -> None:
    """Chunk `number` and those after it, `sealed` in all, are full."""
    if sealed:
        levels.refresh(raw, series_id, number, number + sealed - 1)
