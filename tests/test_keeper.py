from pathlib import Path
from typing import Any

import pytest
from tiny_data import Run

from worker import checkpoint


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
    assert "No checkpoint at step 12" in run.events("alarm")[-1].text
    assert sorted(run.points()) == list(range(13))
