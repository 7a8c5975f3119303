"""Optimisers, schedules and network switches through a whole run: what is logged, and resuming to the bit."""

import math
from pathlib import Path

import pytest
from tiny_data import Run, run_config

MODERN = {
    "activation": "relu2",
    "positions": "rope",
    "qk_norm": True,
    "zero_init": True,
    "tied_head": False,
    "softcap": 15.0,
}
RECIPES = {
    "modern": {
        "model": MODERN,
        "optim": {"optimizer": "muon", "decay_schedule": "cosine"},
        "schedule": {"shape": "wsd"},
    },
    "cautious": {"optim": {"cautious": True, "adamc": True}, "schedule": {"shape": "linear", "min_lr": 0.0}},
    "independent": {"optim": {"decay_coupling": "independent", "weight_decay": 1e-3, "decay_schedule": "linear"}},
    "l2": {"optim": {"optimizer": "adam_l2"}, "schedule": {"shape": "constant"}},
}


def sections(name: str) -> dict:
    base = run_config()
    return {section: base.get(section, {}) | values for section, values in RECIPES[name].items()}


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_resumed_from_a_checkpoint_repeats_every_loss_to_the_bit(tmp_path: Path, name: str) -> None:
    run = Run(tmp_path, checkpoint={"every": 4, "keep_last": 9}, **sections(name))
    assert run.attempt() == 0
    whole = run.points()
    run.attempt(2, resume=run.checkpoint(4))
    again = run.points(2)
    assert set(again) == set(range(5, 13))
    for step, values in again.items():
        for key in ("train/loss", "train/lr", "decay/effective", "val/loss"):
            assert values.get(key) == whole[step].get(key), (step, key)


def test_the_effective_decay_is_the_share_that_was_taken_off(tmp_path: Path) -> None:
    independent = Run(tmp_path / "a", **sections("independent"))
    independent.attempt()
    taken = [values["decay/effective"] for step, values in independent.points().items() if step]
    assert taken == pytest.approx([1e-3 * (1 - update / 12) for update in range(12)])
    corrected = Run(tmp_path / "b", **sections("cautious"))
    corrected.attempt()
    points = corrected.points()
    for step in range(1, 13):
        assert points[step]["decay/effective"] == pytest.approx(0.1 * points[step]["train/lr"] ** 2 / 3e-3)
    assert 0 < points[12]["decay/active"] < 1
    l2 = Run(tmp_path / "c", **sections("l2"))
    l2.attempt()
    assert not any("decay/effective" in values for values in l2.points().values())


def test_evaluations_carry_the_signals_of_every_group(tmp_path: Path) -> None:
    run = Run(tmp_path, **sections("modern"))
    run.attempt()
    values = run.points()[8]
    for group in ("embedding", "attn.qkv", "attn.proj", "mlp.fc", "mlp.proj", "norm", "head"):
        assert 0 < values[f"update_ratio/{group}"] < math.inf
        assert 0 < values[f"rotation/{group}"] < math.pi
    assert 0 < values["decay_share/mlp.fc"] < 1
    assert "decay_share/norm" in values
    assert values["decay_share/norm"] == 0
    noise = [step for step, each in run.points().items() if "noise/grad_sq_micro" in each]
    assert noise == [1, 11], "every tenth update"
