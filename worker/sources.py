"""Where documents come from: parquet columns and text files, read as a stream, whatever their size.

Parquet: one document a row. Text: a form feed starts a new document; a file without one is one document,
or, where there are fewer than FEW_FILES files, it is cut at blank lines into passages, because a split
by document has to have something to split. Each passage keeps the blank lines after it: joined they give
the file again.
"""

import codecs
import hashlib
import io
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

CHUNK_BYTES = 1 << 20
BATCH_ROWS = 32
"""Rows decoded at once. A dictionary-encoded file of 551 bytes held 324 MB of text when it was tried: reading
it whole took 870 MB, reading it so 220 MB; on ordinary files small batches cost nothing measurable."""
FEW_FILES = 100
PASSAGE_MIN = 2_000
PASSAGE_MAX = 8_000
DOCUMENT_MAX = 4_000_000  # characters; a text file's longer document continues in the next one
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")

Kind = Literal["parquet", "text"]


class UnreadableSource(Exception):
    """A source cannot be read; the message says which, why, and what to do."""


class SourceFile(NamedTuple):
    """One file as found on the disk, looked through once before anything is read from it."""

    name: str  #: for people and the manifest; never a path
    path: Path
    bytes: int
    sha256: str
    form_feed: bool


def inspect(name: str, path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> SourceFile:
    """Hash a file and look for form feeds; `on_bytes` hears how many bytes each chunk had."""
    digest = hashlib.sha256()
    form_feed = False
    size = 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                form_feed = form_feed or b"\f" in chunk
                size += len(chunk)
                on_bytes(len(chunk))
    except OSError as error:
        raise UnreadableSource(f"{name} cannot be read at {path}: {error.strerror}.") from error
    return SourceFile(name, path, size, digest.hexdigest(), form_feed)


class Source:
    """The documents of some files of one kind; `documents` may be called again and gives the same ones."""

    def __init__(self, kind: Kind, files: Sequence[SourceFile], text_column: str = "text") -> None:
        self.kind = kind
        self.files = files
        self.text_column = text_column
        self.share = 0.0  #: of the bytes of all files, how far the newest `documents` has come
        self._total = sum(file.bytes for file in files) or 1
        self._before = 0

    @property
    def one_text(self) -> bool:
        """Whether the documents are passages of a single text, which nothing separates."""
        return self.kind == "text" and len(self.files) == 1 and not self.files[0].form_feed

    def check(self) -> None:
        """Raise UnreadableSource for a file that is no parquet or lacks the column, before hours go into the others."""
        if self.kind == "parquet":
            for file in self.files:
                _open_parquet(file, self.text_column).close()

    def documents(self) -> Generator[str, None, None]:
        """Every document in order, the empty ones too (a null in a parquet column is an empty one).

        Close it where it may not be read to its end: it holds a file open.
        """
        self._before = 0
        for file in self.files:
            self._at(file, 0.0)
            try:
                yield from self._rows(file) if self.kind == "parquet" else self._texts(file)
            except (pa.ArrowException, OSError) as error:
                reason = str(error).splitlines()[0].rstrip(".")
                raise UnreadableSource(f"{file.name} cannot be read any further: {reason}.") from error
            self._before += file.bytes
        self.share = 1.0

    def _at(self, file: SourceFile, share: float) -> None:
        self.share = (self._before + share * file.bytes) / self._total

    def _rows(self, file: SourceFile) -> Iterator[str]:
        with _open_parquet(file, self.text_column) as parquet:
            rows = parquet.metadata.num_rows
            row = 0
            for batch in parquet.iter_batches(batch_size=BATCH_ROWS, columns=[self.text_column], use_threads=False):
                # As bytes: pyarrow does not check that its strings are UTF-8, and the message needs the offset.
                for value in batch.column(0).cast(pa.large_binary()):
                    yield self._utf8(file.name, row, value.as_py() or b"")
                    row += 1
                self._at(file, row / max(rows, 1))

    def _utf8(self, name: str, row: int, value: bytes) -> str:
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise UnreadableSource(
                f'{name}: row {row} of column "{self.text_column}" is not UTF-8 text '
                f"(byte {error.start}, 0x{value[error.start]:02x}); write it as UTF-8 and try again."
            ) from error

    def _texts(self, file: SourceFile) -> Iterator[str]:
        with file.path.open("rb") as binary:
            chunks = self._decoded(file, binary)
            cut = not file.form_feed and len(self.files) < FEW_FILES
            yield from passages(chunks) if cut else separated(chunks)

    def _decoded(self, file: SourceFile, binary: IO[bytes]) -> Iterator[str]:
        """The file's text in chunks, a byte-order mark dropped and line ends as \\n (as Python's text mode)."""
        decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")(), translate=True)
        position = 0
        while True:
            chunk = binary.read(CHUNK_BYTES)
            position += len(chunk)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                # error.object also holds the bytes kept from the chunk before.
                offset = position - len(error.object) + error.start
                raise UnreadableSource(
                    f"{file.name} is not UTF-8 text: byte {offset} (0x{error.object[error.start]:02x}) "
                    "cannot be decoded; save the file as UTF-8 and try again."
                ) from error
            self._at(file, position / max(file.bytes, 1))
            yield text
            if not chunk:
                return


def passages(chunks: Iterator[str]) -> Iterator[str]:
    """Cut a text into passages that joined give it again.

    Each ends at the first blank lines after PASSAGE_MIN characters; a text without any up to PASSAGE_MAX is
    cut at its last line end before that, else at its last space, else right there.
    """
    held = ""
    for chunk in chunks:
        held += chunk
        start = 0
        while len(held) - start > 2 * PASSAGE_MAX:  # enough that no run of blank lines is cut by the chunk's end
            end = _passage_end(held, start)
            yield held[start:end]
            start = end
        held = held[start:]
    start = 0
    while start < len(held):
        end = _passage_end(held, start)
        yield held[start:end]
        start = end


def _passage_end(text: str, start: int) -> int:
    limit = start + PASSAGE_MAX
    if blank := _BLANK_LINES.search(text, start + PASSAGE_MIN, limit):
        return blank.end()
    if len(text) <= limit:
        return len(text)
    for mark in ("\n", " "):
        if (found := text.rfind(mark, start + PASSAGE_MIN, limit)) >= 0:
            return found + 1
    return limit


def separated(chunks: Iterator[str]) -> Iterator[str]:
    """What stands between form feeds; without any, the whole text."""
    held: list[str] = []
    length = 0
    for chunk in chunks:
        *ended, last = chunk.split("\f")
        for part in ended:
            yield "".join(held) + part
            held, length = [], 0
        held.append(last)
        length += len(last)
        if length > DOCUMENT_MAX:
            text = "".join(held)
            end = text.rfind("\n", DOCUMENT_MAX // 2) + 1 or len(text)
            yield text[:end]
            held, length = [text[end:]], len(text) - end
    yield "".join(held)


def _open_parquet(file: SourceFile, column: str) -> Any:
    try:
        parquet = pq.ParquetFile(file.path, memory_map=True)
        _check_column(file.name, parquet.schema_arrow, column)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: a damaged column name
        raise UnreadableSource(
            f"{file.name} is not a parquet file, or not the whole of one ({file.bytes:,} bytes)."
        ) from error
    return parquet


def _check_column(name: str, schema: Any, column: str) -> None:
    if column not in schema.names:
        there = ", ".join(schema.names)
        raise UnreadableSource(f'{name} has no column "{column}". Its columns are: {there}. Set text_column to one.')
    of = schema.field(column).type
    if pa.types.is_dictionary(of):
        of = of.value_type
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    if not any(test(of) for test in tests):
        raise UnreadableSource(f'{name}: column "{column}" holds {of}, not text. Set text_column to one of text.')
