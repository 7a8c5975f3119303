"""The server's store: files known by their SHA-256, received in resumable pieces, checked before they count.

A file lies at <store>/<aa>/<sha256>; what is still arriving lies in <store>/incoming/<sha256>.part. A worker on
the same disk hard-links its file to <store>/incoming/<sha256> instead of sending it. Only a name that is
exactly 64 hex digits ever becomes part of a path.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from app.contract.dataset import SHA256
from app.db import Tx
from app.errors import Conflict, FieldError, Invalid, NotFound, RangeNotSatisfiable, StorageFull
from app.tables import Artifact

KINDS = ("upload", "shard", "tokenizer", "checkpoint")
PIECE = 1 << 20
"""Bytes read or hashed at once."""
SPARE_BYTES = 64 << 20
"""Left free on the disk, so that the database can still write."""


class Progress(NamedTuple):
    offset: int  #: bytes received and on disk
    complete: bool


def path(store: Path, sha256: str) -> Path:
    """Where the finished file lies. Raises NotFound for anything that is not a SHA-256 in lower-case hex."""
    if not re.fullmatch(SHA256, sha256):
        raise NotFound("An artifact's name is its SHA-256: 64 lower-case hex digits.")
    return store / sha256[:2] / sha256


def _part(store: Path, sha256: str) -> Path:
    return store / "incoming" / f"{path(store, sha256).name}.part"


def open_to_links(store: Path) -> str:
    """The store as a worker on the same disk may use it: absolute, with the folder that it puts its links into."""
    (store / "incoming").mkdir(parents=True, exist_ok=True)
    return str(store.resolve())


def begin(store: Path, sha256: str, total: int) -> Progress:
    """How much of it is here already. A hard link left in incoming/ is checked and adopted at once."""
    final = path(store, sha256)
    if final.exists():
        return Progress(_same_size(final.stat().st_size, total), complete=True)
    linked = store / "incoming" / sha256
    if linked.exists():
        _settle(linked, final, sha256, total)
        return Progress(total, complete=True)
    part = _part(store, sha256)
    return Progress(part.stat().st_size if part.exists() else 0, complete=False)


def append_range(store: Path, sha256: str, *, start: int, total: int, data: bytes) -> Progress:
    """Append one piece. Raises Conflict with the offset to go on from when `start` is not there.

    The piece is on disk when this returns; the last one is followed by the check of the hash.
    """
    here = begin(store, sha256, total)
    if here.complete:
        return here
    if start + len(data) > total:
        raise Invalid([FieldError("/Content-Range", f"ends at byte {start + len(data)}, after the file's {total}")])
    part = _part(store, sha256)
    part.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(part.parent).free < total - start + SPARE_BYTES:
        raise StorageFull(f"The {total - start:,} bytes still to come do not fit on the server's disk.")
    with part.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # two senders of one file take turns; the second is told the new offset
        offset = file.seek(0, os.SEEK_END)
        if offset != start:
            raise Conflict(f"The next byte wanted is {offset}, not {start}.", extra={"offset": offset})
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    received = start + len(data)
    if received == total:
        _settle(part, path(store, sha256), sha256, total)
    return Progress(received, complete=received == total)


def _settle(arrived: Path, final: Path, sha256: str, total: int) -> None:
    """Check size and hash, then move into place; a file that fails is deleted, so that the sender starts over."""
    try:
        size = arrived.stat().st_size
        if size != total:
            raise Invalid([FieldError("/bytes", f"The file has {size} bytes, not {total}.")])
        with arrived.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise Invalid([FieldError("/sha256", f"The bytes received have the SHA-256 {found}; send the file again.")])
    except Invalid:
        arrived.unlink()
        raise
    final.parent.mkdir(parents=True, exist_ok=True)
    arrived.replace(final)
    for folder in (final.parent, arrived.parent):
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _same_size(size: int, total: int) -> int:
    if size != total:
        raise Invalid([FieldError("/bytes", f"The file of this hash has {size} bytes, not {total}.")])
    return size


def complete(tx: Tx, store: Path, sha256: str, *, kind: str, now: float, worker_id: int | None = None) -> Artifact:
    """Enter a file that is whole in the store. Raises Invalid for an unknown kind, Conflict when it is not here."""
    if kind not in KINDS:
        raise Invalid([FieldError("/kind", f"must be one of {', '.join(KINDS)}")])
    final = path(store, sha256)
    if not final.exists():
        raise Conflict("The file is not complete yet.", extra={"offset": begin(store, sha256, 0).offset})
    artifact = tx.session.get(Artifact, sha256)
    if artifact is None:
        artifact = Artifact(sha256=sha256, bytes=final.stat().st_size, kind=kind, worker_id=worker_id, created_at=now)
        tx.session.add(artifact)
    if not artifact.on_server:
        artifact.on_server, artifact.created_at = True, now  # a new arrival, whatever there was before
    tx.session.flush()
    return artifact


def on_server(raw: sqlite3.Connection, sha256: str) -> int | None:
    """Bytes of the file if the server holds it, else None."""
    row = raw.execute("SELECT bytes FROM artifacts WHERE sha256 = ? AND on_server", (sha256,)).fetchone()
    return int(row[0]) if row else None


def forget(tx: Tx, hashes: Iterable[str]) -> list[str]:
    """The server no longer holds these files; returns those it did hold, to `unlink` once this is committed."""
    held = [sha256 for sha256 in hashes if on_server(tx.raw, sha256) is not None]
    tx.raw.executemany("UPDATE artifacts SET on_server = 0 WHERE sha256 = ?", [(sha256,) for sha256 in held])
    return held


def unlink(store: Path, hashes: Iterable[str]) -> int:
    """Delete finished files from the store; a file that is gone already is as good.

    Returns the bytes that the disk has back: none of a file that a worker on this disk still has, by a hard link.
    """
    freed = 0
    for sha256 in hashes:
        file = path(store, sha256)
        with contextlib.suppress(FileNotFoundError):
            there = file.stat()
            file.unlink()
            freed += there.st_size if there.st_nlink == 1 else 0
    return freed


class Range(NamedTuple):
    start: int
    end: int  #: exclusive
    total: int
    pieces: Iterator[bytes]


def open_range(store: Path, sha256: str, start: int = 0, end: int | None = None) -> Range:
    """Bytes start to end (exclusive) of a stored file, in pieces. Raises NotFound or RangeNotSatisfiable."""
    final = path(store, sha256)
    try:
        file = final.open("rb")
    except FileNotFoundError:
        raise NotFound(f"The server does not hold the file {sha256[:12]}….") from None
    total = os.fstat(file.fileno()).st_size
    end = total if end is None else min(end, total)
    if not 0 <= start <= end or (start == total and total > 0):
        file.close()
        raise RangeNotSatisfiable(f"The file has {total} bytes.", headers={"Content-Range": f"bytes */{total}"})
    return Range(start, end, total, _pieces(file, start, end))


def _pieces(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < end and (piece := file.read(min(PIECE, end - start))):
            start += len(piece)
            yield piece
