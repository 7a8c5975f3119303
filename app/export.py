"""Every point of runs in a file: CSV, Parquet or Arrow, a row a step and a column a metric, streamed in constant memory."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app import messages, series
from app.contract import ids
from app.db import Database, Tx

WINDOW = 8192
"""Steps read at once; doubled while there are none, so that sparse steps cost little."""
BLOCK_ROWS = 65_536
"""Rows of a Parquet row group or an Arrow batch."""

Format = Literal["csv", "parquet", "arrow"]
MEDIA_TYPES: dict[Format, str] = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}


class Source(NamedTuple):
    """A run and what of it goes into the file."""

    run_id: int
    keys: Sequence[str]
    last_step: int


class Block(NamedTuple):
    """Some consecutive steps of a run at which anything was measured."""

    run: str
    steps: NDArray[np.int64]  #: (n,), ascending
    values: NDArray[np.float64]  #: (keys, n)
    present: NDArray[np.bool_]  #: (keys, n): whether the metric has a point there


def source(tx: Tx, run_id: int, keys: Sequence[str]) -> Source:
    """As far as these series reach now."""
    ends = tx.raw.execute("SELECT key, last_step FROM series WHERE run_id = ?", (run_id,)).fetchall()
    wanted = set(keys)
    return Source(run_id, keys, max((last for key, last in ends if key in wanted), default=-1))


def stream(db: Database, sources: Sequence[Source], form: Format, *, name_runs: bool) -> Iterator[bytes]:
    """The file's bytes, piece by piece; no transaction is held open between two of them."""
    keys = list(dict.fromkeys(key for one in sources for key in one.keys))
    blocks = (block for one in sources for block in _blocks(db, one, keys))
    return _csv(keys, blocks, name_runs) if form == "csv" else _arrow(form, keys, blocks, name_runs)


def _blocks(db: Database, of: Source, keys: Sequence[str]) -> Iterator[Block]:
    lo, window, own = 0, WINDOW, set(of.keys)
    while lo <= of.last_step:
        hi = min(of.last_step, lo + window - 1)
        with db.read() as tx:
            columns = {i: series.read(tx.raw, of.run_id, key, lo, hi) for i, key in enumerate(keys) if key in own}
        steps = np.unique(np.concatenate([points.step for points in columns.values()]))
        values = np.full((len(keys), len(steps)), np.nan)
        present = np.zeros(values.shape, bool)
        for index, points in columns.items():
            at = np.searchsorted(steps, points.step)
            values[index, at], present[index, at] = points.value, True
        if len(steps):
            yield Block(ids.show("run", of.run_id), steps, values, present)
        window = WINDOW if len(steps) else window * 2
        lo = hi + 1


def _csv(keys: Sequence[str], blocks: Iterator[Block], name_runs: bool) -> Iterator[bytes]:
    yield _line([*(["run"] if name_runs else []), "step", *keys])
    for block in blocks:
        first = [block.run] if name_runs else []
        cells = [
            [_number(value) if there else "" for value, there in zip(column.tolist(), mask.tolist(), strict=True)]
            for column, mask in zip(block.values, block.present, strict=True)
        ]
        rows = zip(block.steps.tolist(), *cells, strict=True)
        yield b"".join(_line([*first, str(step), *row]) for step, *row in rows)


def _number(value: float) -> str:
    return repr(value) if value - value == 0 else messages.name_of(value)


def _line(cells: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _arrow(form: Format, keys: Sequence[str], blocks: Iterator[Block], name_runs: bool) -> Iterator[bytes]:
    """Missing points are null; a NaN that was measured is NaN."""
    pa, pq = _pyarrow()
    named = [("run", pa.string())] if name_runs else []
    schema = pa.schema([*named, ("step", pa.int64()), *((key, pa.float64()) for key in keys)])
    sink = _Sink()
    writer: Any = pq.ParquetWriter(sink, schema) if form == "parquet" else pa.ipc.new_stream(sink, schema)
    waiting: list[Block] = []

    def table() -> Any:
        arrays = [pa.array(np.concatenate([block.steps for block in waiting]))]
        if name_runs:
            arrays.insert(0, pa.array([block.run for block in waiting for _ in range(len(block.steps))]))
        for index in range(len(keys)):
            values = np.concatenate([block.values[index] for block in waiting])
            missing = ~np.concatenate([block.present[index] for block in waiting])
            arrays.append(pa.array(values, mask=missing))
        return pa.table(arrays, schema=schema)

    for block in blocks:
        waiting.append(block)
        if sum(len(one.steps) for one in waiting) >= BLOCK_ROWS:
            writer.write_table(table())
            waiting.clear()
            yield sink.taken()
    if waiting:
        writer.write_table(table())
    writer.close()
    yield sink.taken()


class _Sink(io.RawIOBase):
    """What a writer has written since somebody last took it."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._held += data
        return len(data)

    def taken(self) -> bytes:
        held, self._held = bytes(self._held), bytearray()
        return held


def _pyarrow() -> tuple[Any, Any]:
    """A tenth of a second and 40 MB that most servers never need."""
    import pyarrow
    import pyarrow.parquet

    return pyarrow, pyarrow.parquet


def rows(found: Sequence[Mapping[str, Any]], form: Literal["csv", "parquet"]) -> bytes:
    """A small table, a dict a row, as one file; a column that some rows lack is empty there."""
    names = list(dict.fromkeys(name for row in found for name in row))
    if form == "csv":
        cells = [[_cell(row.get(name)) for name in names] for row in found]
        return b"".join(_line(row) for row in [names, *cells])
    pa, pq = _pyarrow()
    sink = io.BytesIO()
    columns = [[row.get(name) for row in found] for name in names]
    mixed = [len({type(value) for value in column if value is not None} - {int, float}) > 1 for column in columns]
    arrays = [pa.array([None if value is None else str(value) for value in column] if words else column) for column, words in zip(columns, mixed, strict=True)]  # fmt: skip
    pq.write_table(pa.table(arrays, names=names), sink)
    return sink.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return _number(value) if isinstance(value, float) else str(value)
