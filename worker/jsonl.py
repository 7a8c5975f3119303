"""JSON lines as documents, plain or compressed (.gz, .zst): one object a line, its text in one field."""

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pyarrow as pa

from worker.plain_text import UNIT_BYTES
from worker.source_files import (
    CHUNK_BYTES,
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

LONGEST_LINE = 4 * LONGEST_BYTES
"""Bytes: a text may be longer as JSON than by itself, and there are other fields."""
PACKED_CHUNK_BYTES = 1 << 16
"""What is lost in front of the place where a damaged file cannot be unpacked any further."""
MOST_LABELS = 5000
"""Different values of a field; with more it holds no labels."""
_LOOKED_AT = 100
"""Lines at a file's beginning in which an object is looked for."""
_COMPRESSIONS = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))
_BOM = b"\xef\xbb\xbf"


class _Bad(Exception):
    """A line that is no document; the message completes "line 7 ", so that it begins with a verb."""


def field_of(file: SourceFile, wanted: str) -> str:
    """The field that holds the text, by the file's first object.

    Raises UnreadableSource for a file that does not begin as JSON lines, or whose first object has no such text.
    """
    first = _first(file)
    if first is None:
        return wanted  # a file without lines has no documents
    columns = {key: isinstance(value, str) for key, value in first.items()}
    listed = ", ".join(f"{key} ({type(value).__name__})" for key, value in first.items())
    return text_field(file.name, wanted, columns, listed, "field")


def schema_name(file: SourceFile) -> str | None:
    """The published corpus that has these fields."""
    first = _first(file)
    return None if first is None else schema_of({key: isinstance(value, str) for key, value in first.items()})


def counts(file: SourceFile, field: str, on_line: Callable[[], None]) -> Counter[str]:
    """How often each value of a field of labels occurs, such as language; empty where the first object has none."""
    found: Counter[str] = Counter()
    if not isinstance((_first(file) or {}).get(field), str):
        return found
    whole = Unit(0, 0, file.bytes, file.bytes)
    with (
        contextlib.closing(_chunks(file, whole, lambda _: None)) as chunks,
        contextlib.suppress(pa.ArrowException, OSError),
    ):
        for line in _lines(chunks):
            on_line()
            with contextlib.suppress(ValueError, RecursionError, AttributeError):  # bad lines are named elsewhere
                label = json.loads(line or b"null").get(field)
                found[label if isinstance(label, str) else ""] += 1
            if len(found) > MOST_LABELS:
                return Counter()
    return found


def compression(file: SourceFile) -> str | None:
    """By the file's first bytes: an uploaded file lies under no name that would tell."""
    with file.path.open("rb") as binary:
        start = binary.read(4)
    return next((name for magic, name in _COMPRESSIONS if start.startswith(magic)), None)


def units(index: int, file: SourceFile, *, unit_bytes: int = UNIT_BYTES) -> list[Unit]:
    """Ranges of lines of at least `unit_bytes`; a compressed file, which can be read from its start only, is one."""
    found = []
    start = 0
    if compression(file) is None:
        with file.path.open("rb") as binary:
            while file.bytes - start > unit_bytes:
                binary.seek(start + unit_bytes)
                while (part := binary.readline(CHUNK_BYTES)) and not part.endswith(b"\n"):
                    pass
                found.append(Unit(index, start, binary.tell(), binary.tell() - start))
                start = binary.tell()
    if start < file.bytes:
        found.append(Unit(index, start, file.bytes, file.bytes - start))
    return found


def read(
    file: SourceFile, unit: Unit, wanted: str, *, on_fault: OnFault, on_share: OnShare
) -> Generator[str, None, None]:
    """The texts of the unit's lines; a line of blanks is none, a null text an empty one."""
    field = field_of(file, wanted)
    tally = Tally(on_fault)
    in_unit = 0
    before: int | None = None  # lines of the file in front of the unit, counted when a message needs them

    def bad(what: str) -> None:
        nonlocal before
        before = _lines_before(file, unit.start) if before is None else before
        tally.fault(Fault(unit.file, before + in_unit, f"{file.name}, line {before + in_unit:,} {what}"))

    with contextlib.closing(_chunks(file, unit, on_share)) as chunks:
        try:
            for line in _lines(chunks):
                in_unit += 1
                if line is not None and not line.strip():
                    continue
                tally.records += 1
                try:
                    text = _text(line, field)
                except _Bad as error:
                    bad(f"{error} It was left out.")
                    continue
                if line is not None and b"\\u" in line and not text.isascii() and (mend := mended(text)) != text:
                    bad("holds a lone surrogate, half a character, which was replaced by U+FFFD.")
                    text = mend
                yield text
        except (pa.ArrowException, OSError) as error:
            reason = (str(error).splitlines() or ["no reason given"])[0].rstrip(".")
            in_unit += 1
            tally.records += 1
            bad(f"is where the file cannot be unpacked any further: {reason}. What came before was kept.")
    tally.close()


def _text(line: bytes | None, field: str) -> str:
    if line is None:
        raise _Bad(f"is longer than {LONGEST_LINE:,} bytes.")
    try:
        record = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise _Bad(f"is not UTF-8 text (byte {error.start}, 0x{line[error.start]:02x}).") from None
    except (ValueError, RecursionError) as error:
        raise _Bad(f"is not JSON: {error}.") from None
    if not isinstance(record, dict):
        raise _Bad(f"holds a {type(record).__name__}, not an object.")
    text = record.get(field, "") if record.get(field, "") is not None else ""
    if field not in record:
        raise _Bad(f'has no field "{field}".')
    if not isinstance(text, str):
        raise _Bad(f'has a {type(text).__name__} in its field "{field}", not a text.')
    if len(text) > LONGEST_BYTES:
        raise _Bad(f"holds a text of {len(text):,} characters, more than {LONGEST_BYTES:,}.")
    return text


def _first(file: SourceFile) -> dict[str, Any] | None:
    """The first line that is an object; None for a file of no lines. Raises UnreadableSource where there is none."""
    complaint = ""
    whole = Unit(0, 0, file.bytes, file.bytes)
    try:
        with contextlib.closing(_chunks(file, whole, lambda _: None)) as chunks:
            for number, line in enumerate(_lines(chunks), 1):
                if number > _LOOKED_AT:
                    break
                if line is not None and not line.strip():
                    continue
                try:
                    record = json.loads((line or b"").decode())
                    if isinstance(record, dict):
                        return record
                    complaint = complaint or f"line {number} holds a {type(record).__name__}, not an object"
                except (ValueError, RecursionError):
                    complaint = complaint or f"line {number} is not JSON"
    except (pa.ArrowException, OSError) as error:
        complaint = complaint or f"it cannot be unpacked ({(str(error).splitlines() or [''])[0].rstrip('.')})"
    if complaint:
        raise UnreadableSource(
            f'{file.name} is not JSON lines, one object a line such as {{"text": "…"}}: {complaint}.'
        )
    return None


def _chunks(file: SourceFile, unit: Unit, on_share: OnShare) -> Generator[bytes, None, None]:
    """The unit's bytes, unpacked, without the byte-order mark that may stand at a file's beginning."""
    packed = compression(file)
    with contextlib.ExitStack() as opened:
        raw = opened.enter_context(file.path.open("rb"))
        stream: Any = raw
        if packed:
            stream = opened.enter_context(pa.CompressedInputStream(pa.PythonFile(raw, "r"), packed))
        raw.seek(unit.start)
        start = unit.start
        while chunk := stream.read(PACKED_CHUNK_BYTES if packed else min(CHUNK_BYTES, unit.end - raw.tell())):
            on_share((raw.tell() - unit.start) / max(unit.end - unit.start, 1))
            yield chunk.removeprefix(_BOM) if start == 0 else chunk
            start += len(chunk)


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes | None]:
    """Lines without their ends; None for one of more than LONGEST_LINE bytes, which is never held whole."""
    held: list[bytes] = []
    length = 0
    for chunk in chunks:
        *ended, last = chunk.split(b"\n")
        for part in ended:
            yield b"".join([*held, part]) if length + len(part) <= LONGEST_LINE else None
            held, length = [], 0
        length += len(last)
        held = [*held, last] if length <= LONGEST_LINE else []
    if length:
        yield b"".join(held) if length <= LONGEST_LINE else None


def _lines_before(file: SourceFile, offset: int) -> int:
    """Line ends in front of a byte of the file."""
    count = 0
    with file.path.open("rb") as binary:
        while offset > 0 and (chunk := binary.read(min(CHUNK_BYTES, offset))):
            count += chunk.count(b"\n")
            offset -= len(chunk)
    return count
