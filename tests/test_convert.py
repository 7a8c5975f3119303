"""python -m worker.convert: there and back, and one clear sentence where it cannot be."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_data import Run

from worker import checkpoint, convert


def converted(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What it says on success."""
    assert convert.main([str(argument) for argument in arguments]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert convert.main([str(argument) for argument in arguments]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1, "one line, no traceback"
    return told.err


def short_run(tmp_path: Path, **sections: dict[str, Any]) -> Run:
    run = Run(tmp_path, **{"schedule": {"steps": 8}, "checkpoint": {"every": 4}} | sections)
    assert run.attempt() == 0
    return run


def later_losses(run: Run, resume: Path, attempt: int) -> list[float]:
    assert run.attempt(attempt, resume=resume) == 0
    return [run.points(attempt)[step]["train/loss"] for step in range(5, 9)]


def test_to_nanogpt_and_back_goes_on_with_the_same_losses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = short_run(tmp_path)
    told = converted(capsys, "to-nanogpt", run.checkpoint(4), tmp_path / "ckpt.pt")
    assert "step 4, with AdamW's moments" in told
    theirs = torch.load(tmp_path / "ckpt.pt", weights_only=True)
    assert theirs["iter_num"] == 4
    assert theirs["model_args"] == {
        "n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 16, "bias": False, "dropout": 0.0, "vocab_size": 64,
    }  # fmt: skip
    assert theirs["config"]["lr_decay_iters"] == theirs["config"]["max_iters"] == 8

    told = converted(capsys, "from-nanogpt", tmp_path / "ckpt.pt", tmp_path / "imported")
    imported = tmp_path / "imported" / "checkpoints" / "a1" / "step-00000004"
    assert told.startswith(str(imported))
    checkpoint.verify(imported)
    weights, others, state = checkpoint.load(imported)
    ours, our_others, _ = checkpoint.load(run.checkpoint(4))
    assert all(torch.equal(weights[name], tensor) for name, tensor in ours.items())
    assert all(torch.equal(others[key], tensor) for key, tensor in our_others.items() if not key.startswith("rng/"))
    assert state["config"]["schedule"]["lr"] == 3e-3
    assert state["config"]["model"]["pad_vocab"] is True

    expected = [run.points()[step]["train/loss"] for step in range(5, 9)]
    assert later_losses(run, imported, 2) == expected


def test_a_ckpt_that_runs_code_is_refused_without_running_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'it-ran'}",)

    torch.save({"model": {}, "model_args": {}, "iter_num": 1, "config": Evil()}, tmp_path / "ckpt.pt")
    told = refused(capsys, "from-nanogpt", tmp_path / "ckpt.pt", tmp_path / "imported")
    assert "asks for posix.system" in told
    assert "It was not run." in told
    assert not (tmp_path / "it-ran").exists()
    assert not (tmp_path / "imported").exists()


def test_settings_that_are_not_possible_here_cost_only_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = short_run(tmp_path)
    converted(capsys, "to-nanogpt", run.checkpoint(4), tmp_path / "ckpt.pt")
    content = torch.load(tmp_path / "ckpt.pt", weights_only=True)
    content["config"]["min_lr"] = 1.0
    torch.save(content, tmp_path / "ckpt.pt")
    told = converted(capsys, "from-nanogpt", tmp_path / "ckpt.pt", tmp_path / "imported")
    assert "Its settings were not taken: schedule.min_lr: The floor 1.0 is above the peak" in told


def test_to_gpt2_and_back_keeps_every_weight(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = short_run(tmp_path, model={"bias": True})
    told = converted(capsys, "to-gpt2", run.checkpoint(8), tmp_path / "gpt2")
    assert told == f"{tmp_path / 'gpt2'}: the weights of step 8.\n"
    converted(capsys, "from-gpt2", tmp_path / "gpt2", tmp_path / "imported")
    imported = tmp_path / "imported" / "checkpoints" / "a1" / "step-00000000"
    weights, others, state = checkpoint.load(imported)
    ours = checkpoint.load(run.checkpoint(8))[0]
    assert weights.keys() == ours.keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in ours.items())
    assert list(others) == ["rng/cpu"]
    assert run.attempt(2, resume=imported) == 0, "a run can start from them"
    assert run.points(2)[1]["train/loss"] < run.points()[1]["train/loss"]
    assert state["config"]["model"]["bias"] is True


def test_models_that_the_other_side_lacks_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = short_run(tmp_path, model={"qk_norm": True})
    for command in ("to-nanogpt", "to-gpt2"):
        told = refused(capsys, command, run.checkpoint(8), tmp_path / "out")
        assert "The model has QK norm = True, which GPT-2 has not." in told
    assert not (tmp_path / "out").exists()


def test_moments_of_another_optimiser_are_left_behind_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = short_run(tmp_path, optim={"optimizer": "muon"})
    told = converted(capsys, "to-nanogpt", run.checkpoint(8), tmp_path / "ckpt.pt")
    assert "without moments: nanoGPT's optimiser starts anew" in told
    assert torch.load(tmp_path / "ckpt.pt", weights_only=True)["optimizer"]["state"] == {}


def test_what_is_missing_or_damaged_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "ckpt.pt: " in refused(capsys, "from-nanogpt", tmp_path / "ckpt.pt", tmp_path / "out")
    (tmp_path / "ckpt.pt").write_bytes(b"PK")
    assert "is not a whole zip archive" in refused(capsys, "from-nanogpt", tmp_path / "ckpt.pt", tmp_path / "out")
    assert "has no model.safetensors" in refused(capsys, "from-gpt2", tmp_path, tmp_path / "out")
    run = short_run(tmp_path)
    model = run.checkpoint(8) / checkpoint.MODEL
    model.write_bytes(model.read_bytes()[:-1])
    assert "bytes" in refused(capsys, "to-nanogpt", run.checkpoint(8), tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()


def test_it_is_a_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "worker.convert", "from-gpt2", str(tmp_path), str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert (
        ended.stderr
        == f"{tmp_path}: {tmp_path} has no model.safetensors. Weights in other formats or in several files are not read.\n"
    )
    assert json.dumps(ended.stdout) == '""'
