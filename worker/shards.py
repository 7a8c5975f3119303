"""Token files: which side of the split a document is on, and the flat shards its tokens are written to.

A shard is little-endian ids and nothing else; every shard of a split but the last holds exactly the cap, so
that the position of a token follows from its number. Shards appear under their names only when they are
whole and on the disk (.tmp, fsync, rename); the manifest that names them is written after all of them.
A writer can go on from any Mark it gave, if what had been written by then is still there, by its hash.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from app.contract.dataset import Manifest, Shard

SHARD_TOKENS = 100_000_000
BLOCK_BYTES = 4 << 20
MANIFEST = "manifest.json"
Ids = NDArray[np.unsignedinteger]


def text_hash(utf8: bytes) -> int:
    """blake2b-64 of a document's UTF-8 text, big-endian: equal texts are equal numbers."""
    return int.from_bytes(hashlib.blake2b(utf8, digest_size=8).digest(), "big")


def val_below(val_share: float) -> int:
    """A document is for validation when its text_hash is below this."""
    return int(val_share * 2**64)


def id_type(vocab_size: int) -> Literal["uint16", "uint32"]:
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


class Torn(Exception):
    """A shard is not what it was when its mark was made: a power cut, or another hand."""


class Mark(NamedTuple):
    """How far one split had been written."""

    finished: int  #: shards that were whole
    tokens: int  #: in the shard after them
    sha256: str  #: of that shard's beginning, so far


class ShardWriter:
    """Appends ids to one split's shards. Left without close(), it keeps the shard under way for a later `go_on`."""

    def __init__(self, folder: Path, split: str, dtype: str, cap_tokens: int = SHARD_TOKENS) -> None:
        self.tokens = 0
        self.done: list[Shard] = []
        self._folder = folder
        self._split = split
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._cap_tokens = cap_tokens
        self._file: IO[bytes] | None = None
        self._digest = hashlib.sha256()
        self._in_shard = 0

    def go_on(self, mark: Mark, done: Sequence[Shard]) -> None:
        """Be the writer that gave `mark`, its finished shards being `done`. Raises Torn, having changed nothing."""
        assert self.tokens == 0, "go_on comes before the first append"
        assert len(done) == mark.finished, f"{len(done)} shards for a mark after {mark.finished}"
        for shard in done:
            path = self._folder / shard.file
            if not path.is_file() or path.stat().st_size != shard.bytes:
                raise Torn(shard.file)
        self.done = list(done)
        if mark.tokens:
            self._reopen(mark)
        self._in_shard = mark.tokens
        self.tokens = sum(shard.tokens for shard in done) + mark.tokens

    def append(self, ids: Ids) -> None:
        assert ids.dtype.itemsize == self._dtype.itemsize, f"{ids.dtype} ids for a file of {self._dtype}"
        while len(ids):
            if self._file is None:
                self._file = self._temporary().open("wb")
                self._digest = hashlib.sha256()
                self._in_shard = 0
            part = ids[: self._cap_tokens - self._in_shard]
            data = part.astype(self._dtype, copy=False).data
            self._file.write(data)
            self._digest.update(data)
            self._in_shard += len(part)
            self.tokens += len(part)
            if self._in_shard == self._cap_tokens:
                self._finish_shard()
            ids = ids[len(part) :]

    def mark(self) -> Mark:
        """What has been appended is with the system from here on: the end of this process does not lose it."""
        if self._file is None:
            return Mark(len(self.done), 0, hashlib.sha256().hexdigest())
        self._file.flush()
        return Mark(len(self.done), self._in_shard, self._digest.hexdigest())

    def close(self) -> list[Shard]:
        """Finish the last shard; returns all of them."""
        if self._file is not None:
            self._finish_shard()
        return self.done

    def written(self) -> Iterator[Ids]:
        """All ids so far, in blocks."""
        if self._file is not None:
            self._file.flush()
        names = [self._folder / shard.file for shard in self.done]
        for path in [*names, *([self._temporary()] if self._file is not None else [])]:
            with path.open("rb") as file:
                while block := file.read(BLOCK_BYTES):
                    yield np.frombuffer(block, self._dtype)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:  # not closed: given up in the middle of a shard
            with contextlib.suppress(
                OSError
            ):  # it flushes, which a full disk refuses; the last mark is flushed already
                self._file.close()
            self._file = None

    def _name(self) -> str:
        return f"{self._split}-{len(self.done):03}.bin"

    def _temporary(self) -> Path:
        return self._folder / f"{self._name()}.tmp"

    def _reopen(self, mark: Mark) -> None:
        """Open the shard that was under way at `mark`, cut off there. It may have been finished since."""
        bytes_then = mark.tokens * self._dtype.itemsize
        path = self._temporary()
        if not path.exists() and (finished := self._folder / self._name()).exists():
            path = finished
        digest = hashlib.sha256()
        left = bytes_then
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            while left and (block := file.read(min(BLOCK_BYTES, left))):
                digest.update(block)
                left -= len(block)
        if left or digest.hexdigest() != mark.sha256:
            raise Torn(path.name)
        os.replace(path, self._temporary())
        self._file = self._temporary().open("rb+")
        self._file.truncate(bytes_then)
        self._file.seek(bytes_then)
        self._digest = digest

    def _finish_shard(self) -> None:
        assert self._file is not None
        flush_to_disk(self._file)
        self._file.close()
        self._file = None
        os.replace(self._temporary(), self._folder / self._name())
        self.done.append(
            Shard(
                file=self._name(),
                sha256=self._digest.hexdigest(),
                bytes=self._in_shard * self._dtype.itemsize,
                tokens=self._in_shard,
            )
        )


def flush_to_disk(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file so that it is either there whole or not there."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        flush_to_disk(file)
    os.replace(temporary, path)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """The last file of a dataset: from here on it exists. Equal manifests are equal bytes."""
    write_whole(folder / MANIFEST, manifest.model_dump_json(indent=1).encode() + b"\n")
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # the names of all files, shards included
    finally:
        os.close(descriptor)
