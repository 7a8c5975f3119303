"""A job's errands: the files its child needs, brought here before it starts, and what it made, handed over at its end.

Each method may wait for the network; the assignment calls them in a thread of their own. What cannot be had is
CannotStart, whose message is for a person.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from app.contract.protocol import Claim
from app.contract.states import JobKind
from worker import datasets, journal, transfer
from worker.client import Client
from worker.courier import Ending
from worker.folders import CannotStart, checkpoint_folder, under_roots, write_durably

HANDED_OVER = frozenset({JobKind.prepare})
"""Kinds of work whose child leaves files behind that somebody else needs."""


class Place(NamedTuple):
    """Where a job's things lie, and what of this machine it may use."""

    folder: Path
    journal_path: Path
    home: Path
    store: Path | None  #: the server's artifact folder, where it is on the same disk
    data_roots: Sequence[Path]
    device: str


class Errands:
    def __init__(self, claim: Claim, place: Place, client: Client, wait: Callable[[float], bool]) -> None:
        self.claim = claim
        self.place = place
        self._client = client
        self._wait = wait

    def inputs(self) -> dict[str, Any]:
        """The child's config.json, once everything it names is here."""
        match self.claim.kind:
            case JobKind.train:
                return self._training()
            case JobKind.prepare:
                return self._preparation()
        raise CannotStart(f"This worker does not know how to {self.claim.kind}.")

    def hand_over(self) -> Ending:
        """What the child made goes where it is needed; how the job ends then."""
        assert self.claim.kind == JobKind.prepare, f"nothing of a {self.claim.kind} job is handed over"
        return self._keep_dataset()

    def _training(self) -> dict[str, Any]:
        claim = self.claim
        if claim.manifest is None:
            raise CannotStart("The claim names no dataset manifest.")
        if not datasets.folder_of(self.place.home, claim.manifest).exists():
            self._say(lambda notes: notes.event("phase", text="fetching the dataset"))
        dataset_dir = datasets.ensure(claim.manifest, self.place.home, self._client, self.place.store, self._wait)
        return {
            "run": claim.run, "attempt": claim.attempt, "config": claim.config, "dataset_dir": str(dataset_dir),
            "resume": self._resume(), "device": self.place.device,
        }  # fmt: skip

    def _resume(self) -> str | None:
        """The folder of the checkpoint to go on from; fetched when another worker made it."""
        manifest = self.claim.resume
        if manifest is None:
            return None
        folder = checkpoint_folder(self.place.folder, int(manifest["attempt"]), int(manifest["step"]))
        if not (folder / "manifest.json").exists():
            if not self.claim.files:
                raise CannotStart(
                    f"The checkpoint of step {manifest['step']} is neither on this worker nor on the server; send it to the server first."
                )
            self._say(lambda notes: notes.event("phase", text="fetching the checkpoint"))
            for file in self.claim.files:
                if not datasets.FILE_NAME.fullmatch(file.name):
                    raise CannotStart(f"The checkpoint names a file {file.name!r} that no worker may write.")
                datasets.bring(file.sha256, folder / file.name, self._client, self.place.store, self._wait)
            write_durably(folder / "manifest.json", json.dumps(manifest).encode())  # last: it says the rest is whole
        return str(folder)

    def _preparation(self) -> dict[str, Any]:
        paths = []
        for source in self.claim.config.get("files") or []:
            if source.get("sha256"):
                if not datasets.SHA256.fullmatch(source["sha256"]):
                    raise CannotStart("A source file's sha256 is not one.")
                path = self.place.folder / "files" / source["sha256"]
                if not path.exists():
                    self._say(lambda notes: notes.telemetry(phase="fetching"))
                    datasets.bring(source["sha256"], path, self._client, self.place.store, self._wait)
                paths.append(path)
            else:
                paths.append(under_roots(source["path"], self.place.data_roots))
        out = self.place.folder / "out"
        out.mkdir(exist_ok=True)
        return {
            "dataset": self.claim.dataset, "attempt": self.claim.attempt, "spec": self.claim.config,
            "files": [str(path) for path in paths], "out": str(out),
        }  # fmt: skip

    def _keep_dataset(self) -> Ending:
        """A preparation is done: keep the folder here, send its files, report the manifest."""
        self._say(lambda notes: notes.telemetry(phase="sending", share=None))
        manifest, folder = datasets.adopt(self.place.folder / "out", self.place.home)
        for name, file_sha256, kind in datasets.files_of(manifest):
            transfer.send(folder / name, kind, self._client, self.place.store, self._wait, file_sha256)
        return Ending("finished", 0, None, manifest)

    def send_checkpoint(self) -> Ending:
        """Only files of a checkpoint folder of this run, named by numbers and plain names, ever leave this worker."""
        assert self.claim.run is not None, "a send claim names its run"
        wanted = self.claim.config or self.claim.resume or {}
        folder = checkpoint_folder(
            self.place.home / "runs" / self.claim.run, int(wanted["attempt"]), int(wanted["step"])
        )
        for file in self.claim.files:
            if not datasets.FILE_NAME.fullmatch(file.name):
                raise CannotStart(f"No checkpoint has a file {file.name!r}.")
            if not (folder / file.name).is_file():
                raise CannotStart(f"{file.name} of step {wanted['step']} is no longer on this worker.")
            sent = transfer.send(folder / file.name, "checkpoint", self._client, self.place.store, self._wait)
            if sent != file.sha256:
                raise CannotStart(f"{file.name} of step {wanted['step']} has changed since it was saved.")
        return Ending("finished")

    def _say(self, what: Callable[[journal.Journal], None]) -> None:
        """A frame of the agent's own, only while no child writes: a file has one writer at a time."""
        notes = journal.Journal(self.place.journal_path)
        what(notes)
        notes.close()
