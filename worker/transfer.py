"""Files on their way to the server: a hard link where both share a disk, else ranged uploads that resume."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from worker.client import Client, patiently
from worker.datasets import sha256_of


def send(
    path: Path,
    kind: str,
    client: Client,
    store: Path | None,
    wait: Callable[[float], bool],
    sha256: str | None = None,
) -> str:
    """Make the file an artifact of the server; returns its sha256. Nothing moves if the server has it already."""
    sha256 = sha256 or sha256_of(path)
    total = path.stat().st_size
    have = patiently(lambda: client.uploaded(sha256, kind, total), wait)
    if have >= total and total > 0:
        return sha256
    incoming = store / "incoming" / sha256 if store is not None else None
    if incoming is not None and incoming.parent.is_dir() and _link(path, incoming):
        have = patiently(lambda: client.uploaded(sha256, kind, total), wait)  # the question makes the server look there
        incoming.unlink(missing_ok=True)  # a server on another machine, or one that refused it, leaves it
    while have < total or total == 0:
        have = patiently(lambda offset=have: client.upload(sha256, kind, path, offset), wait)  # type: ignore[misc]
        if total == 0:
            break
    return sha256


def _link(path: Path, target: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        target.unlink()
    try:
        os.link(path, target)
    except OSError:  # another disk, another machine's folder, no right to write: uploading always works
        return False
    return True
