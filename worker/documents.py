"""A prepared split as a stream of ids and, where end-of-text marks them, of documents.

Shards are read as one sequence, in blocks: a split of 10^10 tokens takes no more memory than one of 10^6, but for
sixteen bytes a document.
"""

import bisect
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from app.contract.dataset import Manifest, Split

BLOCK_TOKENS = 1 << 20
Ids = NDArray[np.unsignedinteger]
Counts = NDArray[np.int64]


class Stream:
    """One split's tokens."""

    def __init__(self, paths: Sequence[Path], dtype: str) -> None:
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self.itemsize = self._dtype.itemsize
        self._paths = [path for path in paths if path.stat().st_size]
        self._ends = list(itertools.accumulate(path.stat().st_size // self.itemsize for path in self._paths))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def read(self, start: int, stop: int) -> Ids:
        """Ids start..stop-1 in memory of their own; they may cross shards."""
        assert 0 <= start <= stop <= len(self), f"tokens {start} to {stop} of {len(self)}"
        pieces = []
        while start < stop:
            shard = bisect.bisect_right(self._ends, start)
            first = self._ends[shard - 1] if shard else 0
            count = min(stop, self._ends[shard]) - start
            # Read, not mapped: mapped pages would stay and count as this process's memory.
            piece = np.fromfile(self._paths[shard], self._dtype, count, offset=(start - first) * self.itemsize)
            pieces.append(piece)
            start += len(piece)
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.empty(0, np.uint16)

    def blocks(self, overlap: int = 0, size: int = BLOCK_TOKENS) -> Iterator[tuple[int, Ids]]:
        """(position, ids) block by block; each but the last reads `overlap` ids of the next one too."""
        for start in range(0, len(self), size):
            yield start, self.read(start, min(start + size + overlap, len(self)))


class Documents:
    """Where the documents of a stream begin and end: between end-of-texts, which belong to none."""

    def __init__(self, stream: Stream, eot: int) -> None:
        marks = [start + np.flatnonzero(ids == eot) for start, ids in stream.blocks()]
        found = np.concatenate([*marks, np.empty(0, np.int64)]).astype(np.int64)
        self.marked = len(found) > 0
        # End-of-text stands before each document (plateau) or after it (nanogpt): the outer side is no document.
        before = self.marked and found[0] == 0
        edges = np.concatenate([found, [len(stream)]] if before else [[-1], found])
        if not before and self.marked and found[-1] < len(stream) - 1:
            edges = np.append(edges, len(stream))  # a last document that was cut off
        self.starts: Counts = edges[:-1] + 1 if self.marked else np.empty(0, np.int64)
        self.ends: Counts = edges[1:] if self.marked else np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> Counts:
        return self.ends - self.starts


def in_groups(documents: Documents, tokens: int = BLOCK_TOKENS) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of neighbouring documents that together have about `tokens`; a longer one stands alone."""
    first = 0
    while first < len(documents):
        limit = documents.starts[first] + tokens
        last = max(first + 1, int(np.searchsorted(documents.ends, limit, side="right")))
        yield first, last
        first = last


class Side(NamedTuple):
    """One split of a prepared dataset, while it is read again."""

    split: Split
    stream: Stream
    documents: Documents | None  #: None where nothing marks them
    counts: Counts  #: of each id

    @classmethod
    def of(cls, split: Split, folder: Path, manifest: Manifest) -> Self:
        stream = Stream([folder / shard.file for shard in split.shards], manifest.dtype)
        eot = manifest.tokenizer.eot
        documents = Documents(stream, eot) if eot is not None else None
        marked = documents is not None and documents.marked
        return cls(split, stream, documents if marked else None, np.zeros(manifest.tokenizer.vocab_size, np.int64))

    @property
    def size(self) -> int:
        """How many documents it has; 0 where that is not known."""
        return len(self.documents) if self.documents is not None else 0
