"""A preparation under way, kept on the disk unit by unit, so that one that was interrupted goes on where it was.

<worker's home>/preparing/<start of its recipe>/ holds the shards so far and units.jsonl: a line with what was settled
before the first unit, then a line for each finished unit. Lines are not flushed to the disk, which would cost a
preparation more than a power cut does: each carries the hash of what was written by then, and is believed only if
the shards agree. A lock beside the folder keeps two processes from preparing the same thing.
"""

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from app.contract.dataset import Shard
from worker.shards import MANIFEST, Mark, ShardWriter, Torn
from worker.source_files import Fault

UNITS = "units.jsonl"
KEPT_S = 7 * 24 * 3600.0
"""What nobody has gone on with for a week is removed by the next preparation."""
LOOK_S = 0.2


class Note(NamedTuple):
    """What stood after a unit: sums over all units so far, and what is new since the note before."""

    units: int  #: finished
    characters: int  #: of the text so far; only a split by the tail counts them
    documents: tuple[int, int]  #: train, val; likewise below
    text_bytes: tuple[int, int]
    empty: int
    marks: tuple[Mark, Mark]
    new_shards: tuple[list[Shard], list[Shard]] = ([], [])
    new_faults: tuple[Fault, ...] = ()


class Unfinished:
    """One preparation's folder; hold it with `held`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settled: dict[str, Any] | None = None  #: the first line
        self.notes: list[Note] = []
        self._ends: list[int] = []  # of each line in the file, the first one's too
        self._read()

    @property
    def complete(self) -> bool:
        """Everything is there, manifest included; only handing it over was interrupted."""
        return (self.folder / MANIFEST).exists()

    def begin(self, settled: dict[str, Any]) -> None:
        """The first line, once the files that it names are there."""
        line = json.dumps(settled).encode() + b"\n"
        (self.folder / UNITS).write_bytes(line)
        self.settled, self.notes, self._ends = settled, [], [len(line)]

    def add(self, note: Note) -> None:
        with (self.folder / UNITS).open("ab") as file:
            file.write(_line(note))
            self._ends.append(file.tell())
        self.notes.append(note)

    def clear(self) -> None:
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        self.settled, self.notes, self._ends = None, [], []

    def go_on(self, open_writers: Callable[[], tuple[ShardWriter, ShardWriter]]) -> tuple[ShardWriter, ShardWriter]:
        """Writers that stand where the last note that holds true says; notes after it are forgotten.

        After a power cut the newest may speak of what never reached the disk: then half of them, at worst, are tried.
        """
        keep, step = len(self.notes), 1
        while keep > 0:
            writers = open_writers()
            try:
                for side in (0, 1):
                    done = [shard for note in self.notes[:keep] for shard in note.new_shards[side]]
                    writers[side].go_on(self.notes[keep - 1].marks[side], done)
            except Torn:
                for writer in writers:
                    writer.__exit__()
                keep, step = max(0, keep - step), 2 * step
            else:
                break
        else:
            writers = open_writers()
        self._forget_after(keep)
        return writers

    def hand_over(self, out: Path) -> None:
        """The finished folder becomes `out`."""
        (self.folder / UNITS).unlink(missing_ok=True)
        if out.exists():
            shutil.rmtree(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(self.folder, out)  # a rename, where both are on one disk

    def _forget_after(self, keep: int) -> None:
        os.truncate(self.folder / UNITS, self._ends[keep])
        del self.notes[keep:], self._ends[keep + 1 :]

    def _read(self) -> None:
        try:
            content = (self.folder / UNITS).read_bytes()
        except FileNotFoundError:
            return
        end = 0
        for line in content.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            try:
                read = json.loads(line)
                if self.settled is None:
                    self.settled = dict(read)
                else:
                    self.notes.append(_note(read))
            except (ValueError, TypeError, KeyError):  # the last line of a power cut
                break
            end += len(line)
            self._ends.append(end)
        if end < len(content):
            os.truncate(self.folder / UNITS, end)


@contextlib.contextmanager
def held(home: Path, recipe: str, on_wait: Callable[[], None]) -> Iterator[Unfinished]:
    """The folder of this recipe, for this process alone; `on_wait` is called while another one holds it."""
    root = home / "preparing"
    root.mkdir(parents=True, exist_ok=True)
    folder = root / recipe[:16]
    with _lock(folder).open("wb") as lock:
        while not _taken(lock.fileno()):
            on_wait()
            time.sleep(LOOK_S)
        folder.mkdir(exist_ok=True)
        yield Unfinished(folder)


def tidy(home: Path, now: float) -> None:
    """Remove what was left more than a week ago and nobody is at work on."""
    for folder in (home / "preparing").glob("*/"):
        newest = max((path.stat().st_mtime for path in [folder, *folder.iterdir()]), default=now)
        if now - newest > KEPT_S:
            with _lock(folder).open("wb") as lock:
                if _taken(lock.fileno()):
                    shutil.rmtree(folder)


def _lock(folder: Path) -> Path:
    return folder.with_suffix(".lock")


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however it ends
    except BlockingIOError:
        return False
    return True


def _line(note: Note) -> bytes:
    content = note._asdict() | {
        "new_shards": [[shard.model_dump() for shard in side] for side in note.new_shards],
    }
    return json.dumps(content).encode() + b"\n"


def _note(line: dict[str, Any]) -> Note:
    def pair(key: str) -> tuple[int, int]:
        train, val = line[key]
        return int(train), int(val)

    train, val = (Mark(*mark) for mark in line["marks"])
    new_train, new_val = ([Shard.model_validate(shard) for shard in side] for side in line["new_shards"])
    return Note(
        units=int(line["units"]),
        characters=int(line["characters"]),
        documents=pair("documents"),
        text_bytes=pair("text_bytes"),
        empty=int(line["empty"]),
        marks=(train, val),
        new_shards=(new_train, new_val),
        new_faults=tuple(Fault(*fault) for fault in line["new_faults"]),
    )
