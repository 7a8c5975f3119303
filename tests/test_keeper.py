import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import wait_until
from tiny_data import Run

from worker import checkpoint, endings, train
from worker.journal import Journal


def test_start_best_interval_and_end_are_kept_and_the_journal_agrees_with_the_disk(tmp_path: Path) -> None:
    run = Run(tmp_path, checkpoint={"every": 3, "keep_last": 1})
    run.attempt()
    assert run.events("best")[-1].step == 12
    assert run.on_disk() == [(1, 0, "start"), (1, 12, "end")]
    there: dict[int, str] = {}
    for kind, data in [(e["kind"], e["data"]) for e in run.frames("e")]:
        if kind == "checkpoint":
            there[data["step"]] = data["kept"]
            assert data["manifest"]["step"] == data["step"]
        elif kind == "checkpoint_deleted":
            del there[data["step"]]
    assert [(1, step, kept) for step, kept in sorted(there.items())] == run.on_disk()
    assert len(run.events("checkpoint_deleted")) >= 3


def test_a_damaged_checkpoint_is_passed_over_and_said_so(tmp_path: Path) -> None:
    run = Run(tmp_path, checkpoint={"every": 3})
    run.until_killed(10)
    (run.checkpoint(9) / checkpoint.OPTIMIZER).write_bytes(b"")
    assert run.attempt(2, resume=run.checkpoint(9)) == 0
    assert run.events("resume", 2)[0].data["first_step"] == 8, "step 8 was the best so far"
    assert "step-00000009 is damaged; going on from step-00000008" in run.events("alarm", 2)[0].text
    assert not run.checkpoint(9).exists(), "it belongs to a past that was given up"


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.until_killed(5)
    run.config["model"]["n_embd"] = 32
    assert run.attempt(2, resume=run.checkpoint(0)) == 1
    assert "c_attn.weight is (48, 16) there, (96, 32) here" in run.frames("l", 2)[-1][2]


def test_a_disk_without_room_costs_the_checkpoint_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*args: Any, **more: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", no_room)
    run = Run(tmp_path)
    assert run.attempt() == 0
    (alarm,) = run.events("alarm")
    assert alarm.text.startswith("No checkpoint at step 0: [Errno 28] No space left on device; no checkpoint is there.")
    assert f"Make room on the disk of {run.folder}" in alarm.text
    assert "No checkpoint at step 12" in run.frames("l")[-1][2], "the others are lines of the log"
    assert sorted(run.points()) == list(range(13))


def test_training_goes_on_while_a_checkpoint_is_written_and_what_is_written_is_the_step_it_is_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, points = checkpoint.save, Journal.points
    go_on, under_way = threading.Event(), []

    def slow(run_dir: Path, attempt: int, step: int, **more: Any) -> checkpoint.Found:
        assert not under_way, "two at a time"
        under_way.append(step)
        # Step 0's is written only once step 3 is done: no step has waited for the disk.
        assert go_on.wait(20)
        try:
            return save(run_dir, attempt, step, **more)
        finally:
            under_way.clear()

    def noted(self: Journal, step: int, values: dict[str, float]) -> None:
        points(self, step, values)
        if step == 3:
            go_on.set()

    run, plain = Run(tmp_path, eval={"every": 100}), Run(tmp_path, eval={"every": 100})
    plain.folder = tmp_path / "plain"
    plain.attempt()
    monkeypatch.setattr(checkpoint, "save", slow)
    monkeypatch.setattr(Journal, "points", noted)
    assert run.attempt() == 0
    for step in (0, 12):
        checkpoint.verify(run.checkpoint(step))
        there, expected = checkpoint.load(run.checkpoint(step)), checkpoint.load(plain.checkpoint(step))
        assert all(torch.equal(there[part][name], expected[part][name]) for part in (0, 1) for name in expected[part])
    assert run.frames("e")[-1]["kind"] == "checkpoint", "the end waits for the last one"


def test_a_kill_during_the_write_leaves_the_one_before(tmp_path: Path) -> None:
    run = Run(
        tmp_path, schedule={"steps": 1_000_000}, eval={"every": 1_000_000}, checkpoint={"every": 50, "keep_last": 1}
    )
    run.folder.mkdir()
    (run.folder / "config.json").write_text(json.dumps(run.job().model_dump(mode="json")))
    # The third one hangs with its first file half on the disk.
    script = (
        "import sys, time\nfrom worker import checkpoint, train\nsave, seen = checkpoint._describe, []\n"
        "def describe(path):\n    seen.append(path)\n    if len(seen) > 6:\n        path.write_bytes(path.read_bytes()[:100])\n"
        "        (path.parents[3] / 'hangs').touch()\n        time.sleep(600)\n    return save(path)\n"
        "checkpoint._describe = describe\nsys.exit(train.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, str(run.folder), "--attempt", "1"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        wait_until((run.folder / "hangs").exists, 30, "no third checkpoint was begun")
        wait_until(lambda: max(run.points()) > 100, 20, "training waited for the disk")
        process.kill()
    assert checkpoint.newest_verified(run.folder) == run.checkpoint(50)


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = train.Training.save

    def poison(self: train.Training, reasons: set[str]) -> None:
        if self.step == 8:
            with torch.no_grad():
                self.model.transformer.wpe.weight[15, 3] = float("inf")
        save(self, reasons)

    monkeypatch.setattr(train.Training, "save", poison)
    run = Run(tmp_path, eval={"every": 100}, checkpoint={"every": 4})
    assert run.attempt() == endings.EXIT_NON_FINITE
    newest = checkpoint.newest_verified(run.folder)
    assert newest == run.checkpoint(4)
    assert "weights transformer.wpe.weight are not finite after step 8. The last good checkpoint is step-00000004." in (
        run.events("alarm")[-1].text
    )
