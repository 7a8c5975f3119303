"""Loss curves for the tests of the diagnosis: made by a known law, or published ones from the data folder."""

import csv
from pathlib import Path

import numpy as np

from app.contract.learning import OptimConfig, ScheduleConfig
from app.diagnosis.observations import Curve, Observations

# Ten evaluations of a 40 M-parameter run on one FineWeb file, 200 micro-batches each (standard error 0.017).
GOLDEN_STEPS = np.arange(10_000, 14_501, 500)
GOLDEN_VAL = np.array([3.6381, 3.6365, 3.6584, 3.6324, 3.5848, 3.6045, 3.5861, 3.5917, 3.5546, 3.5790])
GOLDEN_TRAIN = np.array([3.7182, 3.7312, 3.7005, 3.6949, 3.6523, 3.7079, 3.6292, 3.6729, 3.6413, 3.6249])
GOLDEN_SCHEDULE = ScheduleConfig(steps=20_000, warmup_steps=500, lr=1e-3, min_lr=1e-4, shape="cosine")


def golden(curves: dict[str, Curve] | None = None, **changes: object) -> Observations:
    """That run, with what its configuration, its data and its device tell; a keyword with a slash is a curve."""
    steps, errors = GOLDEN_STEPS, np.full(10, 0.017)
    known = {
        "val/loss": Curve(steps, GOLDEN_VAL), "val/loss_se": Curve(steps, errors), "eval/train_loss": Curve(steps, GOLDEN_TRAIN),
        "eval/train_loss_se": Curve(steps, errors), "train/mfu": Curve(steps, np.full(10, 0.11)), **(curves or {}),
    }  # fmt: skip
    facts = {
        "step": 14_500, "steps": 20_000, "schedule": GOLDEN_SCHEDULE, "optim": OptimConfig(weight_decay=0.1, beta2=0.99),
        "tokens_per_step": 524_288, "micro_batch": 16, "accumulation": 32, "block_size": 1024, "dropout": 0.1, "n_layer": 12, "n_head": 6,
        "n_embd": 384, "parameters": 40_560_000, "parameters_no_embedding": 21_243_264, "vocab_size": 50_304, "tied_head": True,
        "device": "NVIDIA GeForce RTX 4070", "dtype": "bfloat16", "mfu_peak_flops": 312e12, "train_tokens": 700_000_000, "eval_windows": 3200,
        "fixed_eval": False, "train_loss_is": "last micro-batch",
    }  # fmt: skip
    for name, value in changes.items():
        (known if "/" in name else facts)[name] = value
    return Observations(known, **facts)


def power_law(step: np.ndarray) -> np.ndarray:
    return 3.2 + (step / 1000.0) ** -0.5


def synthetic(
    share: float = 1.0, noise: float = 0.017, seed: int = 0, evaluations: int = 30, **facts: object
) -> Observations:
    """A run by the golden schedule whose loss follows `power_law`; ln(50304) at step 0."""
    last = int(20_000 * share)
    steps = np.linspace(0, last, evaluations).astype(np.int64)
    values = np.minimum(10.83, power_law(np.maximum(steps, 1)))
    values = values + np.random.default_rng(seed).normal(0, noise, evaluations)
    curves = {"val/loss": Curve(steps, values), "val/loss_se": Curve(steps, np.full(evaluations, noise))}
    return Observations(curves, step=last, **{"steps": 20_000, "schedule": GOLDEN_SCHEDULE, **facts})


def published(folder: Path, name: str, share: float, schedule: ScheduleConfig) -> tuple[Observations, float]:
    """The first `share` of a published curve as a run, and the loss it ended with."""
    with (folder / "curves" / f"{name}.csv").open() as file:
        rows = [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]
    seen = [row for row in rows if row[0] <= share * rows[-1][0]]
    steps, losses = (np.array(column) for column in zip(*seen, strict=True))
    run = Observations({"val/loss": Curve(steps, losses)}, step=int(steps[-1]), steps=rows[-1][0], schedule=schedule)
    return run, rows[-1][1]
