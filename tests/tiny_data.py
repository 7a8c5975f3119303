"""A prepared dataset of a few thousand tokens that a model can learn, and runs of twelve steps on it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.contract.config import RunConfig
from app.contract.protocol import Event
from worker import checkpoint, train
from worker.commands import Commands
from worker.engine import Job
from worker.journal import Journal, read

Points = dict[int, dict[str, float]]  # step → key → value

VOCAB = 50
TINY_MODEL = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 16}


def tokens(count: int, seed: int) -> np.ndarray:
    """A walk: the next token is the last plus 1, 2 or 3, so that there is something to learn."""
    return np.cumsum(np.random.default_rng(seed).integers(1, 4, count)) % VOCAB


def write_dataset(folder: Path, train: int = 6000, val: int = 1200, shards: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)

    def split(name: str, ids: np.ndarray, parts: int) -> dict[str, Any]:
        described = []
        for index, part in enumerate(np.array_split(ids.astype("<u2"), parts)):
            file = folder / f"{name}-{index:03d}.bin"
            file.write_bytes(part.tobytes())
            sha256 = hashlib.sha256(part.tobytes()).hexdigest()
            described.append({"file": file.name, "sha256": sha256, "bytes": part.nbytes, "tokens": len(part)})
        return {"tokens": len(ids), "documents": 1, "text_bytes": 2 * len(ids), "shards": described}

    manifest = {
        "version": 1,
        "spec": {"name": "walk", "kind": "text", "files": [{"name": "walk.txt", "path": "walk.txt"}]},
        "sources": [],
        "tokenizer": {"kind": "characters", "vocab_size": VOCAB, "eot": None, "sha256": "0" * 64},
        "dtype": "uint16",
        "train": split("train", tokens(train, 1), shards),
        "val": split("val", tokens(val, 2), 1),
        "bytes_per_token": 2.0,
        "unigram_entropy": float(np.log(VOCAB)),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def run_config(**sections: dict[str, Any]) -> dict[str, Any]:
    """A run of 12 steps that takes well under a second."""
    base: dict[str, dict[str, Any]] = {
        "model": {**TINY_MODEL},
        "batch": {"micro_batch": 4, "accumulation": 2},
        "schedule": {"steps": 12, "lr": 3e-3, "min_lr": 3e-4, "warmup_steps": 2},
        "eval": {"every": 4, "windows": 8},
        "system": {"device": "cpu", "threads": 1},
    }
    return {name: base.get(name, {}) | sections.get(name, {}) for name in base | sections}


class Run:
    """One run's folder, its attempts, and what their journals say."""

    def __init__(self, folder: Path, **sections: dict[str, Any]) -> None:
        self.folder = folder / "run"
        self.dataset = write_dataset(folder / "data") if not (folder / "data").exists() else folder / "data"
        self.config = run_config(**sections)
        self.numeric_path: dict[str, Any] | None = None  # a sibling's

    def job(self, attempt: int = 1, resume: Path | None = None) -> Job:
        return Job(
            run="r-0001", attempt=attempt, config=RunConfig.model_validate(self.config), dataset_dir=self.dataset,
            resume=resume, device="cpu", numeric_path=self.numeric_path,
        )  # fmt: skip

    def attempt(self, number: int = 1, resume: Path | None = None, commands: Commands | None = None) -> int:
        journal = Journal(self.journal(number))
        try:
            return train.attempt(self.folder, self.job(number, resume), journal, commands or Commands())
        finally:
            journal.close()

    def until_killed(self, step: int, number: int = 1) -> None:
        """An attempt that ends like a kill: in the middle of the step after `step`, without a word."""
        journal = Journal(self.journal(number))
        training = train.Training(self.folder, self.job(number), journal, Commands())
        points = journal.points

        class Killed(Exception):
            pass

        def counted(at: int, values: dict[str, float]) -> None:
            if at > step:
                training.keeper.wait()  # a kill would end its thread; here the checkpoints before are simply whole
                raise Killed
            points(at, values)

        journal.points = counted  # type: ignore[method-assign]
        with pytest.raises(Killed):
            training.run()
        journal.close()

    def journal(self, attempt: int = 1) -> Path:
        return self.folder / "journal" / f"a{attempt}.journal"

    def frames(self, kind: str, attempt: int = 1) -> list[Any]:
        return [frame[kind] for frame in read(self.journal(attempt), 0)[0] if kind in frame]

    def points(self, attempt: int = 1) -> Points:
        merged: Points = {}
        for step, values in self.frames("p", attempt):
            merged.setdefault(step, {}).update(values)
        return merged

    def events(self, kind: str, attempt: int = 1) -> list[Event]:
        return [event for event in map(Event.model_validate, self.frames("e", attempt)) if event.kind == kind]

    def telemetry(self, attempt: int = 1) -> dict[str, Any]:
        return {key: value for frame in self.frames("t", attempt) for key, value in frame.items()}

    def on_disk(self) -> list[tuple[int, int, str]]:
        return [(c.attempt, c.step, c.manifest["kept"]) for c in checkpoint.found(self.folder)]

    def checkpoint(self, step: int, attempt: int = 1) -> Path:
        return checkpoint.folder(self.folder, attempt, step)
