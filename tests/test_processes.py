"""Two processes take the steps that one takes: real ones, with torch and gloo, on the CPU."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from conftest import wait_until
from tiny_data import Points, Run

from worker.processes import Several
from worker.release import members

RECIPE: dict[str, dict[str, Any]] = {
    "batch": {"micro_batch": 4, "accumulation": 4},
    "schedule": {"steps": 40, "lr": 3e-3, "min_lr": 3e-4, "warmup_steps": 2},
    "eval": {"every": 10, "windows": 9},  # an odd number: one process gets a window to fill up with
    "checkpoint": {"every": 10, "keep_last": 9},
    "optim": {"optimizer": "muon", "cautious": True},
}
CLOCKS = ("x/wall_s", "train/step_ms", "train/tok_per_s")


def launched(run: Run, attempt: int = 1, resume: Path | None = None) -> subprocess.Popen[bytes]:
    """The attempt as the agent starts it on two devices."""
    run.folder.mkdir(exist_ok=True)
    (run.folder / "config.json").write_text(run.job(attempt, resume).model_dump_json())
    command = [sys.executable, "-m", "worker.launch", "2", sys.executable, "-m", "worker.train"]
    with (run.folder / "log").open("ab") as log:
        return subprocess.Popen(
            [*command, str(run.folder), "--attempt", str(attempt)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def told(run: Run) -> str:
    return (run.folder / "log").read_text()


def curve(points: Points) -> dict[int, dict[str, float]]:
    """What does not depend on clocks and memory."""
    return {
        step: {k: v for k, v in values.items() if k not in CLOCKS and not k.startswith("system/")}
        for step, values in points.items()
    }


class Two(Run):
    """A run on two devices: its first attempt lost a process to a kill, its second went on from step 20 to the last one."""

    def whole(self) -> Points:
        """The curve as the page has it: what the second attempt says again stands in place of what the first said."""
        return {step: values for step, values in curve(self.points()).items() if step <= 20} | {
            step: curve(self.points()).get(step, {}) | values if step == 20 else values
            for step, values in curve(self.points(2)).items()
        }


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    # One pair of launches for all tests of this file: each process loads torch, which takes seconds.
    run = Two(tmp_path_factory.mktemp("two"), **RECIPE)
    process = launched(run)
    wait_until(lambda: 0 in run.points(), 60, lambda: told(run))
    second = next(pid for pid in members(process.pid) if psutil.Process(pid).environ().get("RANK") == "1")
    wait_until(lambda: max(run.points()) > 25, 30, lambda: told(run))
    os.kill(second, signal.SIGKILL)
    assert process.wait(15) == -signal.SIGKILL, told(run)
    assert members(process.pid) == []
    assert launched(run, 2, run.checkpoint(20)).wait(60) == 0, told(run)
    return run


def test_twenty_losses_and_every_evaluation_are_those_of_one_process(two: Two, tmp_path: Path) -> None:
    one = Run(tmp_path, **RECIPE)
    assert one.attempt() == 0
    expected, seen = curve(one.points()), two.whole()
    assert [sorted(values) for values in seen.values()] == [sorted(values) for values in expected.values()]
    for step in range(21):  # what the order of sums does to the last bit grows with the steps
        for key, value in expected[step].items():
            assert seen[step][key] == pytest.approx(value, rel=1e-5, abs=1e-7), f"{key} at step {step}"
    losses = [[event.data["losses"] for event in run.events("evaluation") if event.step <= 20] for run in (one, two)]
    assert len(losses[0]) == 3
    np.testing.assert_allclose(losses[0], losses[1], atol=2e-5)  # written with five decimals
    assert (two.telemetry(2)["processes"], one.telemetry()["processes"]) == (2, 1)


def test_after_a_kill_the_next_attempt_completes_the_curve_and_repeats_it_to_the_last_bit(two: Two) -> None:
    before, after = curve(two.points()), curve(two.points(2))
    assert sorted(before | after) == list(range(41)), "complete"
    again = sorted(step for step in before.keys() & after.keys() if step > 20)
    assert len(again) > 4
    for step in again[:-1]:  # in its last step the kill may have come between two of its values
        assert after[step] == before[step], step


def test_a_checkpoint_of_two_processes_is_one_of_one_process(two: Two, tmp_path: Path) -> None:
    one = Run(tmp_path, **RECIPE)
    assert one.attempt(3, resume=two.checkpoint(30, attempt=2)) == 0
    after, expected = one.points(3), two.points(2)
    assert sorted(after) == list(range(31, 41))
    assert all(after[step]["train/loss"] == pytest.approx(expected[step]["train/loss"], rel=1e-5) for step in after)
    changed = [event.text for event in one.events("alarm", 3)]
    assert len(changed) == 1
    assert "processes was 2, is 1" in changed[0]


def test_dropout_differs_between_processes_and_repeats_after_a_resume() -> None:
    drawn = []
    for rank, update in ((0, 7), (1, 7), (0, 7), (0, 8)):
        process = Several(rank, 2)
        process._seed = 1337
        process.reseed(update)
        drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[3])


def test_the_micro_batches_and_windows_of_all_are_each_ones_once() -> None:
    ranks = [Several(rank, 3) for rank in range(3)]
    assert sorted(micro for each in ranks for micro in each.share(12)) == list(range(12))
    starts = np.arange(10, 21)
    parts = [each.windows(starts) for each in ranks]
    assert {len(part) for part in parts} == {4}
    in_order = np.stack(parts, axis=1).flatten()[: len(starts)]
    assert in_order.tolist() == starts.tolist()
    with pytest.raises(AssertionError, match="4 micro-batches cannot be shared by 3 processes"):
        ranks[0].share(4)
