"""A database of made-up runs in every state, for the tests of the pages: written through the domain's own functions."""

import math
import time
from typing import Any

import numpy as np
from made_report import REPORT

from app import appending, checkpoints, datasets, events, feed, runs
from app.contract.dataset import DatasetSpec, Manifest, SourceFile
from app.contract.protocol import DeviceInfo, LogLine, WorkerInfo
from app.contract.states import RunState
from app.db import Database, Tx
from app.runs import Launch
from app.tables import Attempt, Run
from app.workers import record_speed, seen

STEPS, PER_STEP = 1000, 12 * 128
GROUPS = {"attn.qkv": 0.02, "attn.proj": 0.008, "mlp.fc": 0.022, "mlp.proj": 0.009, "embedding": 0.02}


def manifest(name: str) -> dict[str, Any]:
    text = "import math\n\ndef area(radius):\n    return math.pi * radius ** 2\n"
    pieces = [
        "import",
        " math",
        "\n\n",
        "def",
        " area",
        "(",
        "radius",
        "):\n   ",
        " return",
        " math",
        ".pi",
        " *",
        " radius",
        " **",
        " 2\n",
    ]
    split = {"documents": 1200, "text_bytes": 18_000_000, "shards": []}
    return {
        "version": 1, "spec": DatasetSpec(name=name, kind="builtin").model_dump(mode="json"), "sources": [],
        "tokenizer": {"kind": "bpe", "vocab_size": 4096, "eot": 0, "sha256": "0" * 64}, "dtype": "uint16",
        "train": {**split, "tokens": 5_120_000}, "val": {**split, "tokens": 560_000, "documents": 131},
        "bytes_per_token": 3.42, "unigram_entropy": 6.31,
        "preview": [
            {"text": text, "tokens": pieces, "ids": list(range(len(pieces)))},
            {"text": text, "tokens": pieces, "ids": list(range(len(pieces))), "chosen": "random", "document": 41,
             "characters": 9000, "split": "val"},
        ],
    }  # fmt: skip


def curve(run: Run, upto: int, seed: int, wall_per_step: float = 0.11) -> dict[str, tuple[Any, Any]]:
    """The series of a run that has reached step `upto`."""
    random = np.random.default_rng(seed)
    steps = np.arange(1, upto + 1)
    decay = run.config["optim"]["weight_decay"]
    base = 3.1 + 5.2 * np.exp(-steps / 60) + 1.6 * np.exp(-steps / 420) + 0.05 * decay
    lr = 1e-3 * np.minimum(steps / 50, 0.55 + 0.45 * np.cos(np.pi * steps / STEPS))
    at = np.arange(0, upto + 1, 50)
    val = (
        3.14 + 5.18 * np.exp(-at / 60) + 1.6 * np.exp(-at / 420) + 0.05 * decay + 0.01 * random.standard_normal(at.size)
    )
    columns: dict[str, tuple[Any, Any]] = {
        "train/loss": (steps, base + 0.06 * random.standard_normal(upto)),
        "train/lr": (steps, lr),
        "decay/effective": (steps, lr * decay),
        "train/grad_norm": (steps, 0.5 + 2 * np.exp(-steps / 30) + 0.12 * random.random(upto)),
        "train/tok_per_s": (steps, 13_900 + 300 * random.standard_normal(upto)),
        "train/step_ms": (steps, np.full(upto, 110.4)),
        "x/tokens": (steps, steps * float(PER_STEP)),
        "x/wall_s": (steps, steps * wall_per_step),
        "x/flops": (steps, steps * 9.1e9 * PER_STEP / 1000),
        "val/loss": (at, val),
        "val/loss_se": (at, np.full(at.size, 0.012)),
        "eval/train_loss": (at, val - 0.03),
        "system/rss_gib": (at, np.full(at.size, 0.61)),
    }
    for index, (group, size) in enumerate(GROUPS.items()):
        columns[f"rms/{group}"] = (at, size * (1 + at / 900 * (1.2 - 0.3 * decay)))
        columns[f"update_ratio/{group}"] = (at, (2e-3 + 5e-4 * index) * np.exp(-at / 700))
    return columns


def _put(tx: Tx, run: Run, upto: int, seed: int, now: float) -> None:
    columns = curve(run, upto, seed)
    appending.append(tx.raw, run.id, columns)
    run.step = upto
    steps, values = columns["val/loss"]
    best = int(np.argmin(values))
    run.best_val, run.best_val_se, run.best_step = float(values[best]), 0.012, int(steps[best])
    run.tok_per_s = 13_912.0
    run.updated_at = now
    feed.post(tx, "run", run.id, "points", 1)


def grow(db: Database, number: int, upto: int) -> None:
    """More points for a run, as a worker's batch would bring them."""
    db.write(lambda tx: _put(tx, tx.session.get_one(Run, number), upto, number, time.time()))


def fill(db: Database) -> None:
    db.write(_fill)


def _fill(tx: Tx) -> None:
    now = time.time()
    info = WorkerInfo(
        name="attic", instance="fixture-0001", devices=[DeviceInfo(kind="cpu", name="2-core CPU", memory_gib=8)],
        versions={"plateau": "0.1.0", "torch": "2.12", "python": "3.11"},
    )  # fmt: skip
    worker = seen(tx, info, now=now)
    record_speed(tx, worker.id, "L4 C128 T128 B12 float32", 13_900.0)
    builtin = datasets.ensure_builtin(tx, now - 7000)
    datasets.prepared(
        tx, builtin, Manifest.model_validate(manifest(builtin.name)).model_dump(mode="json"), now=now - 6900
    )
    builtin.report = {"state": "ready", "result": REPORT, "made_at": now - 6800}
    datasets.create(
        tx,
        DatasetSpec(name="poems", kind="text", files=(SourceFile(name="poems.txt", path="/data/poems.txt"),)),
        now=now,
    )
    plan: tuple[tuple[str, RunState, int, dict[str, Any]], ...] = (
        ("demo λ = 0", RunState.finished, 1000, {"optim": {"weight_decay": 0.0}}),
        ("demo λ = 3", RunState.finished, 1000, {"optim": {"weight_decay": 3.0}}),
        ("tiny lr 3e-3", RunState.failed, 310, {"schedule": {"lr": 3e-3}}),
        ("tiny <b>bold</b> & wd1", RunState.stopped, 640, {"optim": {"weight_decay": 1.0}}),
        ("tiny wd0.3", RunState.paused, 420, {"optim": {"weight_decay": 0.3}}),
        ("tiny seed 7", RunState.lost, 250, {"system": {"seed": 7}}),
        ("tiny wd0.1", RunState.running, 620, {}),
        ("tiny wd0.01", RunState.queued, 0, {"optim": {"weight_decay": 0.01}}),
    )
    for index, (name, state, upto, changes) in enumerate(plan):
        created = now - 3600 * (len(plan) - index)
        launch = Launch(preset="tiny", name=name, config=changes, tags=["demo"] if index < 2 else ["wd-study"])
        run, _ = runs.create(tx, launch, key=None, body_sha256="", now=created)
        if upto:
            _live(tx, run, worker.id, state, upto, created, now)
    tx.session.flush()
    runs.pin_baseline(tx, tx.session.get_one(Run, 1))


def _live(tx: Tx, run: Run, worker_id: int, state: RunState, upto: int, created: float, now: float) -> None:
    """Straight to the state that a life with a worker would have led to."""
    run.started_at, run.worker_id = created + 4, worker_id
    run.state = "running"
    tx.session.add(
        Attempt(run_id=run.id, number=1, worker_id=worker_id, claim_id=f"claim-{run.id}", started_at=created + 4)
    )
    tx.session.flush()
    _put(tx, run, upto, run.id, now - 240 if state is RunState.lost else now)
    events.record(tx, run.id, "state", "claimed by attic", at=created + 4, attempt=1, data={"to": "starting"})
    events.record(tx, run.id, "best", f"Val loss {run.best_val:.3f}", at=now - 60, attempt=1, step=run.best_step)
    for step, kept in ((0, "start"), (upto // 250 * 250, "interval"), (run.best_step or 0, "best")):
        checkpoints.saved(
            tx,
            run.id,
            worker_id,
            {"attempt": 1, "step": step, "kept": kept, "bytes": 15_900_000, "val_loss": 3.4, "manifest": {}},
            now=now - 90,
        )
    lines = [
        LogLine(
            at=now - 30 + i, text=f"step {upto - 12 + i}  loss {3.4 + 0.02 * math.sin(i):.3f}  lr 5.1e-4  13.9k tok/s"
        )
        for i in range(12)
    ]
    events.log(tx, [*lines, LogLine(at=now, level="warn", text="evaluation took 2.1 s")], attempt=1, run_id=run.id)
    if state is RunState.failed:
        appending.append(tx.raw, run.id, {"train/loss": (np.array([upto]), np.array([math.nan]))})
        run.reason, run.detail = "non_finite", f"the loss became NaN at step {upto}"
    run.state = state.value
    run.ended_at = created + 140 if state in (RunState.finished, RunState.failed, RunState.stopped) else None
