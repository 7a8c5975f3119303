"""Token files: which side of the split a document is on, and the flat shards its tokens are written to.

A shard is little-endian ids and nothing else; every shard of a split but the last holds exactly the cap, so
that the position of a token follows from its number. Shards appear under their names only when they are
whole and on the disk (.tmp, fsync, rename); the manifest that names them is written after all of them.
"""

import hashlib
import os
from pathlib import Path
from typing import IO, Literal, Self

import numpy as np
from numpy.typing import NDArray

from app.contract.dataset import Manifest, Shard

SHARD_TOKENS = 100_000_000
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


class ShardWriter:
    """Appends ids to one split's shards."""

    def __init__(self, folder: Path, split: str, dtype: str, cap_tokens: int = SHARD_TOKENS) -> None:
        self.tokens = 0
        self._folder = folder
        self._split = split
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._cap_tokens = cap_tokens
        self._done: list[Shard] = []
        self._file: IO[bytes] | None = None
        self._in_shard = 0

    def append(self, ids: Ids) -> None:
        assert ids.dtype.itemsize == self._dtype.itemsize, f"{ids.dtype} ids for a file of {self._dtype}"
        while len(ids):
            if self._file is None:
                self._file = self._temporary().open("wb")
                self._digest = hashlib.sha256()
                self._in_shard = 0
            part = ids[: self._cap_tokens - self._in_shard]
            data = part.astype(self._dtype, copy=False).tobytes()
            self._file.write(data)
            self._digest.update(data)
            self._in_shard += len(part)
            self.tokens += len(part)
            if self._in_shard == self._cap_tokens:
                self._finish_shard()
            ids = ids[len(part) :]

    def close(self) -> list[Shard]:
        """Finish the last shard; returns all of them."""
        if self._file is not None:
            self._finish_shard()
        return self._done

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:  # not closed: given up in the middle of a shard
            try:
                self._file.close()  # flushes, which a full disk refuses
            finally:
                self._file = None
                self._temporary().unlink()

    def _name(self) -> str:
        return f"{self._split}-{len(self._done):03}.bin"

    def _temporary(self) -> Path:
        return self._folder / f"{self._name()}.tmp"

    def _finish_shard(self) -> None:
        assert self._file is not None
        flush_to_disk(self._file)
        self._file.close()
        self._file = None
        os.replace(self._temporary(), self._folder / self._name())
        self._done.append(
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


def clear(folder: Path) -> None:
    """Make the folder, empty of what an earlier attempt left in it; the manifest goes first."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    for pattern in ("train-*.bin*", "val-*.bin*", "tokenizer.*", "manifest.json.tmp"):
        for path in folder.glob(pattern):
            path.unlink()
