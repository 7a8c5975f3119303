"""nanoGPT's CPU recipe on character Shakespeare, whole: its evaluations as nanoGPT measures them. `make test-golden`."""

from pathlib import Path

import nanogpt_data
import pytest
from tiny_data import Run

RECIPE = {
    "model": {"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 64, "pad_vocab": False},
    "data": {"sampler": "nanogpt"},
    "batch": {"micro_batch": 12},
    "schedule": {"steps": 2000, "lr": 1e-3, "min_lr": 1e-4, "warmup_steps": 100},
    "optim": {"weight_decay": 0.1, "beta1": 0.9, "beta2": 0.99, "clip": 1.0},
    "eval": {"every": 250, "windows": 20 * 12},
    "system": {"device": "cpu", "dtype": "float32", "seed": 1337},
}
"""nanoGPT's README, "I only have a macbook": train.py config/train_shakespeare_char.py --device=cpu --compile=False
--eval_iters=20 --block_size=64 --batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000
--lr_decay_iters=2000 --dropout=0.0"""

NANOGPT = {
    0: (4.1676, 4.1649),
    250: (2.4293, 2.4447),
    500: (2.2732, 2.3141),
    750: (2.1338, 2.1905),
    1000: (1.9714, 2.0528),
    1250: (1.8756, 2.0089),
    1500: (1.8557, 1.9225),
    1750: (1.7790, 1.8921),
    2000: (1.7648, 1.8857),
}
"""{step: (train, val)}: what nanoGPT (commit 3adf61e) printed with that command and seed; its README says 1.88."""


@pytest.mark.golden
@pytest.mark.timeout(3600)
def test_every_evaluation_of_the_readmes_run_is_reproduced(tmp_path: Path, data_folder: Path) -> None:
    nanogpt_data.write_dataset(tmp_path / "data", (data_folder / "tinyshakespeare.txt").read_text(encoding="utf-8"))
    run = Run(tmp_path)
    run.config = RECIPE
    assert run.attempt() == 0
    points = run.points()
    for step, pair in NANOGPT.items():
        assert (points[step]["eval/train_loss"], points[step]["val/loss"]) == pytest.approx(pair, abs=0.005), step
