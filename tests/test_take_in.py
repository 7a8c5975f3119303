"""An import job's process: what it leaves, what it tells, and one sentence where the file is not taken."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_exchange_on_worker import SIZES, ckpt

from app.contract.config import RunConfig
from worker import checkpoint, convert, give_out, take_in
from worker.journal import read


def done(module: Any, folder: Path, **config: Any) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and the journal's frames."""
    folder.mkdir()
    journal = folder / "journal" / "a1.journal"
    (folder / "config.json").write_text(json.dumps(config | {"journal": str(journal)}, default=str))
    return module.main([str(folder)]), read(journal, 0)[0]


def told(frames: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: value for frame in frames for key, value in frame.get("t", {}).items()}


def taken(tmp_path: Path, source: Path, **config: Any) -> tuple[int, list[dict[str, Any]]]:
    asked = {"run": "r-0007", "run_dir": tmp_path / "runs" / "r-0007", "format": "nanogpt", "source": source}
    return done(take_in, tmp_path / "job", **asked | config)


def test_the_checkpoint_lies_where_the_runs_own_would_and_is_told_before_the_end(tmp_path: Path) -> None:
    ckpt(tmp_path / "ckpt.pt", 320)
    exit, frames = taken(tmp_path, tmp_path / "ckpt.pt", vocab_size=257)
    assert exit == 0
    manifest = checkpoint.verify(tmp_path / "runs/r-0007/checkpoints/a1/step-00000250")
    assert manifest["run"] == "r-0007"
    (event,) = [frame["e"] for frame in frames if "e" in frame]
    assert (event["kind"], event["step"], event["data"]["val_loss"], event["data"]["manifest"]) == (
        "checkpoint",
        250,
        2.5,
        manifest,
    )
    words = told(frames)
    assert (words["outcome"], words["imported_step"], words["vocab_size"]) == ("finished", 250, 320)
    assert RunConfig.model_validate(words["config"]).schedule.lr == 0.01


@pytest.mark.parametrize(
    ("rows", "vocab_size", "says"),
    [(64, 257, "64 rows for tokens, the dataset's vocabulary 257 entries"), (384, 257, "384 rows for tokens")],
)
def test_a_vocabulary_that_is_not_the_datasets_is_refused(
    tmp_path: Path, rows: int, vocab_size: int, says: str
) -> None:
    ckpt(tmp_path / "ckpt.pt", rows)
    exit, frames = taken(tmp_path, tmp_path / "ckpt.pt", vocab_size=vocab_size)
    assert (exit, told(frames)["outcome"]) == (1, "failed")
    assert says in told(frames)["detail"]
    assert not [frame for frame in frames if "e" in frame], "no checkpoint is told"


def test_a_file_that_is_none_is_refused_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ckpt.pt").write_bytes(b"PK\3\4 nothing")
    exit, frames = taken(tmp_path, tmp_path / "ckpt.pt")
    assert exit == 1
    assert "is not a whole zip archive" in told(frames)["detail"]
    assert capsys.readouterr().err.count("\n") == 1


def test_gpt2s_files_go_out_and_come_back(tmp_path: Path) -> None:
    ckpt(tmp_path / "ckpt.pt", 320)
    source = Path(convert.take_nanogpt(tmp_path / "ckpt.pt", tmp_path / "one").saved.path)
    (tmp_path / "out").mkdir()
    exit, frames = done(give_out, tmp_path / "export", checkpoint=source, format="gpt2", out=tmp_path / "out")
    assert (exit, told(frames)["detail"]) == (0, "the weights of step 250.")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "model.safetensors"]
    exit, frames = taken(tmp_path, tmp_path / "out", format="gpt2")
    assert (exit, told(frames)["imported_step"]) == (0, 0)
    weights, _, _ = checkpoint.load(source)
    again, _, state = checkpoint.load(tmp_path / "runs/r-0007/checkpoints/a1/step-00000000")
    assert all((again[name] == tensor).all() for name, tensor in weights.items())
    assert state["config"]["model"]["n_layer"] == SIZES["n_layer"]


def test_a_model_that_the_other_project_has_not_is_refused_with_its_switch(tmp_path: Path) -> None:
    ckpt(tmp_path / "ckpt.pt", 320)
    source = convert.take_nanogpt(tmp_path / "ckpt.pt", tmp_path / "one").saved.path
    state = json.loads((source / checkpoint.STATE).read_text())
    state["config"]["model"]["qk_norm"] = True
    (source / checkpoint.STATE).write_text(json.dumps(state))
    manifest = json.loads((source / checkpoint.MANIFEST).read_text())
    manifest["files"] = [checkpoint._describe(source / file["name"]) for file in manifest["files"]]
    (source / checkpoint.MANIFEST).write_text(json.dumps(manifest))
    (tmp_path / "out").mkdir()
    exit, frames = done(give_out, tmp_path / "export", checkpoint=source, format="nanogpt", out=tmp_path / "out")
    assert exit == 1
    assert "QK norm = True, which GPT-2 has not" in told(frames)["detail"]
    assert not list((tmp_path / "out").iterdir())
