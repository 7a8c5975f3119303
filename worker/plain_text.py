"""Plain text as documents: a form feed starts a new one; a file without any is cut at blank lines, or is one document.

A large file is read in ranges of about UNIT_BYTES that begin where a document begins, so that a preparation can go on in
the middle of it. Passages keep the blank lines after them: joined they give the file again.
"""

import codecs
import io
import re
from collections.abc import Iterator
from typing import IO

from worker.source_files import CHUNK_BYTES, OnShare, SourceFile, Unit, UnreadableSource

UNIT_BYTES = 16 << 20
PASSAGE_MIN = 2_000
PASSAGE_MAX = 8_000
DOCUMENT_MAX = 4_000_000  # characters; a text file's longer document continues in the next one
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_BLANK_LINES_IN_BYTES = re.compile(rb"\n(?:[ \t\r]*\n)+")
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


def check(file: SourceFile) -> None:
    """Raise UnreadableSource unless the whole file is UTF-8."""
    if file.not_utf8 is None:
        return
    with file.path.open("rb") as binary:
        start = binary.read(4)
        binary.seek(file.not_utf8)
        bad = binary.read(1)
    if start.startswith((_GZIP, _ZSTD)):
        raise UnreadableSource(f"{file.name} is a compressed file, not text; unpack it first.")
    raise UnreadableSource(
        f"{file.name} is not UTF-8 text: byte {file.not_utf8} (0x{bad.hex()}) "
        "cannot be decoded; save the file as UTF-8 and try again."
    )


def units(index: int, file: SourceFile, *, unit_bytes: int = UNIT_BYTES) -> list[Unit]:
    """The file in ranges of at least `unit_bytes` that end with a document (but the last)."""
    found = []
    start = 0
    with file.path.open("rb") as binary:
        while file.bytes - start > unit_bytes:
            end, following = _border(binary, start + unit_bytes, file.bytes, file.form_feed)
            if following >= file.bytes:
                break
            found.append(Unit(index, start, end, following - start))
            start = following
    return [*found, Unit(index, start, file.bytes, file.bytes - start)]


def _border(binary: IO[bytes], nominal: int, size: int, form_feed: bool) -> tuple[int, int]:
    """(end of one range, start of the next) at or after `nominal`."""
    binary.seek(nominal)
    if form_feed:
        position = nominal
        while chunk := binary.read(CHUNK_BYTES):
            if (at := chunk.find(b"\f")) >= 0:
                return position + at, position + at + 1
            position += len(chunk)
        return size, size
    window = binary.read(CHUNK_BYTES)
    if blank := _BLANK_LINES_IN_BYTES.search(window):
        end = blank.end()
    elif (line := window.find(b"\n")) >= 0:
        end = line + 1
    else:  # a character is at most four bytes, all but the first of the form 10xxxxxx
        end = next(i for i in range(5) if i >= len(window) or window[i] & 0xC0 != 0x80)
    return nominal + end, nominal + end


def read(file: SourceFile, unit: Unit, *, cut: bool, on_share: OnShare) -> Iterator[str]:
    """The unit's documents; `cut` into passages where nothing in the file separates them."""
    check(file)
    with file.path.open("rb") as binary:
        chunks = _decoded(file, binary, unit, on_share)
        yield from passages(chunks) if cut else separated(chunks)


def _decoded(file: SourceFile, binary: IO[bytes], unit: Unit, on_share: OnShare) -> Iterator[str]:
    """The range's text in chunks, a byte-order mark dropped and line ends as \\n (as Python's text mode)."""
    encoding = "utf-8-sig" if unit.start == 0 else "utf-8"
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
    binary.seek(unit.start)
    position = unit.start
    while True:
        chunk = binary.read(min(CHUNK_BYTES, unit.end - position))
        position += len(chunk)
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise UnreadableSource(f"{file.name} has changed while it was read: it is no longer UTF-8 text.") from error
        on_share((position - unit.start) / max(unit.end - unit.start, 1))
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
