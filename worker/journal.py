"""The journal: the file between the training process, which appends, and the agent, which delivers.

Append-only frames `<crc32 hex8> <length> <json>\\n`. One frame is ONE os.write to an O_APPEND
descriptor, so a process killed at any instant leaves whole frames and at most one torn tail; the
bytes are the kernel's from then on, so a crash of the process loses nothing. Only a power cut could,
and against that the agent fsyncs before it sends. Training never waits for the network or the disk.

Frame json: {"p":[step,{key:value,…}]} points | {"l":[at,level,text]} log | {"e":{kind,step,text,data}}
event | {"t":{…}} telemetry. Values that are not finite travel as "NaN", "Infinity" and "-Infinity".
"""

import errno
import json
import math
import os
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Frame = dict[str, Any]

LOG_TEXT_MAX = 4000
FRAME_MAX_BYTES = 512 << 10
"""A frame travels whole in one batch of at most 1 MiB."""
ACKED_LOOK_EVERY_S = 1.0
READ_MAX_BYTES = 8 << 20
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
# allow_nan=False turns the rare non-finite value into an exception instead of a check on every value of every step.
_encode = json.JSONEncoder(allow_nan=False, check_circular=False, separators=(",", ":")).encode


def _plain(value: Any) -> Any:
    """`value` with floats JSON cannot hold as strings and foreign scalars (numpy, torch) as floats."""
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "__float__"):
        return _plain(float(value))
    return str(value)


def _frame(content: Frame) -> bytes:
    try:
        body = _encode(content).encode("ascii")
    except (ValueError, TypeError):  # ValueError: not finite; TypeError: a scalar of another library
        body = _encode(_plain(content)).encode("ascii")
    return b"%08x %d %b\n" % (zlib.crc32(body), len(body), body)


def acked_path(journal: Path) -> Path:
    """The sidecar in which the agent notes how many bytes of `journal` the server has on disk."""
    return journal.with_name(journal.name + ".acked")


class Journal:
    """The training process's side. Methods may be called from any of its threads."""

    def __init__(self, path: Path, cap_bytes: int = 2 << 30) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._acked_path = acked_path(path)
        self._cap_bytes = cap_bytes
        self._lock = threading.Lock()
        self._end = repair(path)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._held: list[bytes] = []  # frames the disk had no room for
        self._acked = 0
        self._next_look = 0.0

    def points(self, step: int, values: Mapping[str, float]) -> None:
        """The values of one step: one frame, one write, no fsync, no waiting."""
        self._append({"p": [step, values if isinstance(values, dict) else dict(values)]})

    def log(self, text: str, level: str = "info") -> None:
        # A lone surrogate (an undecodable byte of somebody's print) is legal in Python and in no JSON reader.
        text = text[:LOG_TEXT_MAX].encode("utf-8", "replace").decode()
        self._append({"l": [time.time(), level, text]})

    def event(self, kind: str, step: int | None = None, /, text: str = "", **data: Any) -> None:
        self._append({"e": {"kind": kind, "step": step, "text": text, "data": data}})

    def telemetry(self, **values: Any) -> None:
        """Newest of each key wins: device, memory, outcome…"""
        self._append({"t": values})

    @property
    def full(self) -> bool:
        """Whether training has to pause: the cap of undelivered bytes is reached, or the disk has no room.

        Costs a comparison while there is room; near the cap it looks at the agent's note once a second.
        """
        if not self._held and self._end - self._acked < self._cap_bytes:
            return False
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + ACKED_LOOK_EVERY_S
            self._acked = max(self._acked, read_acked(self._acked_path))
            with self._lock:
                self._write_held()
        return bool(self._held) or self._end - self._acked >= self._cap_bytes

    def write_held(self) -> None:
        """Once there is room again: what the disk had none for."""
        with self._lock:
            self._write_held()

    def close(self) -> None:
        os.close(self._fd)

    def _append(self, content: Frame) -> None:
        frame = _frame(content)
        assert len(frame) <= FRAME_MAX_BYTES, (
            f"a frame of {len(frame)} bytes is longer than {FRAME_MAX_BYTES} and fits no batch"
        )
        with self._lock:
            if self._held:
                self._held.append(frame)
            elif not self._write(frame):
                self._held.append(frame)
                self._next_look = 0.0

    def _write_held(self) -> None:
        while self._held and self._write(self._held[0]):
            del self._held[0]

    def _write(self, frame: bytes) -> bool:
        """Whether the whole frame is in the file; on a full disk none of it is, for a torn frame would end all reading."""
        try:
            written = os.write(self._fd, frame)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            return False
        if written < len(frame):
            os.ftruncate(self._fd, self._end)
            return False
        self._end += written
        return True


class NullJournal:
    """A journal that drops everything, for the bench and for tests of the loop alone."""

    full = False

    def points(self, step: int, values: Mapping[str, float]) -> None: ...
    def log(self, text: str, level: str = "info") -> None: ...
    def event(self, kind: str, step: int | None = None, /, text: str = "", **data: Any) -> None: ...
    def telemetry(self, **values: Any) -> None: ...
    def close(self) -> None: ...


def scan(data: bytes) -> Iterator[tuple[Frame, int]]:
    """Each whole frame at the start of `data` with the position after it; ends at the first that is torn or damaged."""
    start = 0
    while (newline := data.find(b"\n", start)) >= 0:
        checksum, _, rest = data[start:newline].partition(b" ")
        length, _, body = rest.partition(b" ")
        if not length.isdigit() or int(length) != len(body) or b"%08x" % zlib.crc32(body) != checksum:
            return
        start = newline + 1
        yield json.loads(body), start


def read(path: Path, offset: int, max_bytes: int = READ_MAX_BYTES) -> tuple[list[Frame], int]:
    """Whole frames from `offset` on, and the offset after the last of them.

    Stops at the first torn frame and never raises for one; a file that does not exist yet is empty.
    """
    frames: list[Frame] = []
    end = offset
    for frame, position in scan(read_bytes(path, offset, max_bytes)):
        frames.append(frame)
        end = offset + position
    return frames, end


def tail(path: Path, max_bytes: int = 64 << 10) -> list[Frame]:
    """The last frames of a journal that nobody writes any more."""
    size = path.stat().st_size if path.exists() else 0
    data = read_bytes(path, max(0, size - max_bytes), max_bytes)
    if size > max_bytes:
        data = data[data.find(b"\n") + 1 :]
    return [frame for frame, _ in scan(data)]


def read_bytes(path: Path, offset: int, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(max_bytes)
    except FileNotFoundError:
        return b""


def repair(path: Path) -> int:
    """Cut a torn tail off, so that frames appended next can be read; returns the length of what is whole."""
    end = 0
    while True:
        _, after = read(path, end)
        if after == end:
            break
        end = after
    if path.exists() and path.stat().st_size > end:
        os.truncate(path, end)
    return end


def read_acked(path: Path) -> int:
    """The agent's note, 0 when there is none yet."""
    try:
        return int(path.read_text("ascii"))
    except (FileNotFoundError, ValueError):
        return 0


def write_acked(journal: Path, offset: int) -> None:
    """The agent's side of the note: replaced as a whole, so that a reader sees the old or the new number."""
    path = acked_path(journal)
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(str(offset), "ascii")
    temporary.replace(path)
