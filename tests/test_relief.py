from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_data import Run

from worker import endings, relief
from worker.batches import Batches
from worker.loop import Loop


def short_of_memory(monkeypatch: pytest.MonkeyPatch, fits: int, in_step: int = 5) -> list[tuple[int, int]]:
    """From the update `in_step` on, micro-batches above `fits` sequences fail as on a CUDA device. Collects (update, start)."""
    windows: list[tuple[int, int]] = []
    batch, step = Batches.batch, Loop.step
    during: list[tuple[int, int]] = []

    def read(self: Batches, update: int, micro: int) -> tuple[torch.Tensor, torch.Tensor]:
        if update >= in_step and self.micro_batch > fits and micro == 1 % self.accumulation:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        during.extend((update, int(start)) for start in self.starts(update, micro))
        return batch(self, update, micro)

    def take(self: Loop, *arguments: object):
        during.clear()
        result = step(self, *arguments)  # type: ignore[arg-type]
        windows.extend(during)
        return result

    monkeypatch.setattr(Batches, "batch", read)
    monkeypatch.setattr(Loop, "step", take)
    return windows


@pytest.mark.parametrize(
    ("micro", "accumulation", "fits", "after"), [(4, 2, 2, (2, 4)), (8, 1, 1, (1, 8)), (9, 1, 3, (3, 3))]
)
def test_out_of_memory_goes_on_in_smaller_pieces_with_the_same_windows_and_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro: int, accumulation: int, fits: int, after: tuple[int, int]
) -> None:
    sections = {"batch": {"micro_batch": micro, "accumulation": accumulation}, "eval": {"every": 100}}
    easy, tight = Run(tmp_path, **sections), Run(tmp_path, **sections)
    tight.folder = tmp_path / "tight"
    with monkeypatch.context() as patch:
        expected = short_of_memory(patch, fits=micro)
        assert easy.attempt() == 0
    with monkeypatch.context() as patch:
        windows = short_of_memory(patch, fits)
        assert tight.attempt() == 0
    assert windows == expected
    losses = [[run.points()[step]["train/loss"] for step in range(1, 13)] for run in (easy, tight)]
    assert losses[0][:5] == losses[1][:5]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)

    alarms = tight.events("alarm")
    assert 1 <= len(alarms) <= relief.MOST_TIMES
    assert all("Not bit-exact from step 5 on" in alarm.text and alarm.step == 5 for alarm in alarms)
    assert alarms[-1].data["after"] == {"micro_batch": after[0], "accumulation": after[1]}
    assert (tight.telemetry()["micro_batch"], tight.telemetry()["accumulation"]) == after


def test_a_compiled_run_says_that_it_compiles_again_for_the_smaller_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda model, **_: model)
    run = Run(tmp_path, batch={"micro_batch": 4, "accumulation": 2}, system={"compile": "on"})
    short_of_memory(monkeypatch, fits=2)
    assert run.attempt() == 0
    phases = [(event.step, event.text) for event in run.events("phase") if event.text in ("compiling", "training")]
    assert phases == [(0, "compiling"), (1, "training"), (5, "compiling"), (6, "training")]


def test_a_resume_takes_the_cut_of_the_checkpoint_and_so_repeats_its_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, killed = Run(tmp_path, checkpoint={"every": 4}), Run(tmp_path, checkpoint={"every": 4})
    killed.folder = tmp_path / "killed"
    with monkeypatch.context() as patch:
        short_of_memory(patch, fits=2)
        straight.attempt()
        killed.until_killed(10)
    assert killed.attempt(2, resume=killed.checkpoint(8)) == 0
    assert (killed.telemetry(2)["micro_batch"], killed.telemetry(2)["accumulation"]) == (2, 4)
    one, other = (
        [run.points(attempt)[step]["train/loss"] for step in range(9, 13)]
        for run, attempt in ((straight, 1), (killed, 2))
    )
    assert one == other


@pytest.mark.parametrize(("micro", "alarms"), [(4, 3), (64, 4)])
def test_it_gives_up_after_three_cuts_or_at_one_sequence_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro: int, alarms: int
) -> None:
    run = Run(tmp_path, batch={"micro_batch": micro, "accumulation": 1})
    short_of_memory(monkeypatch, fits=0)
    assert run.attempt() == endings.EXIT_OUT_OF_MEMORY
    assert run.telemetry()["reason"] == "oom"
    told = [event.text for event in run.events("alarm")]
    assert len(told) == alarms
    assert "A smaller micro-batch with more accumulation makes the same step" in told[-1]
    assert run.on_disk()[-1] == (1, 4, "best"), "the last finished state that was kept"


def test_what_fails_while_weights_are_written_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(self: torch.optim.Optimizer, closure: None = None) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    run = Run(tmp_path)
    assert run.attempt() == endings.EXIT_OUT_OF_MEMORY
    assert len(run.events("alarm")) == 1


def test_smaller_divides() -> None:
    assert [relief.smaller(n) for n in (2, 3, 12, 15, 35, 64)] == [1, 1, 6, 5, 7, 32]
    assert all(n % relief.smaller(n) == 0 for n in np.arange(2, 200).tolist())
