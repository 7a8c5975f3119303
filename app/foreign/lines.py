"""Bytes as they arrive → lines of text: any common encoding and line end, progress bars, colours; bounded in memory."""

import codecs
import re
from collections.abc import Iterator

from app.foreign.log import Log, NotALog

LONGEST = 1 << 16
HEAD = 1 << 16
"""Bytes looked at before it is decided what a file is."""

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_ENDS = re.compile(r"\r\n|\n|\r")
_SIGNS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_PACKED = {
    b"PK\x03\x04": "It is a zip archive; a checkpoint (.pt) goes through “Import a checkpoint”, anything else has to be unpacked first.",
    b"\x1f\x8b": "It is compressed (gzip); unpack it first.",
    b"\xfd7zXZ": "It is compressed (xz); unpack it first.",
    b"(\xb5/\xfd": "It is compressed (zstd); unpack it first.",
    b"BZh": "It is compressed (bzip2); unpack it first.",
    b"PAR1": "It is a Parquet file; save its columns as CSV.",
}


def encoding(head: bytes) -> str:
    """Of a text that begins so. Raises NotALog for what is no text."""
    for sign, why in _PACKED.items():
        if head.startswith(sign):
            raise NotALog(why)
    for sign, name in _SIGNS:
        if head.startswith(sign):
            return name
    zeros = [head[place::2].count(0) for place in (0, 1)]
    half = max(1, len(head) // 2)
    if zeros[1] > 0.4 * half and zeros[0] < 0.1 * half:
        return "utf-16-le"
    if zeros[0] > 0.4 * half and zeros[1] < 0.1 * half:
        return "utf-16-be"
    odd = sum(head.count(byte) for byte in (*range(7), *range(14, 27), *range(28, 32)))
    if odd > 0.02 * len(head):
        raise NotALog("It is neither text nor a TensorBoard event file.")
    return "utf-8"


class Lines:
    """Fed with bytes, gives the lines that are complete; `end` gives the last one."""

    def __init__(self, log: Log, encoding: str) -> None:
        self._log = log
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        self._rest = ""
        self._cutting = False
        self.number = 0  #: of the line given last

    def feed(self, data: bytes) -> Iterator[str]:
        text = self._rest + self._decoder.decode(data)
        held = "\r" if text.endswith("\r") else ""  # its line feed may be on its way
        *lines, self._rest = _ENDS.split(text[: len(text) - len(held)])
        self._rest += held
        yield from self._told(lines)
        if len(self._rest) > LONGEST:
            if not self._cutting:
                self._log.count("long", line=self.number + 1)
                self._cutting = True
            self._rest = self._rest[-1:] if held else self._rest[:0]

    def end(self) -> Iterator[str]:
        rest = (self._rest + self._decoder.decode(b"", final=True)).rstrip("\r")
        self._rest = ""
        if rest:
            yield from self._told([rest])

    def _told(self, lines: list[str]) -> Iterator[str]:
        for line in lines:
            self.number += 1
            if self._cutting:  # the end of a line that was too long
                self._cutting = False
                continue
            if len(line) > LONGEST:
                self._log.count("long", line=self.number)
                line = line[:LONGEST]
            yield _ESCAPES.sub("", line) if "\x1b" in line else line
