"""Files of this machine on their way to the server, with progress; what is interrupted goes on where it ended."""

import hashlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from app.cli.rest import AWAY, USAGE, CliError, Rest
from app.contract.file_kinds import ENDINGS, FileKind, kind_of

if TYPE_CHECKING:
    from rich.progress import Progress

PIECE_BYTES = 8 << 20
TRIES = 6
WAIT_S = 0.5  # before the first repetition; twice as long before each further one


class Here(NamedTuple):
    name: str  #: a file's own, or its place in the folder that was named
    path: Path


def found(paths: Sequence[Path], kind: str | None) -> list[Here]:
    """The files, and for a folder all files of the kind below it, sorted by name. Raises CliError."""
    files: list[Here] = []
    for path in paths:
        if path.is_file():
            files.append(Here(path.name, path))
        elif path.is_dir():
            below = [
                Here(f"{path.resolve().name}/{one.relative_to(path).as_posix()}", one)
                for one in sorted(path.rglob("*"))
                if one.is_file() and not any(part.startswith(".") for part in one.relative_to(path).parts)
            ]
            of: FileKind = kind if kind in ENDINGS else kind_of(file.name for file in below)
            wanted = [file for file in below if file.name.lower().endswith(ENDINGS[of])]
            if not wanted:
                raise CliError(f"The folder {path} holds no files of kind {of} ({', '.join(ENDINGS[of])}).", USAGE)
            files += wanted
        else:
            raise CliError(
                f"There is no file or folder {path} here; for a path on the worker's disk add --on-worker.", USAGE
            )
    return files


def uploads(rest: Rest, files: Sequence[Here]) -> list[dict[str, str]]:
    """The files as sources of a dataset, [{"name", "sha256"}], once the server has all of them. Raises CliError."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        return [{"name": file.name, "sha256": _sent(rest, file, progress)} for file in files]


def _sent(rest: Rest, here: Here, progress: "Progress") -> str:
    """The file's sha256. What the server has of it already is not sent again, whoever sent it."""
    try:
        with here.path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            task = progress.add_task(here.name, total=size)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            offset = rest.uploaded(sha256, size)
            progress.update(task, completed=offset)
            tries = 0
            while offset < size or (size == 0 and tries == 0):
                file.seek(offset)
                piece = file.read(PIECE_BYTES)
                if not piece and size:
                    raise CliError(f"{here.path} became shorter while it was sent. Send it again once it is at rest.")
                try:
                    offset = rest.upload(sha256, piece, size, offset)
                    tries = 0 if size else 1
                except CliError as error:
                    # 409: another sender of the same file was faster, and `offset` says how far it has come.
                    if error.exit != AWAY and "offset" not in error.problem:
                        raise
                    tries += 1
                    offset = _offset_again(rest, sha256, size, tries, error)
                progress.update(task, completed=offset)
    except OSError as error:
        raise CliError(f"{here.path} cannot be read: {error.strerror}.") from error
    return sha256


def _offset_again(rest: Rest, sha256: str, size: int, tries: int, cause: CliError) -> int:
    """Where to go on after a break: waits longer each time, and gives up with `cause`."""
    while tries <= TRIES:
        time.sleep(WAIT_S * 2 ** (tries - 1))
        try:
            return rest.uploaded(sha256, size)
        except CliError as error:
            if error.exit != AWAY:
                raise
            tries += 1
    raise CliError(f"{cause}\nWhat has arrived is kept: the same command goes on from there.", cause.exit)
