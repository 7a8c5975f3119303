"""The engine against nanoGPT itself: the numbers in golden/nanogpt_100.json are its own train.py's."""

import json
from pathlib import Path
from typing import Any

import nanogpt_data
import pytest
from tiny_data import Run

from worker import optim
from worker.model import GPT

GOLDEN = json.loads((Path(__file__).parent / "golden" / "nanogpt_100.json").read_text())


def configured(golden: dict[str, Any]) -> dict[str, Any]:
    """nanoGPT's configuration in our words."""
    return {
        "model": {key: golden[key] for key in ("n_layer", "n_head", "n_embd", "block_size", "dropout", "bias")}
        | {"pad_vocab": False},
        "data": {"sampler": "nanogpt"},
        "batch": {"micro_batch": golden["batch_size"], "accumulation": golden["gradient_accumulation_steps"]},
        "schedule": {
            "steps": golden["max_iters"], "lr": golden["learning_rate"], "min_lr": golden["min_lr"],
            "warmup_steps": golden["warmup_iters"], "decay_steps": golden["lr_decay_iters"],
        },
        "optim": {
            "weight_decay": golden["weight_decay"], "beta1": golden["beta1"], "beta2": golden["beta2"],
            "clip": golden["grad_clip"],
        },
        "eval": {"every": golden["eval_interval"], "windows": golden["eval_iters"] * golden["batch_size"]},
        "system": {"device": "cpu", "dtype": "float32", "threads": 1, "seed": GOLDEN["seed"]},
    }  # fmt: skip


def test_the_first_hundred_losses_and_the_evaluations_between_them_are_nanogpts(tmp_path: Path) -> None:
    nanogpt_data.write_dataset(tmp_path / "data", nanogpt_data.invented_text())
    run = Run(tmp_path)
    run.config = configured(GOLDEN["config"])
    assert run.attempt() == 0
    points = run.points()
    assert len(GOLDEN["losses"]) == 100
    ours = [points[step]["train/loss"] for step in range(1, 101)]  # our step n is nanoGPT's iter n − 1
    assert ours == pytest.approx(GOLDEN["losses"], abs=1e-4)
    measured = {step: [points[step]["eval/train_loss"], points[step]["val/loss"]] for step in (0, 50, 100)}
    assert measured == {int(step): pytest.approx(pair, abs=1e-4) for step, pair in GOLDEN["evaluations"].items()}
    assert len({round(loss, 4) for pair in measured.values() for loss in pair}) == 6, "each on windows of its own"


@pytest.mark.parametrize(("killed_after", "resumed_from"), [(10, 8), (7, 6)])
def test_killed_and_resumed_draws_the_same_windows(tmp_path: Path, killed_after: int, resumed_from: int) -> None:
    sections = {"data": {"sampler": "nanogpt"}, "checkpoint": {"every": 2}, "eval": {"every": 4, "windows": 8}}
    straight, killed = Run(tmp_path, **sections), Run(tmp_path, **sections)
    killed.folder = tmp_path / "killed"
    straight.attempt()
    killed.until_killed(killed_after)
    assert killed.attempt(2, resume=killed.checkpoint(resumed_from)) == 0
    keys = ("train/loss", "val/loss", "eval/train_loss")
    expected, resumed = straight.points(), killed.points(2)
    for step in range(resumed_from + 1, 13):
        assert [resumed[step].get(key) for key in keys] == [expected[step].get(key) for key in keys], step
    assert straight.events("evaluation") == [], "windows of one evaluation only are not offered for pairs"


def decay_groups(model: GPT) -> list[tuple[int, int]]:
    """(tensors, parameters) of the decayed and the spared."""
    groups = optim.parameter_groups(model, 0.1)
    return [(len(group["params"]), sum(p.numel() for p in group["params"])) for group in groups]


def test_parameters_and_decay_groups_of_the_40m_recipe() -> None:
    model = GPT(50304, 1024, 12, 12, 384)  # science.md B.0
    assert model.parameter_counts()[0] == 40_953_216
    assert decay_groups(model) == [(50, 40_943_616), (25, 9_600)]
    assert model.flops_per_token() == 299_983_104


def test_parameters_and_decay_groups_of_the_character_recipe() -> None:
    model = GPT(65, 64, 4, 4, 128)  # science.md D.1; nanoGPT prints the same numbers
    assert decay_groups(model) == [(18, 802_944), (9, 1_152)]
