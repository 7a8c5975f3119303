"""Which files of this machine a dataset may be made of: those below the folders that the worker was started with."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from app.contract.file_kinds import ENDINGS, FileKind
from worker.folders import CannotStart

MOST_FILES = 100_000
_MOST_NAMED = 4


class Named(NamedTuple):
    """A file and what people call it."""

    name: str
    path: Path  #: links resolved


def files_at(name: str, text: str, roots: Sequence[Path], kind: FileKind) -> list[Named]:
    """The file that a person named, or all files of the kind below a folder, sorted by their names.

    Raises CannotStart for what does not really lie under one of the roots, links followed, and for a folder
    without such files.
    """
    real = _under(text, text, roots)
    if real.is_file():
        return [Named(name, real)]
    if not real.is_dir():
        raise CannotStart(f"{text} is neither a file nor a folder.")
    found: list[Named] = []
    others: Counter[str] = Counter()
    for path in _walk(real, text):
        if not path.name.lower().endswith(ENDINGS[kind]):
            others[path.suffix or path.name] += 1
            continue
        inside = path.relative_to(real).as_posix()
        found.append(Named(f"{name}/{inside}", _under(str(path), f"{text.rstrip('/')}/{inside}", roots)))
        if len(found) > MOST_FILES:
            raise CannotStart(f"{text} holds more than {MOST_FILES:,} files; name a folder below it.")
    if not found:
        there = ", ".join(f"{count:,} {ending}" for ending, count in others.most_common(_MOST_NAMED)) or "nothing"
        raise CannotStart(
            f"The folder {text} holds no file of kind {kind} ({', '.join(ENDINGS[kind])}); there is {there}. "
            "Choose another kind, or name the files themselves."
        )
    return found


def file_at(text: str, roots: Sequence[Path]) -> Path:
    """The one file that a person named; raises CannotStart as files_at does."""
    real = _under(text, text, roots)
    if not real.is_file():
        raise CannotStart(f"{text} is not a file.")
    return real


def _walk(folder: Path, text: str) -> Iterator[Path]:
    """Every file below, in the order of their paths; hidden ones are passed over, as ls does."""

    def refuse(error: OSError) -> None:
        raise CannotStart(f"{error.filename} cannot be read: {error.strerror}.") from error

    for here, subfolders, names in os.walk(folder, onerror=refuse):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in subfolders:
            if (link := Path(here, name)).is_symlink():
                raise CannotStart(
                    f"{link} is a link to a folder, which may lead in circles. Name {link.resolve()} itself, or remove the link."
                )
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(here, name)


def _under(path: str, text: str, roots: Sequence[Path]) -> Path:
    """`path` with its links resolved; `text` is what the message calls it."""
    allowed = ", ".join(str(root) for root in roots) or "none; start the worker with --data-root FOLDER"
    if "\0" in path:
        raise CannotStart(f"{text!r} holds a NUL character, which no path can.")
    if ".." in Path(path).parts:
        raise CannotStart(f"{text!r} goes up with ../; write the path without it. This worker's data roots: {allowed}.")
    try:
        real = Path(path).expanduser().resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: ~ of nobody, or links in a circle
        raise CannotStart(f"There is no file or folder {text} on this worker. Its data roots: {allowed}.") from None
    if not any(real.is_relative_to(root.resolve()) for root in roots):
        through = f" (it is a link to {real})" if Path(path).expanduser().absolute() != real else ""
        raise CannotStart(
            f"{text}{through} is not under one of this worker's data roots: {allowed}. "
            "Move it there, or start the worker with --data-root for its folder, too."
        )
    return real
