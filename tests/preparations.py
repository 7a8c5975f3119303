"""Preparations that a test starts: in this process, or as the program that the agent starts."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from conftest import ROOT, environment

from app.contract.dataset import DatasetSpec, Manifest, Split
from worker import journal, tokenizers
from worker.journal import NullJournal
from worker.prepare import prepare
from worker.progress import Progress, Stopped

Frames = list[dict[str, Any]]


def spec_of(kind: str, *files: Path, **given: Any) -> DatasetSpec:
    named = [{"name": file.name, "path": str(file)} for file in files]
    return DatasetSpec.model_validate({"name": "x", "kind": kind, "files": named, **given})


def prepared(
    out: Path,
    spec: DatasetSpec,
    *files: Path,
    threads: int = 2,
    ranks: Path | None = None,
    home: Path | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """A preparation in a home of its own, unless one is given."""

    def read_ranks(kind: str) -> tokenizers.Ranks:
        assert ranks is not None, f"{kind} needs no ranks"
        return tokenizers.read_ranks(ranks.read_bytes())

    return prepare(
        spec, files, out, home=home or out.parent / f"{out.name}-home", find_ranks=read_ranks, threads=threads,
        progress=progress or Progress(NullJournal()),
    )  # fmt: skip


class Told:
    """A journal that keeps the telemetry."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []

    def telemetry(self, **values: Any) -> None:
        self.all.append(dict(values))

    @property
    def came_by(self) -> str:
        return str(self.all[-1]["came_by"])


def ids_of(out: Path, manifest: Manifest, split: Split) -> np.ndarray[Any, Any]:
    return np.concatenate([np.fromfile(out / shard.file, np.dtype(manifest.dtype)) for shard in split.shards])


def job(tmp_path: Path, spec: dict[str, Any], *files: Path) -> Path:
    folder = tmp_path / "job"
    folder.mkdir()
    config = {"dataset": "d-0001", "spec": spec, "files": [str(file) for file in files], "out": str(folder / "out")}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def started(folder: Path, attempt: int = 2) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "worker.prepare", str(folder), "--attempt", str(attempt)]
    env = environment(worker_home=folder / "home")
    return subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stderr=subprocess.PIPE)


def frames(folder: Path, attempt: int = 2) -> Frames:
    return journal.read(folder / "journal" / f"a{attempt}.journal", 0)[0]


def check_files(out: Path, manifest: Manifest) -> None:
    """Every file is as the manifest says, and there is none besides."""
    names = {"manifest.json"} | ({manifest.tokenizer.file} - {None})
    for split in (manifest.train, manifest.val):
        assert split.tokens == sum(shard.tokens for shard in split.shards)
        for shard in split.shards:
            content = (out / shard.file).read_bytes()
            assert (shard.bytes, shard.sha256) == (len(content), hashlib.sha256(content).hexdigest())
            names.add(shard.file)
    assert {path.name for path in out.iterdir()} == names


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class StopsAt(Progress):
    """Asks for an end at the count-th sign of a phase."""

    def __init__(self, phase: str, count: int) -> None:
        super().__init__(NullJournal())
        self._phase, self._left = phase, count

    def phase(self, name: str, **given: Any) -> None:
        self._now_in = name

    def at(self, share: float, **counts: int) -> None:
        self._left -= self._now_in == self._phase
        if self._left < 0:
            raise Stopped("stopped")


def many_documents(path: Path) -> Path:
    """1,200 row groups of three documents: two seconds of work, most of it between the units."""
    values = [f"Document {i} says {' '.join(str(i * n % 9973) for n in range(200))}." for i in range(3600)]
    pq.write_table(pa.table({"text": values}), path, row_group_size=3)
    return path


def some_documents(path: Path) -> Path:
    """700 documents and two empty ones, in row groups of 100."""
    values = [f"Document {i} has words: {' '.join(str(i * n) for n in range(40))}." for i in range(700)]
    pq.write_table(pa.table({"text": [*values, None, ""]}), path, row_group_size=100)
    return path
