"""TensorBoard's event files: TFRecords with checksums, protocol buffers within, scalars by tag. Read by hand, nothing installed."""

import struct
from collections.abc import Iterator
from typing import Any

from app.foreign import names
from app.foreign.log import Log
from app.foreign.order import Order

LONGEST = 256 << 20
CHECKED = 1 << 16
"""Bytes up to which a record's checksum is computed; longer ones are images and histograms, which are not read."""
FLOAT, DOUBLE, INT32, INT64 = 1, 2, 3, 9


def _table() -> tuple[int, ...]:
    made = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        made.append(value)
    return tuple(made)


_CRC = _table()


def masked_crc(data: bytes) -> int:
    """CRC-32C, masked as TFRecord wants it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def is_record(head: bytes) -> bool:
    """Whether a file that begins so is one of TFRecords: the first length has its checksum."""
    return len(head) >= 12 and struct.unpack_from("<I", head, 8)[0] == masked_crc(head[:8])


class Records:
    """Fed with bytes; a record that is not complete yet waits."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._order = Order(log)
        self._buffer = bytearray()
        self._skip = 0  # bytes of a record that is too long to be looked at
        self._broken = False
        self._number = 0
        self._began: float | None = None
        self._clocked = -1
        self._keys: dict[str, str | None] = {}
        log.format = "tensorboard"

    def feed(self, data: bytes) -> None:
        if self._broken:
            return
        self._buffer += data
        start = 0
        while True:
            if self._skip:
                step = min(self._skip, len(self._buffer) - start)
                start, self._skip = start + step, self._skip - step
            if self._skip or len(self._buffer) - start < 12:
                break
            length, crc = struct.unpack_from("<QI", self._buffer, start)
            if crc != masked_crc(bytes(self._buffer[start : start + 8])) or length > LONGEST:
                self._log.count("broken", line=self._number + 1)
                self._broken = True
                self._buffer.clear()
                return
            if length > CHECKED:
                self._number, self._skip, start = self._number + 1, length + 4, start + 12
                continue
            end = start + 12 + length
            if len(self._buffer) < end + 4:
                break
            self._number += 1
            record = bytes(self._buffer[start + 12 : end])
            if struct.unpack_from("<I", self._buffer, end)[0] == masked_crc(record):
                self._event(record)
            else:
                self._log.count("damaged", line=self._number)
            start = end + 4
        del self._buffer[:start]

    def end(self) -> None:
        if self._buffer or self._skip:
            self._log.count("cut")

    def _event(self, record: bytes) -> None:
        wall, step, summaries = 0.0, 0, []
        try:
            for field, value in fields(record):
                if field == 1 and isinstance(value, bytes) and len(value) == 8:
                    wall = struct.unpack("<d", value)[0]
                elif field == 2 and isinstance(value, int):
                    step = value
                elif field == 5 and isinstance(value, bytes):
                    summaries += [one for number, one in fields(value) if number == 1 and isinstance(one, bytes)]
            if not 0 <= step <= 2**52:
                raise ValueError("a step below 0")
            for one in summaries:
                self._scalar(step, wall, one)
        except (ValueError, struct.error):
            self._log.count("damaged", line=self._number)

    def _scalar(self, step: int, wall: float, summary: bytes) -> None:
        tag, value = "", None
        for field, found in fields(summary):
            if field == 1 and isinstance(found, bytes):
                tag = found.decode("utf-8", "replace")[:200]
            elif field == 2 and isinstance(found, bytes) and len(found) == 4:
                value = float(struct.unpack("<f", found)[0])
            elif field == 8 and isinstance(found, bytes):
                value = _tensor(found)
        if value is None:
            return
        if tag not in self._keys:
            key = names.metric(tag) or None
            key = "train/loss" if key == "elsewhere/loss" else key
            taken = key is None or key in self._keys.values() or len(self._keys) >= 1000
            if taken and len(self._keys) < 1000:
                self._log.note("columns", text=tag)
            self._keys[tag] = None if taken else key
        key = self._keys[tag]
        if key is None or not self._order.take(key, step, (value,), self._number):
            return
        self._log.point(key, step, value / 100 if key == "train/mfu" and value > 1.5 else value)
        if wall > 0 and step > self._clocked and "x/wall_s" not in self._keys.values():
            self._began = wall if self._began is None else self._began
            self._log.point("x/wall_s", step, max(0.0, wall - self._began))
            self._clocked = step


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of a protocol buffer's fields: int for varints, bytes for all else. Raises ValueError."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == 0:
            value, place = _varint(message, place)
            yield key >> 3, value
            continue
        if kind == 2:
            length, place = _varint(message, place)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if place + length > len(message):
            raise ValueError("a field is longer than its message")
        yield key >> 3, message[place : place + length]
        place += length


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            break
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value - (1 << 64) if value >> 63 else value), place
    raise ValueError("a number has no end")


def _tensor(message: bytes) -> float | None:
    """The number of a tensor that holds one; None for any other."""
    dtype, content, values = 0, b"", []
    for field, found in fields(message):
        if field == 1 and isinstance(found, int):
            dtype = found
        elif field == 4 and isinstance(found, bytes):
            content = found
        elif field in (5, 6) and isinstance(found, bytes):  # packed or single: the bytes are the same
            values.append((field, found))
        elif field in (7, 10) and isinstance(found, int):
            return float(found)
    form = {FLOAT: "<f", DOUBLE: "<d", INT32: "<i", INT64: "<q"}.get(dtype)
    raw = content or (values[0][1] if len(values) == 1 else b"")
    if form is None or len(raw) != struct.calcsize(form):
        return None
    return float(struct.unpack(form, raw)[0])
