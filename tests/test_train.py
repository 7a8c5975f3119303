import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import wait_until
from tiny_data import Points, Run

from app.contract.metrics import METRICS
from app.contract.protocol import LogLine
from app.contract.schedule import learning_rate
from worker import checkpoint, endings, train
from worker.commands import Commands
from worker.journal import Journal
from worker.model import GPT


def told_after(step: int, *words: str, commands: Commands) -> Callable[[Any, int, dict[str, float]], None]:
    """A Journal.points that gives a command once `step` is written."""
    original = Journal.points

    def points(self: Journal, at: int, values: dict[str, float]) -> None:
        original(self, at, values)
        if at == step and "train/loss" in values:
            commands.put(*words)

    return points


def curve(points: Points) -> dict[int, dict[str, float]]:
    """What must repeat to the last bit: everything but clocks and memory."""
    clocks = ("x/wall_s", "train/step_ms", "train/tok_per_s")
    return {
        step: {k: v for k, v in values.items() if k not in clocks and not k.startswith("system/")}
        for step, values in points.items()
    }


def test_a_run_writes_every_step_and_evaluates_where_it_should(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.attempt() == 0
    points = run.points()
    assert sorted(points) == list(range(13))
    s = run.job().config.schedule
    for step in range(1, 13):
        assert points[step]["train/lr"] == learning_rate(
            step - 1, lr=s.lr, min_lr=s.min_lr, warmup_steps=s.warmup_steps, decay_steps=s.steps
        )
        assert points[step]["decay/effective"] == pytest.approx(points[step]["train/lr"] * 0.1)
        assert points[step]["x/tokens"] == step * 4 * 2 * 16
    assert [step for step in points if "val/loss" in points[step]] == [0, 4, 8, 12]
    assert points[0]["val/loss"] == pytest.approx(math.log(64), abs=0.1), "50 tokens, padded to 64"
    assert points[0]["x/tokens"] == points[0]["x/flops"] == 0
    last = points[12]
    assert last["val/loss"] < points[0]["val/loss"]
    assert last["val/perplexity"] == pytest.approx(math.exp(last["val/loss"]))
    assert last["val/bpb"] == pytest.approx(last["val/loss"] / math.log(2) / 2)
    assert {"eval/train_loss", "eval/train_loss_se", "val/loss_se", "rms/attn.qkv", "update_ratio/mlp.fc"} <= set(last)
    assert all(1e-6 < last[f"update_ratio/{group}"] < 1 for group in ("embedding", "attn.proj", "norm"))
    assert "train/mfu" not in last, "the CPU's peak is not known"
    walls = [points[step]["x/wall_s"] for step in range(13)]
    assert walls == sorted(walls)
    known = (*(metric.key for metric in METRICS), "x/")
    assert all(key.startswith(known) for values in points.values() for key in values)


def test_a_run_says_what_it_is_and_how_it_ended(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.attempt()
    told = run.telemetry()
    assert told["outcome"] == "finished"
    assert (told["device"], told["dtype"], told["compile"], told["threads"]) == ("cpu", "float32", False, 1)
    assert told["vocab_size"] == 64, "50 tokens, padded"
    assert told["tokens_per_step"] == 128
    assert told["parameters"] - told["parameters_no_embedding"] == (64 + 16) * 16
    assert told["torch"] == torch.__version__
    assert [event.text for event in run.events("phase")] == ["loading", "training"]
    assert run.events("resume") == []
    lines = [LogLine(at=at, level=level, text=text) for at, level, text in run.frames("l")]
    assert lines[-1].text.startswith("step 12: val ")


@pytest.mark.parametrize(("dropout", "killed_after", "resumed_from"), [(0.2, 10, 8), (0.0, 3, 0)])
def test_killed_and_resumed_equals_uninterrupted_to_the_last_bit(
    tmp_path: Path, dropout: float, killed_after: int, resumed_from: int
) -> None:
    sections = {"model": {"dropout": dropout}, "checkpoint": {"every": 4}}
    straight, killed = Run(tmp_path, **sections), Run(tmp_path, **sections)
    killed.folder = tmp_path / "killed"
    straight.attempt()
    killed.until_killed(killed_after)
    newest = checkpoint.newest_verified(killed.folder)
    assert newest == killed.checkpoint(resumed_from)
    torch.manual_seed(999)  # another process's random numbers
    assert killed.attempt(2, resume=newest) == 0
    assert [event.data["first_step"] for event in killed.events("resume", 2)] == [resumed_from]

    expected, first, second = curve(straight.points()), curve(killed.points(1)), curve(killed.points(2))
    kept = {step: values for step, values in first.items() if step <= resumed_from}  # what the server keeps
    assert {step: kept.get(step, {}) | second.get(step, {}) for step in expected} == expected
    weights = [checkpoint.load(path)[0] for path in (straight.checkpoint(12), killed.checkpoint(12, attempt=2))]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert killed.points(2)[12]["x/wall_s"] > first[resumed_from].get("x/wall_s", 0)


def test_stop_saves_and_ends_and_the_run_can_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, commands = Run(tmp_path), Commands()
    monkeypatch.setattr(Journal, "points", told_after(5, "stop", commands=commands))
    assert run.attempt(commands=commands) == 0
    assert run.telemetry()["outcome"] == "stopped"
    assert max(run.points()) == 5
    assert run.on_disk()[-1] == (1, 5, "end")
    assert run.attempt(2, resume=run.checkpoint(5)) == 0
    assert sorted(run.points(2)) == list(range(6, 13))
    assert run.telemetry(2)["outcome"] == "finished"


def test_an_extended_run_goes_on_from_its_end(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.attempt() == 0
    run.config["schedule"]["steps"] = 16
    assert run.attempt(2, resume=run.checkpoint(12)) == 0
    assert sorted(run.points(2)) == [13, 14, 15, 16]
    s = run.job().config.schedule
    expected = learning_rate(12, lr=s.lr, min_lr=s.min_lr, warmup_steps=s.warmup_steps, decay_steps=16)
    assert run.points(2)[13]["train/lr"] == expected > s.min_lr
    assert run.on_disk()[-1] == (2, 16, "end")


def test_pause_save_and_delete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, commands = Run(tmp_path), Commands()
    monkeypatch.setattr(Journal, "points", told_after(2, "save", commands=commands))
    assert run.attempt(commands=commands) == 0
    assert (1, 2, "asked") in run.on_disk()

    commands.put("delete", "1", "2")
    commands.put("dance")
    commands.put("pause")
    assert run.attempt(2, resume=run.checkpoint(2), commands=commands) == 0
    assert run.telemetry(2)["outcome"] == "paused"
    assert run.points(2) == {}
    assert not run.checkpoint(2).exists()
    assert run.events("checkpoint_deleted", 2)[0].data == {"attempt": 1, "step": 2}
    assert run.checkpoint(2, attempt=2).exists()
    assert "unknown command: dance" in run.frames("l", 2)[0][2]


def test_recomputed_activations_change_no_bit(tmp_path: Path) -> None:
    curves = []
    for name, recompute in (("off", False), ("on", True)):
        run = Run(tmp_path, model={"dropout": 0.2}, system={"recompute": recompute})
        run.folder = tmp_path / name
        assert run.attempt() == 0
        curves.append(curve(run.points()))
    assert curves[0] == curves[1]


def test_an_evaluation_asked_for_changes_nothing_but_the_points_it_adds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, asked, commands = Run(tmp_path), Run(tmp_path), Commands()
    asked.folder = tmp_path / "asked"
    plain.attempt()
    monkeypatch.setattr(Journal, "points", told_after(6, "evaluate", commands=commands))
    assert asked.attempt(commands=commands) == 0
    assert [step for step in asked.points() if "val/loss" in asked.points()[step]] == [0, 4, 6, 8, 12]
    assert [event.step for event in asked.events("evaluation")] == [0, 4, 6, 8, 12]
    both = (curve(asked.points()), curve(plain.points()))
    assert all(both[0][step] == both[1][step] for step in both[1] if step != 6)


def test_a_diverging_run_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    # 1 − lr·λ = −9,999: the weights grow ten-thousandfold each step
    run = Run(tmp_path, schedule={"lr": 10.0, "min_lr": 10.0, "warmup_steps": 0}, optim={"weight_decay": 1000.0})
    assert run.attempt() == endings.EXIT_NON_FINITE
    assert run.telemetry()["reason"] == "non_finite"
    last = run.points()[max(run.points())]
    assert not all(isinstance(value, float | int) for value in last.values()), "the page shows where it happened"
    alarm = run.events("alarm")[-1].text
    assert "became" in alarm
    norms = run.events("alarm")[-1].data["grad_norms"]
    assert norms["step"] == sorted(run.points())[1:][-20:]
    assert norms["value"] == [run.points()[step]["train/grad_norm"] for step in norms["step"]]
    assert f"The last {len(norms['step'])} gradient norms: " in alarm
    assert "The last good checkpoint is step-00000000" in alarm
    checkpoint.verify(run.checkpoint(0))


def test_out_of_memory_ends_with_its_own_code_and_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GPT, "forward", lambda *args, **more: torch.empty(1 << 55))
    run = Run(tmp_path)
    assert run.attempt() == endings.EXIT_OUT_OF_MEMORY
    assert run.telemetry()["reason"] == "oom"
    assert "micro-batch" in run.events("alarm")[0].text


def test_a_full_journal_pauses_training_with_one_alarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [0]

    def full(self: Journal) -> bool:
        looks[0] += 1
        return 3 <= looks[0] <= 5

    monkeypatch.setattr(Journal, "full", property(full))
    monkeypatch.setattr(train, "LOOK_FOR_ROOM_S", 0.01)
    run = Run(tmp_path)
    assert run.attempt() == 0
    assert [event.step for event in run.events("alarm")] == [2]
    assert [event.step for event in run.events("phase")][-1] == 2
    assert sorted(run.points()) == list(range(13))


def test_more_decay_leaves_smaller_weights(tmp_path: Path) -> None:
    # science.md D.3 lesson 3: RMS strictly decreasing in λ is a cheap test that decay is wired
    rms = []
    for index, decay in enumerate((0.0, 1.0, 10.0)):
        run = Run(tmp_path, optim={"weight_decay": decay}, schedule={"lr": 1e-2})
        run.folder = tmp_path / f"run{index}"
        run.attempt()
        rms.append([run.points()[12][f"rms/{group}"] for group in ("embedding", "attn.qkv", "mlp.fc")])
    assert all(a > b > c for a, b, c in zip(*rms, strict=True))


def test_the_process_saves_and_leaves_at_sigterm_and_ends_with_its_agent(tmp_path: Path) -> None:
    run = Run(tmp_path, schedule={"steps": 1_000_000}, eval={"every": 1_000_000})
    run.folder.mkdir()
    config = run.job().model_dump(mode="json")
    (run.folder / "config.json").write_text(json.dumps(config))

    def start(attempt: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-W", "error", "-m", "worker.train", str(run.folder), "--attempt", str(attempt)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        wait_until(lambda: run.points(attempt).keys() - {0}, 30, "the process wrote no step")
        return process

    with start(1) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 75
    newest = checkpoint.newest_verified(run.folder)
    assert newest == run.checkpoint(max(run.points()))

    (run.folder / "config.json").write_text(json.dumps({**config, "resume": str(newest)}))
    with start(2) as process:
        assert process.stdin is not None
        os.write(process.stdin.fileno(), b"save\n")
        wait_until(lambda: run.events("checkpoint", 2), 20, "the command was not heard")
        process.stdin.close()
        assert process.wait(20) == 1
    assert run.telemetry(2).get("outcome") is None
