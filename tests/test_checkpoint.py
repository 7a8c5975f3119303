import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from worker import checkpoint
from worker.checkpoint import Found

STATE = {"best_val": 3.5, "best_step": 10}


def write(run_dir: Path, attempt: int, step: int, *reasons: str) -> Found:
    torch.manual_seed(step)
    return checkpoint.save(
        run_dir, attempt, step,
        model={"w": torch.randn(3, 4), "n": torch.ones(2)}, optimizer={"step/w": torch.tensor(7.0), "rng/cpu": torch.get_rng_state()},
        state=STATE, reasons=reasons or {"interval"}, run="r-0001", val_loss=3.25,
    )  # fmt: skip


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    saved = write(tmp_path, 1, 1200)
    assert saved.path == tmp_path / "checkpoints" / "a1" / "step-00001200"
    model, optimizer, state = checkpoint.load(saved.path)
    torch.manual_seed(1200)
    assert torch.equal(model["w"], torch.randn(3, 4))
    assert optimizer["step/w"] == 7
    assert optimizer["rng/cpu"].dtype == torch.uint8
    assert state == {"version": 1, "step": 1200, **STATE}


def test_the_manifest_names_every_file_with_its_hash(tmp_path: Path) -> None:
    manifest = checkpoint.verify(write(tmp_path, 1, 5, "best", "interval").path)
    assert [file["name"] for file in manifest["files"]] == ["model.safetensors", "optimizer.safetensors", "state.json"]
    assert manifest["bytes"] == sum(file["bytes"] for file in manifest["files"])
    assert (manifest["run"], manifest["attempt"], manifest["step"], manifest["val_loss"]) == ("r-0001", 1, 5, 3.25)
    assert (manifest["kept"], manifest["reasons"]) == ("best", ["best", "interval"])


def test_any_flipped_or_missing_byte_is_found_and_the_one_before_is_used(tmp_path: Path) -> None:
    good = write(tmp_path, 1, 10).path
    rng = random.Random(0)
    for name in (checkpoint.MODEL, checkpoint.OPTIMIZER, checkpoint.STATE):
        for damage in ("flip", "cut", "remove"):
            newest = write(tmp_path, 1, 20).path
            assert checkpoint.newest_verified(tmp_path) == newest
            content = bytearray((newest / name).read_bytes())
            place = rng.randrange(len(content))
            if damage == "flip":
                content[place] ^= 1 << rng.randrange(8)
                (newest / name).write_bytes(content)
            elif damage == "cut":
                (newest / name).write_bytes(content[:place])
            else:
                (newest / name).unlink()
            with pytest.raises(checkpoint.Damaged, match=name):
                checkpoint.verify(newest)
            assert checkpoint.newest_verified(tmp_path) == good, f"{name} {damage} at {place}"


def test_a_checkpoint_without_its_manifest_does_not_exist(tmp_path: Path) -> None:
    assert checkpoint.newest_verified(tmp_path) is None
    path = write(tmp_path, 1, 10).path
    for content in (None, "", "{", "[]", json.dumps({"version": 2, "files": [], "reasons": []})):
        (path / checkpoint.MANIFEST).unlink(missing_ok=True)
        if content is not None:
            (path / checkpoint.MANIFEST).write_text(content)
        assert checkpoint.newest_verified(tmp_path) is None, content
        assert checkpoint.found(tmp_path) == []


def test_killed_at_any_moment_while_saving_leaves_the_checkpoint_before_or_the_whole_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """Nobody handles it: what is on the disk stays as a SIGKILL leaves it."""

    left = 0

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return call(*args, **more)

        return counted

    good = write(tmp_path, 1, 10).path
    monkeypatch.setattr(checkpoint, "fsync", dying(checkpoint.fsync))
    monkeypatch.setattr(Path, "rename", dying(Path.rename))
    seen = []
    for calls in range(9):  # four files, their folder, the rename, three folders above
        left = calls
        with pytest.raises(Killed):
            write(tmp_path, 1, 20)
        newest = checkpoint.newest_verified(tmp_path)
        assert newest is not None
        seen.append(newest.name)
        shutil.rmtree(checkpoint.folder(tmp_path, 1, 20), ignore_errors=True)
    assert seen == [good.name] * 6 + ["step-00000020"] * 3
    left = 9
    assert write(tmp_path, 1, 20).path == checkpoint.newest_verified(tmp_path), "leftovers are in nobody's way"


def test_a_fallback_never_goes_past_the_step_that_was_asked_for(tmp_path):
    good = write(tmp_path, 1, 10).path
    write(tmp_path, 1, 30)
    assert checkpoint.newest_verified(tmp_path, at_most=20) == good
    assert checkpoint.newest_verified(tmp_path, at_most=9) is None


def test_a_later_attempt_comes_before_an_earlier_ones_further_steps(tmp_path: Path) -> None:
    write(tmp_path, 1, 700)
    later = write(tmp_path, 2, 600)
    write(tmp_path, 10, 5)
    assert [(c.attempt, c.step) for c in checkpoint.found(tmp_path)] == [(1, 700), (2, 600), (10, 5)]
    checkpoint.delete(checkpoint.folder(tmp_path, 10, 5))
    assert checkpoint.newest_verified(tmp_path) == later.path


def test_start_asked_best_the_last_ones_and_the_newest_are_kept(tmp_path: Path) -> None:
    def kept(*checkpoints: tuple[int, set[str]], best_step: int, keep_last: int = 2) -> tuple[list[int], list[int]]:
        listed = [Found(1, step, tmp_path, {"reasons": reasons}) for step, reasons in checkpoints]
        gone, demoted = checkpoint.surplus(listed, best_step, keep_last)
        return [c.step for c in gone], [c.step for c in demoted]

    i, b = "interval", "best"
    assert kept((0, {"start"}), (10, {i}), (20, {i}), (30, {i}), best_step=0) == ([10], [])
    assert kept((0, {"start"}), (10, {b}), (20, {b}), best_step=20) == ([10], [])
    assert kept((10, {i, b}), (20, {i, b}), (30, {i, b}), best_step=30) == ([10], [20])
    assert kept((10, {b}), (20, {i}), (30, {i}), (40, {i}), best_step=10) == ([20], [])
    assert kept((5, {"asked"}), (10, {i}), (20, {i}), (30, {"end"}), best_step=0) == ([10], [])
    assert kept((10, {i}), (20, {i}), (25, {b}), best_step=0, keep_last=1) == ([10], [])


def test_reasons_can_change_without_touching_the_bytes(tmp_path: Path) -> None:
    saved = write(tmp_path, 1, 10)
    again = checkpoint.rewrite_reasons(saved, {"interval", "asked"})
    assert checkpoint.verify(saved.path) == again.manifest
    assert again.manifest["kept"] == "asked"
    assert again.manifest["files"] == saved.manifest["files"]


def test_a_failed_write_raises_oserror_and_leaves_nothing(tmp_path: Path) -> None:
    # RLIMIT_FSIZE stands in for a full disk: writing past it fails with EFBIG.
    script = """
import pathlib, resource, signal, sys, torch
from worker import checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    checkpoint.save(pathlib.Path(sys.argv[1]), 1, 20, model={"w": torch.ones(100_000)}, optimizer={}, state={}, reasons={"interval"})
except OSError as error:
    print("refused:", error)
"""
    good = write(tmp_path, 1, 10).path
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "refused: " in done.stdout
    assert checkpoint.newest_verified(tmp_path) == good
    assert [path.name for path in good.parent.iterdir()] == [good.name]


def test_looking_for_checkpoints_needs_no_torch(tmp_path: Path) -> None:
    write(tmp_path, 1, 10)
    script = "import sys, pathlib; from worker import checkpoint; print(checkpoint.newest_verified(pathlib.Path(sys.argv[1])).name, 'torch' in sys.modules)"
    told: Any = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["step-00000010", "False"]
