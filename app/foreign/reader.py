"""Any log, fed as bytes: what it is is decided by its beginning, then each line or record is read once and forgotten."""

from collections.abc import Callable
from typing import BinaryIO

from app.foreign import lines, records, table
from app.foreign.lines import Lines
from app.foreign.log import Curves, Log, NotALog, Sink
from app.foreign.printed import Printed
from app.foreign.records import Records
from app.foreign.table import Table

PIECE = 1 << 20
READS = "nanoGPT's and llm.c's output, CSV with a column of steps, TensorBoard's event files, CSV exported from W&B"


class Reader:
    """Feed it; `settle` decides on what there is, for a file that is still growing; `end` gives the log."""

    def __init__(self, sink: Sink) -> None:
        self.log = Log(sink)
        self.bytes = 0
        self._head = bytearray()
        self._lines: Lines | None = None
        self._of: Printed | Table | Records | None = None

    def feed(self, data: bytes) -> None:
        """Raises NotALog."""
        self.bytes += len(data)
        if self._of is not None:
            self._on(data)
            return
        self._head += data
        if len(self._head) >= lines.HEAD:
            self._decide(final=False)

    def settle(self) -> None:
        """Decide now, if one line is complete; what it gives so far is handed on."""
        if self._of is None and (b"\n" in self._head or records.is_record(bytes(self._head[:12]))):
            self._decide(final=False)
        self.log.flush()

    def broken_off(self) -> None:
        """Another file goes on from here, as where a log is rotated: a line that has no end yet has ended."""
        if self._lines is not None and not isinstance(self._of, Records | None):
            for line in self._lines.end():
                self._of.line(line, self._lines.number)

    def end(self) -> Log:
        """Raises NotALog where no loss was found."""
        if self._of is None:
            if not self._head.strip(b"\0 \t\r\n\xef\xbb\xbf\xff\xfe"):
                raise NotALog("The file is empty.")
            self._decide(final=True)
        assert self._of is not None
        self.broken_off()
        self._of.end()
        self.log.flush()
        if not self.log.has_loss:
            raise NotALog(self._nothing())
        return self.log

    def _on(self, data: bytes) -> None:
        if isinstance(self._of, Records):
            self._of.feed(data)
        elif self._of is not None and self._lines is not None:
            for line in self._lines.feed(data):
                self._of.line(line, self._lines.number)

    def _decide(self, *, final: bool) -> None:
        head = bytes(self._head)
        self._head.clear()
        if records.is_record(head[:12]):
            self._of = Records(self.log)
            self._of.feed(head)
            return
        encoding = lines.encoding(head[: lines.HEAD])
        probe = Lines(Log(Curves()), encoding)
        begun = list(probe.feed(head))
        if final:
            begun += probe.end()
        made = table.plan(begun, self.log)
        self._of = Table(self.log, made) if made else Printed(self.log)
        self._lines = Lines(self.log, encoding)
        self._on(head)

    def _nothing(self) -> str:
        read = self._lines.number if self._lines else 0
        if isinstance(self._of, Records):
            found = ", ".join(sorted(self.log.keys)[:8]) or "none"
            return f"No loss is among its scalars ({found}). Tags such as train/loss, Loss/train or val_loss are known."
        if isinstance(self._of, Table):
            found = ", ".join(sorted(self.log.keys)[:8]) or "none"
            return f"No column is a loss, or none has a number; taken were: {found}. Names such as train/loss, val_loss or loss are known."
        return f"No loss was found in its {read:,} lines. What is read: {READS}."


def read(stream: BinaryIO, sink: Sink, progress: Callable[[int], None] | None = None) -> Log:
    """The whole stream, a piece at a time; `progress` hears the bytes read so far. Raises NotALog."""
    reader = Reader(sink)
    while piece := stream.read(PIECE):
        reader.feed(piece)
        if progress is not None:
            progress(reader.bytes)
    return reader.end()


def read_bytes(data: bytes) -> tuple[Log, Curves]:
    """A log that is in memory already."""
    curves = Curves()
    reader = Reader(curves)
    reader.feed(data)
    return reader.end(), curves
