"""The chunk rows of one series: finding them by step, decoding them, rewriting them.

Numbers run 0, 1, … without gaps in the order of their steps, so a step is found by binary search.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from app import chunks
from app.chunks import Steps, Values

FAR = 1 << 62  #: beyond every step and every number

_SUMMARY = "count, first_step, last_step, stride, min, max, sum, min_step, max_step, non_finite"
_INSERT = f'INSERT INTO chunks (series_id, number, {_SUMMARY}, steps, "values") VALUES (?, ?{", ?" * 12})'  # noqa: S608
_UPDATE = f'UPDATE chunks SET ({_SUMMARY}, steps, "values") = (?{", ?" * 11}) WHERE series_id = ? AND number = ?'  # noqa: S608


def number_at(raw: sqlite3.Connection, series_id: int, step: int) -> int:
    """The number of the last chunk that begins at or before `step`, -1 if none: a binary search, most often one look."""
    number, first_step = raw.execute(
        "SELECT number, first_step FROM chunks WHERE series_id = ? ORDER BY number DESC LIMIT 1", (series_id,)
    ).fetchone() or (-1, FAR)
    if first_step <= step:
        return int(number)
    low, high = -1, number - 1
    while low < high:
        middle = (low + high + 1) // 2
        (first_step,) = raw.execute(
            "SELECT first_step FROM chunks WHERE series_id = ? AND number = ?", (series_id, middle)
        ).fetchone()
        low, high = (middle, high) if first_step <= step else (low, middle - 1)
    return int(low)


def between(raw: sqlite3.Connection, series_id: int, first: int, last: int) -> tuple[Steps, Values]:
    """All points of the chunks numbered first to last."""
    return decoded(
        raw.execute(
            'SELECT count, first_step, stride, steps, "values" FROM chunks'
            " WHERE series_id = ? AND number BETWEEN ? AND ? ORDER BY number",
            (series_id, first, last),
        ).fetchall()
    )


def numbered(raw: sqlite3.Connection, series_id: int, numbers: Iterable[int]) -> list[Any]:
    """The rows of these chunks, for `decoded`."""
    query = 'SELECT count, first_step, stride, steps, "values" FROM chunks WHERE series_id = ? AND number = ?'
    return [raw.execute(query, (series_id, number)).fetchone() for number in numbers]


def decoded(rows: Sequence[Any]) -> tuple[Steps, Values]:
    if not rows:
        return np.empty(0, np.int64), np.empty(0, np.float64)
    steps = [chunks.unpack_steps(size, first_step, stride, packed) for size, first_step, stride, packed, _ in rows]
    return np.concatenate(steps), np.concatenate([chunks.unpack_values(row[4]) for row in rows])


def within(steps: Steps, values: Values, low: int, high: int) -> tuple[Steps, Values]:
    window = slice(np.searchsorted(steps, low), np.searchsorted(steps, high, "right"))
    return steps[window], values[window]


def put(raw: sqlite3.Connection, series_id: int, number: int, steps: Steps, values: Values, *, is_last: bool) -> int:
    """These points are chunk `number` from now on; too many for one become further chunks after it, whose number is returned."""
    pieces = chunks.cut(len(steps), is_last=is_last)
    if len(pieces) > 1 and not is_last:  # by way of negative numbers: SQLite checks uniqueness row by row
        shift = len(pieces) - 1
        raw.execute(
            "UPDATE chunks SET number = -number - ? WHERE series_id = ? AND number > ?", (shift, series_id, number)
        )
        raw.execute("UPDATE chunks SET number = -number WHERE series_id = ? AND number < 0", (series_id,))
    for place, piece in enumerate(pieces, number):
        packed = chunks.pack(steps[piece], values[piece])
        if place > number or not raw.execute(_UPDATE, (*packed, series_id, place)).rowcount:
            raw.execute(_INSERT, (series_id, place, *packed))
    return len(pieces) - 1


class Merged(NamedTuple):
    added: int  #: steps that were not there before
    touched: list[int]  #: chunks that are not what they were
    moved: bool  #: whether chunks were parted, so that later ones have other numbers


def merge(raw: sqlite3.Connection, series_id: int, steps: Steps, values: Values) -> Merged:
    """The slow path: points among older ones, chunk by chunk."""
    added, touched, parted = 0, [], 0
    while len(steps):
        number = max(0, number_at(raw, series_id, int(steps[0])))
        following = raw.execute(
            "SELECT first_step FROM chunks WHERE series_id = ? AND number = ?", (series_id, number + 1)
        ).fetchone()
        here = int(np.searchsorted(steps, following[0])) if following else len(steps)
        old_steps, old_values = between(raw, series_id, number, number)
        merged = chunks.merge(old_steps, old_values, steps[:here], values[:here])
        parted += put(raw, series_id, number, *merged, is_last=following is None)
        touched.append(number)
        added += len(merged[0]) - len(old_steps)
        steps, values = steps[here:], values[here:]
    return Merged(added, touched, parted > 0)
