"""A made-up run of any length, written straight into the store: noisy loss with one-step spikes, and all that a run reports."""

from typing import Any

import numpy as np

from app import appending, runs, series
from app.db import Tx
from app.runs import Launch
from app.tables import Run

PART = 100_000  #: steps appended at once
GROUPS = ("attn.qkv", "attn.proj", "mlp.fc", "mlp.proj", "embedding")
PER_STEP = 16 * 128


def spike_steps(steps: int, count: int = 20, seed: int = 7) -> np.ndarray:
    """One anywhere in each part but its ends: two within one pixel would hide each other on any chart."""
    part = steps // count
    rng = np.random.default_rng(seed)
    return np.arange(count) * part + rng.integers(part // 10, part - part // 10, count) + 1


def columns(first: int, last: int, steps: int, seed: int, spikes: np.ndarray, lr: float = 6e-4) -> dict[str, Any]:
    """What a run of `steps` steps reports from step `first` to `last`."""
    rng = np.random.default_rng([seed, first])
    at = np.arange(first, last + 1)
    share = at / steps
    loss = (
        2.9 + 1.6 * (1 + 400 * share) ** -0.35 + 6 * np.exp(-at / (0.0008 * steps + 20)) + rng.normal(0, 0.045, at.size)
    )
    here = spikes[(spikes >= first) & (spikes <= last)]
    loss[here - first] += rng.uniform(0.6, 4.0, here.size)
    grad = 0.35 + 0.5 * np.exp(-share * 30) + rng.gamma(3, 0.03, at.size)
    grad[here - first] += rng.uniform(2, 6, here.size)
    rate = lr * np.minimum(at / (0.01 * steps), 0.1 + 0.9 * (0.5 + 0.5 * np.cos(np.pi * share)))
    found = {
        "train/loss": (at, loss), "train/grad_norm": (at, grad), "train/lr": (at, rate), "decay/effective": (at, rate * 0.1),
        "train/tok_per_s": (at, 96_000 + rng.normal(0, 900, at.size)), "train/step_ms": (at, np.full(at.size, 21.3)),
        "x/tokens": (at, at * float(PER_STEP)), "x/wall_s": (at, at * 0.0213), "x/flops": (at, at * PER_STEP * 8.5e8),
    }  # fmt: skip
    every = max(1, steps // 400)
    scored = np.arange(-(-first // every) * every, last + 1, every)
    if scored.size:
        part = scored / steps
        val = 2.93 + 1.6 * (1 + 400 * part) ** -0.35 + rng.normal(0, 0.006, scored.size)
        found |= {"val/loss": (scored, val), "val/loss_se": (scored, np.full(scored.size, 0.008))}
        found |= {"eval/train_loss": (scored, val - 0.02), "system/rss_gib": (scored, np.full(scored.size, 3.1))}
        for index, group in enumerate(GROUPS):
            found[f"rms/{group}"] = (scored, 0.02 + (0.02 + 0.006 * index) * (1 - np.exp(-part * 4)))
            found[f"update_ratio/{group}"] = (scored, (2e-3 + 5e-4 * index) * np.exp(-1.8 * part) + 1e-4)
    return found


def write(tx: Tx, name: str, steps: int, *, seed: int = 7, upto: int | None = None, **config: Any) -> Run:
    """A finished run (with `upto`: a running one) of so many steps, and its points."""
    settings = {"schedule": {"steps": steps, "warmup_steps": steps // 100}, **config}
    run, _ = runs.create(tx, Launch(preset="tiny", name=name, config=settings), key=None, body_sha256="", now=0.0)
    tx.session.flush()
    last = upto or steps
    spikes = spike_steps(steps, seed=seed)
    for first in range(1, last + 1, PART):
        appending.append(tx.raw, run.id, columns(first, min(first + PART - 1, last), steps, seed, spikes))
    run.state = "running" if upto else "finished"
    run.step, run.started_at, run.updated_at = last, 0.0, last * 0.0213
    summary = series.summaries(tx.raw, run.id, ("val/loss",))["val/loss"]
    run.best_val, run.best_step, run.best_val_se, run.tok_per_s = summary.min, summary.min_step, 0.008, 96_000.0
    return run
