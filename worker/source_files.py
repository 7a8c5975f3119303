"""One file of a source as found on the disk, the pieces it is read in, and what is said when something in it is wrong.

Two kinds of wrong: a file that is not what it should be ends the preparation at once, before hours go into the
others (UnreadableSource); a single bad record is named and left out, and the rest is kept (Fault), unless so many
are bad that the file is probably something else.
"""

import codecs
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

CHUNK_BYTES = 1 << 20
LONGEST_BYTES = 32_000_000
"""Of one record's text in UTF-8. Longer ones are no documents: a parquet of 469 bytes can hold a string of 300 MB."""
FAULTS_FREE = 10
FAULTS_SHARE = 0.01


class UnreadableSource(Exception):
    """A source cannot be read; the message says which, why, and what to do."""


class SourceFile(NamedTuple):
    """One file as found on the disk, looked through once before anything is read from it."""

    name: str  #: for people and the manifest; never a path
    path: Path
    bytes: int
    sha256: str
    form_feed: bool = False
    not_utf8: int | None = None  #: where the first byte is that makes the whole no UTF-8 text


class Unit(NamedTuple):
    """A piece of a source that can be read by itself: the same documents whenever it is read, in any order, in any thread."""

    file: int  #: its number in Source.files
    start: int  #: a row group's number, or a byte's
    end: int  #: exclusive
    bytes: int  #: of the file, for the share of the work; all units of a file together have about its bytes


class Fault(NamedTuple):
    """One record that could not be taken as it is."""

    file: int
    position: int  #: orders the faults of a file: a row, or a byte
    sentence: str  #: names the file and the row or line, and says what became of the record


OnFault = Callable[[Fault], None]
OnShare = Callable[[float], None]


class Faults:
    """The bad records of all passes over a source, each counted once."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int], Fault] = {}

    def add(self, fault: Fault) -> None:
        self._found[fault.file, fault.position] = fault

    def __len__(self) -> int:
        return len(self._found)

    def sentences(self, most: int = 20) -> list[str]:
        """The first of them, in the order of the files."""
        return [fault.sentence for fault in sorted(self._found.values())[:most]]


class Tally:
    """Counts one unit's records and faults; per unit, so that the verdict depends neither on threads nor on a resume."""

    def __init__(self, on_fault: OnFault) -> None:
        self.records = 0
        self._on_fault = on_fault
        self._faults = 0
        self._first: Fault | None = None

    def fault(self, fault: Fault) -> None:
        self._first = self._first or fault
        self._faults += 1
        self._on_fault(fault)

    def close(self) -> None:
        """Raises UnreadableSource where the bad records are no exceptions."""
        if self._faults > max(FAULTS_FREE, FAULTS_SHARE * self.records):
            assert self._first is not None
            raise UnreadableSource(
                f"{self._faults:,} of {self.records:,} records that lie together cannot be taken as they are, which is too many. "
                f"The first: {self._first.sentence}"
            )


def inspect(name: str, path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> SourceFile:
    """Hash a file, look for form feeds and for bytes that are no UTF-8; `on_bytes` hears how many bytes each chunk had."""
    digest = hashlib.sha256()
    decoder = codecs.getincrementaldecoder("utf-8")()
    form_feed = False
    not_utf8: int | None = None
    size = 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                form_feed = form_feed or b"\f" in chunk
                size += len(chunk)
                if not_utf8 is None:
                    not_utf8 = _first_bad(decoder, chunk, size, final=False)
                on_bytes(len(chunk))
    except OSError as error:
        raise UnreadableSource(f"{name} cannot be read at {path}: {error.strerror}.") from error
    if not_utf8 is None:
        not_utf8 = _first_bad(decoder, b"", size, final=True)
    return SourceFile(name, path, size, digest.hexdigest(), form_feed, not_utf8)


def _first_bad(decoder: codecs.IncrementalDecoder, chunk: bytes, position: int, *, final: bool) -> int | None:
    """Where the first byte lies that cannot be decoded; `position` is that of the chunk's end."""
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError as error:
        return position - len(error.object) + error.start  # error.object also holds what was kept from the chunk before
    return None


def mended(text: str) -> str:
    """Lone surrogates, which no UTF-8 can hold, as U+FFFD; a high and a low one that follow each other are one character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def by_share(
    files: tuple[SourceFile, ...], index: int, parts: list[tuple[int, int]], weights: list[int]
) -> Iterator[Unit]:
    """The units (start, end) of a file, its bytes shared out by weight."""
    total = sum(weights) or 1
    for (start, end), weight in zip(parts, weights, strict=True):
        yield Unit(index, start, end, files[index].bytes * weight // total)
