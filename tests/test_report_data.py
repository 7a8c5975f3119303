"""The reading program: as a job of the agent, and by hand on a prepared folder."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, environment, wait_until

from app.contract.quality import QualityReport
from tests.prepared import dataset, ids_of, sentences
from worker import journal

COMMAND = [sys.executable, "-m", "worker.report_data"]


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    dataset(tmp_path / "data", ids_of(sentences(200)), ids_of(sentences(40, seed=1)))
    return tmp_path / "data"


def job(tmp_path: Path, prepared: Path) -> Path:
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"dataset": "d-0001", "dataset_dir": str(prepared)}))
    return folder


def started(folder: Path) -> subprocess.Popen[bytes]:
    command = [*COMMAND, str(folder), "--attempt", "2"]
    return subprocess.Popen(command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stderr=subprocess.PIPE)


def told(folder: Path) -> dict[str, Any]:
    path = folder / "journal" / "a2.journal"
    frames = journal.read(path, 0)[0] if path.exists() else []
    return {key: value for frame in frames for key, value in frame.get("t", {}).items()}


def test_a_job_leaves_its_report_and_its_progress(tmp_path: Path, prepared: Path) -> None:
    folder = job(tmp_path, prepared)
    with started(folder) as process:
        assert process.wait(60) == 0, process.stderr.read() if process.stderr else ""
    made = QualityReport.model_validate_json((folder / "report.json").read_bytes())
    assert made.train.documents == 200
    frames = journal.read(folder / "journal" / "a2.journal", 0)[0]
    phases = [frame["t"]["phase"] for frame in frames if "phase" in frame.get("t", {})]
    assert list(dict.fromkeys(phases)) == ["tokens", "text", "near"]
    assert told(folder)["outcome"] == "finished"


def test_a_damaged_dataset_is_told_in_a_sentence(tmp_path: Path, prepared: Path) -> None:
    (prepared / "val-000.bin").unlink()
    folder = job(tmp_path, prepared)
    with started(folder) as process:
        assert process.wait(60) == 1
        assert process.stderr is not None
        last = process.stderr.read().decode().splitlines()[-1]
    assert last.startswith("val-000.bin is missing or not ")
    assert told(folder)["detail"] == last
    assert not (folder / "report.json").exists()


@pytest.mark.parametrize(("word", "exit", "outcome"), [("stop", 0, "stopped"), ("SIGTERM", 75, "requeue")])
def test_it_ends_when_told(tmp_path: Path, word: str, exit: int, outcome: str) -> None:
    ids = np.random.default_rng(0).integers(0, 256, 20_000_000).astype(np.uint16)  # some ten seconds of work
    dataset(tmp_path / "data", ids, ids[:1000])
    folder = job(tmp_path, tmp_path / "data")
    with started(folder) as process:
        wait_until(lambda: told(folder).get("phase") == "tokens", 60)
        if word == "stop":
            assert process.stdin is not None
            process.stdin.write(b"stop\n")
            process.stdin.flush()
        else:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == exit
    assert told(folder)["outcome"] == outcome


def test_by_hand_it_prints_the_report_of_a_prepared_folder(prepared: Path, tmp_path: Path) -> None:
    answer = subprocess.run([*COMMAND, str(prepared)], cwd=ROOT, capture_output=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    assert QualityReport.model_validate_json(answer.stdout).val.documents == 40
    answer = subprocess.run([*COMMAND, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 1
    assert "holds no prepared dataset" in answer.stderr
