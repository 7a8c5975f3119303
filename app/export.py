"""Every point of a run in a file: CSV, Parquet or Arrow, a row a step and a column a metric, streamed in constant memory."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app import messages, series
from app.db import Database

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


class Block(NamedTuple):
    """Some consecutive steps at which anything was measured."""

    steps: NDArray[np.int64]  #: (n,), ascending
    values: NDArray[np.float64]  #: (keys, n)
    present: NDArray[np.bool_]  #: (keys, n): whether the metric has a point there


def stream(db: Database, run_id: int, keys: Sequence[str], last_step: int, form: Format) -> Iterator[bytes]:
    """The file's bytes, piece by piece; no transaction is held open between two of them."""
    blocks = _blocks(db, run_id, keys, last_step)
    return _csv(keys, blocks) if form == "csv" else _arrow(form, keys, blocks)


def _blocks(db: Database, run_id: int, keys: Sequence[str], last_step: int) -> Iterator[Block]:
    lo, window = 0, WINDOW
    while lo <= last_step:
        hi = min(last_step, lo + window - 1)
        with db.read() as tx:
            columns = [series.read(tx.raw, run_id, key, lo, hi) for key in keys]
        steps = np.unique(np.concatenate([points.step for points in columns]))
        values = np.full((len(keys), len(steps)), np.nan)
        present = np.zeros(values.shape, bool)
        for index, points in enumerate(columns):
            at = np.searchsorted(steps, points.step)
            values[index, at], present[index, at] = points.value, True
        if len(steps):
            yield Block(steps, values, present)
        window = WINDOW if len(steps) else window * 2
        lo = hi + 1


def _csv(keys: Sequence[str], blocks: Iterator[Block]) -> Iterator[bytes]:
    yield _line(["step", *keys])
    for block in blocks:
        cells = [
            [_number(value) if there else "" for value, there in zip(column.tolist(), mask.tolist(), strict=True)]
            for column, mask in zip(block.values, block.present, strict=True)
        ]
        yield b"".join(_line([str(step), *row]) for step, *row in zip(block.steps.tolist(), *cells, strict=True))


def _number(value: float) -> str:
    return repr(value) if value - value == 0 else messages.name_of(value)


def _line(cells: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _arrow(form: Format, keys: Sequence[str], blocks: Iterator[Block]) -> Iterator[bytes]:
    """Missing points are null; a NaN that was measured is NaN."""
    import pyarrow as pa  # a tenth of a second and 40 MB that most servers never need
    import pyarrow.parquet as pq

    schema = pa.schema([("step", pa.int64()), *((key, pa.float64()) for key in keys)])
    sink = _Sink()
    writer: Any = pq.ParquetWriter(sink, schema) if form == "parquet" else pa.ipc.new_stream(sink, schema)
    waiting: list[Block] = []

    def table() -> Any:
        columns = [np.concatenate([block.steps for block in waiting])]
        arrays = [pa.array(columns[0])]
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
