"""The ledger: which bytes of the journal are which batch, noted before a batch is sent, the same for ever after.

Sequence number n stands for a byte range of the journal and of the log file beside it. `<journal>.sent`
holds one JSON line per batch and is fsynced before the number is used, so that a batch sent again after
any crash has the same content, which is what lets the server drop duplicates by number alone.
"""

import errno
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from app.contract.protocol import BATCH_MAX_BYTES, BATCH_MAX_POINTS, Claim
from worker import journal

READ_BYTES = BATCH_MAX_BYTES // 2
"""Journal bytes in one batch: columns are about as long as frames, and twice as long at worst (short keys, long steps)."""
LOG_BYTES = 64 << 10
LOG_LINES = 500
LAST_LOG_LINES = 40


class Record(NamedTuple):
    """What batch number `seq` holds."""

    seq: int
    at: float  #: Unix time at which it was cut; its log lines carry it
    start: int  #: journal bytes [start, end)
    end: int
    log_start: int  #: bytes of the log file [log_start, log_end)
    log_end: int
    refused: str = ""  #: the server will never take it: an alarm event goes in its place


class Ledger:
    """`<journal>.sent`: one JSON line per batch, in order, numbers without gaps."""

    def __init__(self, path: Path, log_start: int) -> None:
        self._path = path
        self._first = Record(0, 0.0, 0, 0, log_start, log_start)
        self._file = path.open("ab+", buffering=0)
        whole = self._file.seek(0, os.SEEK_END) - len(self._lines()[-1])
        self._file.truncate(whole)  # a torn last line was never fsynced, so its batch was never posted
        self.last = self._first
        for record in self.since(1):
            self.last = record

    def _lines(self) -> list[bytes]:
        return self._path.read_bytes().split(b"\n")

    def since(self, seq: int) -> list[Record]:
        """Records with numbers >= seq. Reads the file: for a start and a rewind, not for every turn."""
        records: dict[int, Record] = {}
        for line in self._lines()[:-1]:
            record = Record(*json.loads(line))
            if record.seq >= seq:
                records[record.seq] = record  # a refused batch is noted twice; the later line holds
        return [records[number] for number in sorted(records)]

    def append(self, record: Record) -> None:
        """Note it durably, or not at all: raises OSError where the disk is full, leaving no torn line behind."""
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        end = self._file.seek(0, os.SEEK_END)
        if self._file.write(line) != len(line):
            self._file.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(self._file.fileno())
        if record.seq >= self.last.seq:
            self.last = record

    def close(self) -> None:
        self._file.close()


def cut(last: Record, journal_path: Path, log_path: Path, at: float, everything: bool) -> Record | None:
    """The batch that follows `last`, or None when nothing new is there.

    `everything`: nobody writes any more, so an unfinished last line of the log counts too.
    """
    end = last.end + _batch_end(journal.read_bytes(journal_path, last.end, READ_BYTES))
    log_end = last.log_end + _lines_end(journal.read_bytes(log_path, last.log_end, LOG_BYTES), everything)
    if end == last.end and log_end == last.log_end:
        return None
    return Record(last.seq + 1, at, last.end, end, last.log_end, log_end)


def body(record: Record, claim: Claim, journal_path: Path, log_path: Path) -> bytes:
    """The batch as the server takes it: columns, never rows."""
    columns: dict[str, dict[str, list[Any]]] = {}
    lines: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    telemetry: dict[str, Any] = {}
    if record.refused:
        events.append(
            {"kind": "alarm", "step": None, "text": f"The server refused a batch: {record.refused}", "data": {}}
        )
        record = record._replace(end=record.start, log_end=record.log_start)
    for frame, _ in journal.scan(journal.read_bytes(journal_path, record.start, record.end - record.start)):
        if "p" in frame:
            step, values = frame["p"]
            for key, value in values.items():
                column = columns.setdefault(key, {"step": [], "value": []})
                column["step"].append(step)
                column["value"].append(value)
        elif "l" in frame:
            at, level, text = frame["l"]
            lines.append({"at": at, "level": level, "text": text})
        elif "e" in frame:
            events.append(frame["e"])
        elif "t" in frame:
            telemetry.update(frame["t"])
    printed = journal.read_bytes(log_path, record.log_start, record.log_end - record.log_start)
    lines += [{"at": record.at, "level": "info", "text": line} for line in log_lines(printed)]
    batch = {
        "claim_id": claim.claim_id, "attempt": claim.attempt, "seq": record.seq,
        "columns": columns, "log": lines, "events": events, "telemetry": telemetry,
    }  # fmt: skip
    return json.dumps(batch, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def _batch_end(data: bytes) -> int:
    """How many of these journal bytes go into one batch.

    A resume event travels alone: it cuts the curve, and then no reader has to know whether the points of
    its own batch come before or after the cut.
    """
    end = points = 0
    for frame, after in journal.scan(data):
        points += len(frame["p"][1]) if "p" in frame else 0
        resume = "e" in frame and frame["e"]["kind"] == "resume"
        if end and (points > BATCH_MAX_POINTS or resume):
            break
        end = after
        if resume:
            break
    return end


def _lines_end(data: bytes, everything: bool) -> int:
    """How many of these log bytes go into one batch: whole lines, at most LOG_LINES of them."""
    end = -1
    for _ in range(LOG_LINES):
        newline = data.find(b"\n", end + 1)
        if newline < 0:
            break
        end = newline
    if end < 0 and data and (everything or len(data) >= LOG_BYTES):
        return len(data)
    return end + 1


def log_lines(data: bytes) -> list[str]:
    """Printed bytes as log lines: what a carriage return overwrote (progress bars) and empty lines are left out."""
    lines = (line.rstrip("\r").rpartition("\r")[2].rstrip() for line in data.decode("utf-8", "replace").split("\n"))
    return [line[: journal.LOG_TEXT_MAX] for line in lines if line]


def last_lines(path: Path, start: int, count: int = LAST_LOG_LINES) -> list[str]:
    """The end of a log file, for a report."""
    size = path.stat().st_size if path.exists() else 0
    return log_lines(journal.read_bytes(path, max(start, size - LOG_BYTES), LOG_BYTES))[-count:]
