"""A dataset's folder on this worker: there already, hard-linked from the server's store on the same disk, or downloaded.

The folder's name is the start of the manifest's sha256, so equal data is kept once and changed data is
another folder. Every file is checked by hash when it arrives; `verified.json` then remembers size and
modification time, and only a file that differs from that note is read again.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from worker.client import Client, NoSuchFile, WorkerError, patiently

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
SHA256 = re.compile(r"[0-9a-f]{64}")
TRIES = 3


class DatasetUnavailable(WorkerError):
    """The dataset's files cannot be had."""


def canonical(manifest: Mapping[str, Any]) -> bytes:
    """The bytes a manifest is hashed and written as: equal content, equal bytes, on both sides of the wire."""
    return json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_of(home: Path, manifest: Mapping[str, Any]) -> Path:
    return home / "datasets" / hashlib.sha256(canonical(manifest)).hexdigest()[:16]


def delete(manifest_sha256: str, home: Path) -> int:
    """Remove a dataset's folder; returns the bytes that the disk has back.

    None of a file that has another name too: in the server's store, or in a dataset made by the same recipe.
    """
    folder = home / "datasets" / manifest_sha256[:16]
    freed = 0
    for path in folder.iterdir() if folder.is_dir() else ():
        there = path.stat()
        path.unlink()
        freed += there.st_size if there.st_nlink == 1 else 0
    with contextlib.suppress(FileNotFoundError):
        folder.rmdir()
    return freed


def files_of(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(file name, sha256, kind of artifact) of every file a manifest names; names that are not plain names are refused."""
    tokenizer = manifest["tokenizer"]
    if tokenizer.get("file"):
        yield _checked(tokenizer["file"], tokenizer["sha256"], "tokenizer")
    for split in ("train", "val"):
        for shard in manifest[split]["shards"]:
            yield _checked(shard["file"], shard["sha256"], "shard")


def _checked(name: str, sha256: str, kind: str) -> tuple[str, str, str]:
    if not FILE_NAME.fullmatch(name) or not SHA256.fullmatch(sha256):
        raise DatasetUnavailable(f"The manifest names a file {name!r} that no worker may write.")
    return name, sha256, kind


def ensure(
    manifest: Mapping[str, Any], home: Path, client: Client, store: Path | None, wait: Callable[[float], bool]
) -> Path:
    """The dataset's folder, complete and verified. Raises DatasetUnavailable; `wait` as in client.patiently."""
    folder = folder_of(home, manifest)
    folder.mkdir(parents=True, exist_ok=True)
    verified = _read_notes(folder)
    for name, sha256, _ in files_of(manifest):
        path = folder / name
        if _note(path) is not None and _note(path) == verified.get(name):
            continue
        if not path.exists() or sha256_of(path) != sha256:
            bring(sha256, path, client, store, wait)
        verified[name] = _note(path)
    (folder / "verified.json").write_text(json.dumps(verified))
    manifest_path = folder / "manifest.json"
    if not manifest_path.exists() or manifest_path.read_bytes() != canonical(manifest):
        _replace(manifest_path, canonical(manifest))
    return folder


def tokenizer_folder(
    manifest: Mapping[str, Any], home: Path, client: Client, store: Path | None, wait: Callable[[float], bool]
) -> Path:
    """A folder that holds the tokenizer's file, which is all of a dataset that writing text needs."""
    tokenizer = manifest["tokenizer"]
    folder = folder_of(home, manifest)
    if not tokenizer.get("file"):
        return folder
    name, sha256, _ = _checked(tokenizer["file"], tokenizer["sha256"], "tokenizer")
    if not (folder / name).exists() or sha256_of(folder / name) != sha256:
        folder = home / "tokenizers" / sha256[:16]
        if not (folder / name).exists() or sha256_of(folder / name) != sha256:
            bring(sha256, folder / name, client, store, wait)
    return folder


def adopt(prepared: Path, home: Path) -> tuple[dict[str, Any], Path]:
    """Move a folder that a preparation has just written to its place; returns (manifest, folder).

    Raises DatasetUnavailable where the folder lacks what its manifest names.
    """
    try:
        manifest: dict[str, Any] = json.loads((prepared / "manifest.json").read_bytes())
    except FileNotFoundError:
        raise DatasetUnavailable("The preparation ended without writing a manifest.") from None
    folder = folder_of(home, manifest)
    _replace(prepared / "manifest.json", canonical(manifest))
    verified = {}
    for name, sha256, _ in files_of(manifest):
        path = prepared / name
        if not path.exists() or sha256_of(path) != sha256:
            raise DatasetUnavailable(f"The preparation left {name} missing or different from its manifest.")
        verified[name] = _note(path)
    (prepared / "verified.json").write_text(json.dumps(verified))
    if folder.exists():  # prepared before, by equal spec over equal files: runs may have it open, so it stays
        for path in prepared.iterdir():
            path.replace(folder / path.name)
    else:
        folder.parent.mkdir(parents=True, exist_ok=True)
        prepared.replace(folder)
    return manifest, folder


def bring(sha256: str, path: Path, client: Client, store: Path | None, wait: Callable[[float], bool]) -> None:
    """Put the artifact at `path`: linked from the server's store if that is on this disk, else downloaded; checked by hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    if store is not None and linked(store / sha256[:2] / sha256, path, sha256):
        return
    # A part that is a link must never be appended to: it would grow the server's own file.
    if part.exists() and part.stat().st_nlink > 1:
        part.unlink()
    for _ in range(TRIES):
        try:
            patiently(lambda: client.fetch(sha256, part), wait)
        except NoSuchFile:
            raise DatasetUnavailable(
                f"The server does not have {path.name} ({sha256[:12]}…) any more; prepare the dataset again."
            ) from None
        if part.exists() and sha256_of(part) == sha256:
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.replace(path)
            return
        part.unlink(missing_ok=True)
    raise DatasetUnavailable(f"{path.name} arrived damaged {TRIES} times; its hash is not {sha256[:12]}….")


def linked(source: Path, path: Path, sha256: str) -> bool:
    """Put a hard link to `source` at `path`, if it is on this disk and its bytes are those asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    if not _link(source, part) or sha256_of(part) != sha256:
        return False
    part.replace(path)
    return True


def _link(source: Path, target: Path) -> bool:
    target.unlink(missing_ok=True) if source.exists() else None
    try:
        os.link(source, target)
    except OSError:  # not there, another disk, or a file system without links: downloading always works
        return False
    return True


def _note(path: Path) -> list[int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _read_notes(folder: Path) -> dict[str, Any]:
    with contextlib.suppress(FileNotFoundError, ValueError):
        notes = json.loads((folder / "verified.json").read_text())
        if isinstance(notes, dict):
            return notes
    return {}


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
