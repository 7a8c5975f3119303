"""Windows that begin where documents do: found in one pass over the token files, and kept beside them.

Greedy, in the order of the files: a window begins at a document and holds the tokens after it, whole documents while
they fit. The next one begins with the document that was cut off, if that is one which fits into a window; else where
the window before ended. So every token is read, every document of up to T tokens is whole in some window, and only
the beginnings of cut documents are read twice. (Padding would waste the same; cropping, as nanochat does, loses text.)
"""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.batches import Tokens

BLOCK_TOKENS = 1 << 22
Starts = NDArray[np.uint64]


def document_windows(tokens: Tokens, eot: int, block_size: int, kept: Path) -> Starts:
    """Where the windows of T inputs begin, memory-mapped from the file `kept`, which is made where it is missing.

    A document begins with its end-of-text, or at the first token. No document marked: an empty array.
    """
    if not kept.exists():
        # A name of its own: the processes of one run may all be at this, with the same result.
        temporary = kept.with_name(f"{kept.name}.{os.getpid()}.tmp")
        with temporary.open("wb") as file:
            walk = _Walk(block_size, len(tokens))
            for first in range(0, len(tokens), BLOCK_TOKENS):
                ids = tokens.rows(np.array([first]), min(BLOCK_TOKENS, len(tokens) - first))[0]
                file.write(walk.past(first + np.flatnonzero(ids == eot)).tobytes())
            file.write(walk.end().tobytes())
        temporary.replace(kept)
    if not kept.stat().st_size:
        return np.empty(0, np.uint64)
    return np.memmap(kept, dtype="<u8", mode="r")


class _Walk:
    """Feed it where documents begin, in order; it gives windows as soon as nothing later can change them."""

    def __init__(self, block_size: int, tokens: int) -> None:
        assert tokens > block_size, f"{tokens} tokens are too few: one window and its target need {block_size + 1}"
        self._T = block_size
        self._tokens = tokens
        self._last = tokens - 1 - block_size  # where the last window that has all its targets begins
        self._at = 0  # where the coming window begins
        self._read = 0  # the end of the one before
        self._document = 0  # the last beginning heard of
        self._marked = False

    def past(self, begins: NDArray[np.int64]) -> Starts:
        made: list[int] = []
        for begin in begins.tolist():
            self._marked = True
            self._document_ends(begin, made)
        return np.array(made, "<u8")

    def end(self) -> Starts:
        made: list[int] = []
        if self._marked:
            self._document_ends(self._tokens, made)
            if self._read < self._tokens - 1:
                made.append(self._last)
        return np.array(made, "<u8")

    def _document_ends(self, end: int, made: list[int]) -> None:
        """The last document heard of ends before token `end`, where the next one begins."""
        while self._at + self._T <= end and self._at <= self._last:  # the coming window ends within it
            made.append(self._at)
            self._read = self._at + self._T
            again = self._at < self._document and self._read < end <= self._document + self._T
            self._at = self._document if again else self._read
        self._document = end
