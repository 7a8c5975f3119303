"""Parquet files as documents: a row of the text column is one, a row group is what is read at once.

A file of 469 bytes can expand to gigabytes, and its metadata need not say so: a dictionary holds one long string, and
every row refers to it. So the true sizes of a row group's pages (worker/parquet_pages.py) decide, before anything
is decoded, whether it is read and how many rows at a time.
"""

import functools
import itertools
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from worker import parquet_pages
from worker.jsonl import MOST_LABELS
from worker.source_files import (
    LONGEST_BYTES,
    Fault,
    OnFault,
    OnShare,
    SourceFile,
    Tally,
    Unit,
    UnreadableSource,
    mended,
)
from worker.text_fields import schema_of, text_field

BATCH_ROWS = 32
"""Rows decoded at once. A dictionary-encoded file of 551 bytes held 324 MB of text when it was tried: reading
it whole took 870 MB, reading it so 220 MB; on ordinary files small batches cost nothing measurable."""
BATCH_BYTES = 32_000_000
"""What a batch of rows may expand to by referring to the same long string."""
LARGEST_PAGE = 256_000_000
"""Bytes, decompressed. Most writers end a page at 1 MB, the largest known (DuckDB) at 100 MB."""


def check(file: SourceFile, wanted: str) -> None:
    """Raise UnreadableSource for a file that is no parquet or has no such column of text."""
    column_of(file, wanted)


def column_of(file: SourceFile, wanted: str) -> str:
    schema = _metadata(file).schema.to_arrow_schema()
    columns = {field.name: _holds_text(field.type) for field in schema}
    listed = ", ".join(f"{field.name} ({field.type})" for field in schema)
    return text_field(file.name, wanted, columns, listed, "column")


def schema_name(file: SourceFile) -> str | None:
    """The published corpus that has these columns."""
    schema = _metadata(file).schema.to_arrow_schema()
    return schema_of({field.name: _holds_text(field.type) for field in schema})


def units(index: int, file: SourceFile) -> list[Unit]:
    """One for each row group that has rows."""
    metadata = _metadata(file)
    rows = max(metadata.num_rows, 1)
    groups = [(group, metadata.row_group(group).num_rows) for group in range(metadata.num_row_groups)]
    return [Unit(index, group, group + 1, file.bytes * count // rows) for group, count in groups if count]


def read(
    file: SourceFile, unit: Unit, wanted: str, *, on_fault: OnFault, on_share: OnShare
) -> Generator[str, None, None]:
    """The texts of one row group; a null is an empty one."""
    metadata = _metadata(file)
    column = column_of(file, wanted)
    group = unit.start
    row = first = _first_rows(file.path, file.sha256, file.name, file.bytes)[group]
    rows = metadata.row_group(group).num_rows
    tally = Tally(on_fault)

    def bad(what: str) -> None:
        tally.fault(Fault(unit.file, row, f"{file.name}: {what}"))

    def named() -> str:
        return f'row {row:,} (row group {group}) of column "{column}"'

    try:
        batch_rows = _rows_at_once(file, metadata, group, column)
        with pq.ParquetFile(file.path, memory_map=True, metadata=metadata, page_checksum_verification=True) as parquet:
            batches = parquet.iter_batches(
                batch_size=batch_rows, row_groups=[group], columns=[column], use_threads=False
            )
            for batch in batches:
                # As bytes: pyarrow does not check that its strings are UTF-8, and the message needs the offset.
                for content in batch.column(0).cast(pa.large_binary()).to_pylist():
                    content = content or b""
                    if len(content) > LONGEST_BYTES:
                        bad(f"{named()} holds {len(content):,} bytes, more than {LONGEST_BYTES:,}. It was left out.")
                    elif (text := _utf8(content, named, bad)) is not None:
                        yield text
                    row += 1
                    tally.records += 1
                on_share((row - first) / rows)
    except (pa.ArrowException, OSError, parquet_pages.Damaged) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0].rstrip(".")
        bad(f"row group {group} cannot be read from row {row:,} on: {reason}. The other row groups were kept.")
    tally.close()


def _utf8(content: bytes, named: Any, bad: Any) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        try:
            text = mended(content.decode("utf-8", "surrogatepass"))
        except UnicodeDecodeError:
            bad(
                f"{named()} is not UTF-8 text (byte {error.start}, 0x{content[error.start]:02x}). "
                "It was left out; write it as UTF-8 to have it."
            )
            return None
        bad(f"{named()} holds a lone surrogate, half a character, which was replaced by U+FFFD.")
        return text


def counts(file: SourceFile, column: str) -> Counter[str]:
    """How often each value of a column of labels occurs, such as language; empty where there is no such column, or it
    holds more different values than labels have.
    """
    metadata = _metadata(file)
    schema = metadata.schema.to_arrow_schema()
    found: Counter[str] = Counter()
    if column not in schema.names or not _holds_text(schema.field(column).type):
        return found
    with pq.ParquetFile(file.path, memory_map=True, metadata=metadata) as parquet:
        for batch in parquet.iter_batches(batch_size=BATCH_ROWS * 32, columns=[column], use_threads=False):
            for pair in pc.value_counts(batch.column(0).cast(pa.string())).to_pylist():
                found[str(pair["values"] or "")] += pair["counts"]
            if len(found) > MOST_LABELS:
                return Counter()
    return found


def _rows_at_once(file: SourceFile, metadata: Any, group: int, column: str) -> int:
    """Raises parquet_pages.Damaged where the row group's column cannot be read safely."""
    chunk = next(
        described
        for number in range(metadata.num_columns)
        if (described := metadata.row_group(group).column(number)).path_in_schema == column
    )
    pages = parquet_pages.sizes(file.path, chunk)
    if pages.largest > LARGEST_PAGE:
        raise parquet_pages.Damaged(
            f"a page of {pages.largest:,} bytes, more than {LARGEST_PAGE:,}, as one string of many millions of characters makes it"
        )
    shared = max(pages.dictionary, pages.largest if "DELTA_BYTE_ARRAY" in chunk.encodings else 0)
    return max(1, min(BATCH_ROWS, BATCH_BYTES // max(shared, 1)))


@functools.lru_cache(maxsize=8)
def _read_metadata(path: Path, sha256: str, name: str, size: int) -> Any:
    """Kept for a few files: FineWeb's have a thousand row groups each, and each is opened by itself."""
    try:
        return pq.read_metadata(path, memory_map=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: a damaged column name
        raise UnreadableSource(f"{name} is not a parquet file, or not the whole of one ({size:,} bytes).") from error


@functools.lru_cache(maxsize=8)
def _first_rows(path: Path, sha256: str, name: str, size: int) -> list[int]:
    """The number of each row group's first row: added up once, not again for each of a thousand."""
    metadata = _read_metadata(path, sha256, name, size)
    counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    return list(itertools.accumulate(counts, initial=0))


def _metadata(file: SourceFile) -> Any:
    return _read_metadata(file.path, file.sha256, file.name, file.bytes)


def _holds_text(of: Any) -> bool:
    if pa.types.is_dictionary(of):
        of = of.value_type
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(test(of) for test in tests)
