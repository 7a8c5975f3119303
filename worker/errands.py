"""A job's errands: the files its child needs, brought here before it starts, and what it made, handed over at its end.

Each method may wait for the network; the assignment calls them in a thread of their own. What cannot be had is
CannotStart, whose message is for a person.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from app.contract import ids
from app.contract.exchange import GPT2_FILES
from app.contract.protocol import Claim
from app.contract.states import JobKind
from worker import data_roots, datasets, journal, transfer
from worker.client import Client
from worker.courier import Ending
from worker.folders import REPORT, CannotStart, checkpoint_folder, last_words, write_durably

HANDED_OVER = frozenset({JobKind.prepare, JobKind.export, JobKind.report})
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
            case JobKind.sample:
                return self._sampling()
            case JobKind.adopt:
                return self._taking_in()
            case JobKind.export:
                return self._giving_out()
            case JobKind.report:
                return self._reading()
        raise CannotStart(f"This worker does not know how to {self.claim.kind}.")

    def hand_over(self) -> Ending:
        """What the child made goes where it is needed; how the job ends then."""
        assert self.claim.kind in HANDED_OVER, f"nothing of a {self.claim.kind} job is handed over"
        if self.claim.kind == JobKind.report:
            return Ending("finished", 0, None, json.loads((self.place.folder / REPORT).read_bytes()))
        if self.claim.kind == JobKind.export:
            return self._send_exported()
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
            "resume": self._resume(), "fork": (claim.resume or {}).get("fork"), "device": self.place.device,
            "numeric_path": claim.numeric_path,
        }  # fmt: skip

    def _resume(self) -> str | None:
        """The folder of the checkpoint to go on from; fetched when another worker made it.

        A fork keeps the checkpoint it starts from among its own, as attempt 0's: its parent may delete the original.
        """
        manifest = self.claim.resume
        if manifest is None:
            return None
        attempt, step, run = int(manifest["attempt"]), int(manifest["step"]), str(manifest.get("run", self.claim.run))
        forks = run != self.claim.run
        folder = checkpoint_folder(self.place.folder, 0 if forks else attempt, step)
        if not (folder / "manifest.json").exists():
            if not self.claim.files:
                raise CannotStart(
                    f"The checkpoint of step {step} is neither on this worker nor on the server; send it to the server first."
                )
            if forks and not re.fullmatch(ids.PATTERN, run):
                raise CannotStart(f"The claim's checkpoint is of a run {run!r}, which is not an id.")
            original = checkpoint_folder(self.place.home / "runs" / run, attempt, step)
            self._say(lambda notes: notes.event("phase", text="fetching the checkpoint"))
            for file in self.claim.files:
                if not datasets.FILE_NAME.fullmatch(file.name):
                    raise CannotStart(f"The checkpoint names a file {file.name!r} that no worker may write.")
                target = folder / file.name
                if not (forks and datasets.linked(original / file.name, target, file.sha256)):
                    datasets.bring(file.sha256, target, self._client, self.place.store, self._wait)
            if forks:  # kept for nothing of its own: it goes once the fork has saved its start
                manifest = manifest | {"attempt": 0, "kept": "start", "reasons": []}
            write_durably(folder / "manifest.json", json.dumps(manifest).encode())  # last: it says the rest is whole
        return str(folder)

    def _sampling(self) -> dict[str, Any]:
        manifest, tokenizer_dir = self.claim.manifest, self.place.home
        if manifest is not None:
            tokenizer_dir = datasets.tokenizer_folder(
                manifest, self.place.home, self._client, self.place.store, self._wait
            )
        return {
            "checkpoint": str(self._checkpoint()), "tokenizer": manifest["tokenizer"] if manifest else None,
            "tokenizer_dir": str(tokenizer_dir), "settings": self.claim.config,
        }  # fmt: skip

    def _checkpoint(self) -> Path:
        """A checkpoint to read: where its run has left it, else brought into the job's own folder."""
        claim = self.claim
        assert claim.run is not None, "the claim names no run"
        assert claim.resume is not None, "the claim names no checkpoint"
        step = int(claim.resume["step"])
        folder = checkpoint_folder(self.place.home / "runs" / claim.run, int(claim.resume["attempt"]), step)
        if (folder / "manifest.json").exists():
            return folder
        folder = self.place.folder / folder.name
        for file in claim.files:
            if not datasets.FILE_NAME.fullmatch(file.name):
                raise CannotStart(f"The checkpoint names a file {file.name!r} that no worker may write.")
            try:
                datasets.bring(file.sha256, folder / file.name, self._client, self.place.store, self._wait)
            except datasets.DatasetUnavailable:
                raise CannotStart(
                    f"The checkpoint of step {step} is neither on this worker nor on the server any more."
                ) from None
        write_durably(folder / "manifest.json", json.dumps(claim.resume).encode())
        return folder

    def _taking_in(self) -> dict[str, Any]:
        """For a checkpoint from elsewhere: its files, uploaded or found here, under the names they are known by."""
        claim, place = self.claim, self.place
        assert claim.run is not None, "the claim names no run"
        folder = place.folder / "files"
        folder.mkdir(exist_ok=True)
        names = ("ckpt.pt",) if claim.config["format"] == "nanogpt" else GPT2_FILES
        for source in claim.config["files"]:
            name = source["name"] if len(names) > 1 else names[0]
            if name not in names:
                raise CannotStart(f"{name!r} is none of {', '.join(names)}.")
            (folder / name).unlink(missing_ok=True)
            if source.get("sha256"):
                if not datasets.SHA256.fullmatch(source["sha256"]):
                    raise CannotStart("A file's sha256 is not one.")
                datasets.bring(source["sha256"], folder / name, self._client, place.store, self._wait)
            else:
                (folder / name).symlink_to(data_roots.file_at(source["path"], place.data_roots))
        return {
            "run": claim.run, "run_dir": str(place.home / "runs" / claim.run), "format": claim.config["format"],
            "source": str(folder / names[0] if len(names) == 1 else folder),
            "vocab_size": claim.manifest["tokenizer"]["vocab_size"] if claim.manifest else None,
        }  # fmt: skip

    def _giving_out(self) -> dict[str, Any]:
        out = self.place.folder / "out"
        out.mkdir(exist_ok=True)
        return {"checkpoint": str(self._checkpoint()), "format": self.claim.config["format"], "out": str(out)}

    def _send_exported(self) -> Ending:
        """The files that were made go to the server, which tells people where."""
        said = last_words(self.place.journal_path).telemetry
        files = []
        for path in sorted((self.place.folder / "out").iterdir()):
            sha256 = transfer.send(path, "checkpoint", self._client, self.place.store, self._wait)
            files.append({"name": path.name, "sha256": sha256, "bytes": path.stat().st_size})
        return Ending("finished", 0, None, {"files": files, "detail": said.get("detail", "")})

    def _reading(self) -> dict[str, Any]:
        """For a quality report: the prepared dataset, as for training."""
        manifest = self.claim.manifest
        if manifest is None:
            raise CannotStart("The claim names no dataset manifest.")
        if not datasets.folder_of(self.place.home, manifest).exists():
            self._say(lambda notes: notes.telemetry(phase="fetching"))
        folder = datasets.ensure(manifest, self.place.home, self._client, self.place.store, self._wait)
        return {"dataset": self.claim.dataset, "dataset_dir": str(folder)}

    def _preparation(self) -> dict[str, Any]:
        named: list[data_roots.Named] = []
        for source in self.claim.config.get("files") or []:
            if source.get("sha256"):
                if not datasets.SHA256.fullmatch(source["sha256"]):
                    raise CannotStart("A source file's sha256 is not one.")
                path = self.place.folder / "files" / source["sha256"]
                if not path.exists():
                    self._say(lambda notes: notes.telemetry(phase="fetching"))
                    datasets.bring(source["sha256"], path, self._client, self.place.store, self._wait)
                named.append(data_roots.Named(source["name"], path))
            else:
                kind = self.claim.config["kind"]
                named += data_roots.files_at(source["name"], source["path"], self.place.data_roots, kind)
        out = self.place.folder / "out"
        out.mkdir(exist_ok=True)
        return {
            "dataset": self.claim.dataset, "attempt": self.claim.attempt, "spec": self.claim.config,
            "files": [str(file.path) for file in named], "names": [file.name for file in named], "out": str(out),
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

    def free(self) -> Ending:
        """Delete a dataset's folder, which the server has deleted; says how many bytes the disk has back."""
        sha256 = str(self.claim.config.get("manifest_sha256"))
        if not datasets.SHA256.fullmatch(sha256):
            raise CannotStart("The claim names no manifest's sha256.")
        return Ending("finished", 0, None, {"bytes": datasets.delete(sha256, self.place.home)})

    def say(self, lines: Sequence[tuple[str, str]]) -> None:
        """(text, level) to the run's log, once its child has ended."""

        def lines_of(notes: journal.Journal) -> None:
            for text, level in lines:
                notes.log(text, level)

        self._say(lines_of)

    def _say(self, what: Callable[[journal.Journal], None]) -> None:
        """A frame of the agent's own, only while no child writes: a file has one writer at a time."""
        notes = journal.Journal(self.place.journal_path)
        what(notes)
        notes.close()
