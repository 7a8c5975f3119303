"""A file of this machine on its way to the server, with progress; an interrupted upload goes on where it ended."""

import hashlib
import sys
from pathlib import Path

from app.cli.rest import USAGE, CliError, Rest

PIECE_BYTES = 8 << 20


def upload(rest: Rest, path: Path) -> dict[str, str]:
    """The file as a source of a dataset: {"name", "sha256"}."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    if not path.is_file():
        raise CliError(f"There is no file {path} here; for a path on the worker's disk add --on-worker.", USAGE)
    size = path.stat().st_size
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with (
        path.open("rb") as file,
        Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress,
    ):
        task = progress.add_task(path.name, total=size)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        offset = rest.uploaded(sha256, size)
        progress.update(task, completed=offset)
        while offset < size:
            file.seek(offset)
            offset = rest.upload(sha256, file.read(PIECE_BYTES), size, offset)
            progress.update(task, completed=offset)
    return {"name": path.name, "sha256": sha256}
