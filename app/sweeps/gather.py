"""A sweep's numbers as one plain dict: everything its analysis needs, nothing that it concludes.

The same dict is what docs/data/decay_sweep.json keeps, so that the analysis of a published sweep can be repeated.
"""

import math
from typing import Any

import numpy as np

from app import evaluations, run_query, series
from app.contract import ids
from app.contract.arithmetic import ASKED_FOR, CHOSEN
from app.contract.metrics import PARAMETER_GROUPS
from app.contract.states import RunState
from app.db import Tx
from app.sweeps import members
from app.sweeps.members import Member
from app.tables import Dataset, Run, Sweep, Worker

QUANTITIES = ("rms", "update_ratio", "decay_share")
BUCKETS = 40
"""Of a curve: at most twice as many points."""
GRADS_READ = 20_000
"""Steps at a run's end that the clipped share is taken from."""
DECIMALS = 6
MOST_WITH_CURVES = 240
"""Runs whose curves are read; beyond it the table alone is shown."""


def gather(tx: Tx, sweep: Sweep) -> dict[str, Any]:
    there = members.of(tx, sweep)
    dataset = tx.session.get(Dataset, sweep.dataset_id) if sweep.dataset_id else None
    manifest = dataset.manifest if dataset is not None else None
    flat = [_fields(tx, member.run, dataset) for member in there]
    common = {
        key: value for key, value in (flat[0] if flat else {}).items() if all(one.get(key) == value for one in flat)
    }
    return {
        "format": 1,
        "sweep": {
            "id": ids.show("sweep", sweep.id), "name": sweep.name, "state": sweep.state, "spec": sweep.spec,
            "created_at": sweep.created_at, "ended_at": sweep.ended_at,
        },
        "dataset": {
            "name": dataset.name if dataset else None,
            "sha256": dataset.manifest_sha256 if dataset else None,
            "train_tokens": manifest["train"]["tokens"] if manifest else None,
            "bytes_per_token": manifest.get("bytes_per_token") if manifest else None,
        },
        "common": common,
        "runs": [
            _run(tx, member, {key: value for key, value in own.items() if key not in common}, len(there))
            for member, own in zip(there, flat, strict=True)
        ],
    }  # fmt: skip


def _fields(tx: Tx, run: Run, dataset: Dataset | None) -> dict[str, Any]:
    """What has to be equal in all arms but for what the sweep varies: configuration, data, numeric path, program."""
    fields = run_query.flat(run.config)
    if run.started_at is not None:
        fields["data.sha256"] = run.data_sha256
        path = {key: run.telemetry[key] for key in (*ASKED_FOR, *CHOSEN, "threads", "torch") if key in run.telemetry}
        fields |= {f"path.{key}": value for key, value in path.items()}
        worker = tx.session.get(Worker, run.worker_id) if run.worker_id else None
        if worker is not None and worker.versions.get("plateau"):
            fields["path.plateau"] = worker.versions["plateau"]
    elif dataset is not None:
        fields["data.sha256"] = dataset.manifest_sha256
    return fields


def _run(tx: Tx, member: Member, fields: dict[str, Any], count: int) -> dict[str, Any]:
    run = member.run
    final = members.final(tx, run)
    columns = {
        name: series.read(tx.raw, run.id, key, buckets=BUCKETS)
        for name, key in (("val", "val/loss"), ("val_se", "val/loss_se"), ("train", "eval/train_loss"), ("train_se", "eval/train_loss_se"))
    }  # fmt: skip
    steps = columns["val"].step.tolist()
    found: dict[str, Any] = {
        "run": ids.show("run", run.id),
        "name": run.name,
        "state": run.state,
        "reason": run.reason,
        "arm": member.arm,
        "seed_index": member.seed_index,
        "seed": run.config["system"]["seed"],
        "linked": member.linked,
        "step": run.step,
        "steps": run.steps,
        "ended": member.ended,
        "final": final if final is not None and math.isfinite(final) else None,
        "diverged": final is not None and not math.isfinite(final),
        "fields": fields,
        "tokens_per_step": run.config["batch"]["micro_batch"] * run.config["batch"]["accumulation"] * run.config["model"]["block_size"],
        "evaluations": {"step": steps, **{name: _aligned(points, steps) for name, points in columns.items()}},
        "seconds": run.ended_at - run.started_at if run.ended_at and run.started_at else None,
    }  # fmt: skip
    found |= _steadiness(tx, run)
    if count <= MOST_WITH_CURVES:
        found["groups"] = _groups(tx, run)
        found["grad_norm"] = _curve(tx, run, "train/grad_norm")
    if run.state == RunState.finished and (losses := evaluations.at(tx.raw, run.id, run.steps)) is not None:
        found["windows"] = [round(float(loss), 5) for loss in losses]
    return found


def _aligned(points: series.Points, steps: list[int]) -> list[float | None]:
    at = dict(zip(points.step.tolist(), points.value.tolist(), strict=True))
    return [_round(at.get(step)) for step in steps]


def _round(value: float | None) -> float | None:
    return round(value, DECIMALS) if value is not None and math.isfinite(value) else None


def _curve(tx: Tx, run: Run, key: str) -> dict[str, list[Any]]:
    points = series.read(tx.raw, run.id, key, buckets=BUCKETS)
    digits = [None if not math.isfinite(value) else float(f"{value:.5g}") for value in points.value.tolist()]
    return {"step": points.step.tolist(), "y": digits}


def _groups(tx: Tx, run: Run) -> dict[str, dict[str, Any]]:
    own = {row[0] for row in tx.raw.execute("SELECT key FROM series WHERE run_id = ?", (run.id,))}
    return {
        quantity: {
            group: _curve(tx, run, f"{quantity}/{group}")
            for group in PARAMETER_GROUPS
            if f"{quantity}/{group}" in own and group not in ("norm", "bias")
        }
        for quantity in QUANTITIES
    }


def _steadiness(tx: Tx, run: Run) -> dict[str, float | None]:
    """Shares of steps clipped and skipped, over the run's last GRADS_READ steps."""
    clip = run.config["optim"]["clip"]
    grads = series.read(tx.raw, run.id, "train/grad_norm", lo=max(0, run.step - GRADS_READ)).value
    skipped = series.read(tx.raw, run.id, "train/skipped", lo=max(0, run.step - GRADS_READ)).value
    return {
        "clipped": round(float(np.mean(grads > clip)), 5) if clip and len(grads) else None,
        "skipped": round(float(np.mean(skipped > 0)), 5) if len(skipped) else None,
    }
