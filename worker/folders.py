"""Where a worker's things lie in its home, and which names may become part of a path.

runs/<run>/     config.json, journal/a<attempt>.{journal,claim.json}, checkpoints/, stdout.log
jobs/<job>/     the same for a preparation, with files/ and out/; for a quality report, with report.json
datasets/<start of the manifest's sha256>/
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from app.contract import ids
from app.contract.protocol import Claim
from app.contract.states import JobKind
from worker import journal
from worker.client import WorkerError

REPORT = "report.json"


class CannotStart(WorkerError):
    """Something this job needs cannot be had on this worker."""


def folder_of(claim: Claim, home: Path) -> Path:
    """The claim's folder. Raises CannotStart unless its ids are ids: they become names of folders."""
    train = claim.kind == JobKind.train
    name = claim.run if train else claim.job
    if not re.fullmatch(ids.PATTERN, name or "") or (claim.run and not re.fullmatch(ids.PATTERN, claim.run)):
        raise CannotStart(f"The claim's id {name!r} is not an id.")
    return home / ("runs" if train else "jobs") / str(name)


def checkpoint_folder(run_folder: Path, attempt: int, step: int) -> Path:
    return run_folder / "checkpoints" / f"a{attempt}" / f"step-{step:08d}"


def claim_path(journal_path: Path) -> Path:
    return journal_path.with_suffix(".claim.json")


def left_behind(home: Path) -> Iterator[tuple[Claim, int]]:
    """(claim, start of its log lines) of every claim an earlier agent did not see to its end."""
    for path in sorted(home.glob("*/*/journal/*.claim.json")):
        with contextlib.suppress(ValueError, KeyError):  # torn by a power cut: its lease runs out by itself
            note = json.loads(path.read_bytes())
            yield Claim.model_validate(note["claim"]), int(note["log_start"])


class LastWords(NamedTuple):
    """What the end of a journal says."""

    telemetry: dict[str, Any]
    step: int | None
    errors: list[str]  #: log lines of level error, and alarms

    @property
    def summary(self) -> dict[str, Any]:
        return {**self.telemetry, "step": self.step}


def last_words(journal_path: Path) -> LastWords:
    """The newest telemetry, step and complaints of a journal that nobody writes any more."""
    telemetry: dict[str, Any] = {}
    step = None
    errors = []
    for frame in journal.tail(journal_path):
        telemetry.update(frame.get("t", {}))
        step = frame["p"][0] if "p" in frame else step
        if "l" in frame and frame["l"][1] == "error":
            errors.append(frame["l"][2])
        elif "e" in frame and frame["e"]["kind"] == "alarm":
            errors.append(frame["e"]["text"])
    return LastWords(telemetry, step, errors)


def write_durably(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
