"""What is known of a stored run, as the diagnosis reads it: its curves, its configuration, what its worker told, its data.

telemetry["imported"] of a run from elsewhere says which fields of its configuration, and which facts, were really told.
"""

import json
import re
from typing import Any

from sqlalchemy import select

from app import checkpoints, preflight, tails
from app import facts as facts_of
from app.contract.config import RunConfig
from app.contract.states import ENDED, DatasetState
from app.db import Tx
from app.diagnosis.observations import Observations, Relative
from app.tables import Attempt, Dataset, Event, Run

RELATIVES = 12
"""Other runs that are looked up for comparison."""
_WEIGHTS = re.compile(r"The weights (\S+) are not finite")


def observe(tx: Tx, run: Run) -> Observations:
    """Reads, never writes; a few milliseconds, however long the run is."""
    config, told = RunConfig.model_validate(run.config), run.telemetry
    imported = told.get("imported")
    known = None if imported is None else set(imported.get("known", ()))
    facts: dict[str, Any] = told if imported is None else imported.get("facts", {})
    said = facts_of.said(config, known, facts)
    if imported is None:
        said |= {"steps": run.steps, "pretrained": run.fork_checkpoint_id is not None}
    return Observations(
        tails.curves(tx.raw, run.id),
        points=tails.counts(tx.raw, run.id),
        step=run.step,
        ended=run.state in ENDED,
        failed=run.reason if run.state == "failed" else None,
        first_step=int(told.get("first_step", 0)),
        **said | _data(tx, run) | _history(tx, run) | _others(tx, run, config),
    )


def _data(tx: Tx, run: Run) -> dict[str, Any]:
    """What the dataset's manifest and report tell."""
    dataset = tx.session.get(Dataset, run.dataset_id) if run.dataset_id else None
    if dataset is None or dataset.manifest is None or dataset.state != DatasetState.ready:
        return {}
    manifest = dataset.manifest
    found: dict[str, Any] = {
        "train_tokens": manifest["train"]["tokens"], "val_tokens": manifest["val"]["tokens"],
        "unigram_entropy": manifest["unigram_entropy"], "bytes_per_token": manifest["bytes_per_token"],
        "split_rule": manifest.get("split_rule") or "hash",
    }  # fmt: skip
    report = (dataset.report or {}).get("result") or {}
    if likeness := report.get("likeness"):
        found |= {"split_distance": likeness["distance"], "split_noise": likeness["noise_99"]}
    copies = report.get("normalised") or report.get("exact")
    found["duplicate_share"] = copies["token_share"] if copies else None
    found["leak_share"] = (report.get("leakage") or {}).get("window_share")
    return found


def _history(tx: Tx, run: Run) -> dict[str, Any]:
    attempts = tx.session.scalars(select(Attempt).where(Attempt.run_id == run.id).order_by(Attempt.number)).all()
    alarms = tx.session.scalars(select(Event).where(Event.run_id == run.id, Event.kind == "alarm").limit(200)).all()
    resumed = [one.first_step for one in attempts if one.number > 1 and one.first_step]
    tensors = [match[1] for one in alarms if (match := _WEIGHTS.search(one.text))]
    return {
        **({"resumed_at": tuple(resumed)} if resumed else {}),
        "attempts": len(attempts) or None,
        "out_of_memory_at": tuple(one.step or 0 for one in alarms if {"before", "after"} <= one.data.keys()),
        "checkpoint_steps": tuple(sorted({one.step for one in checkpoints.listing(tx, run.id)})),
        "non_finite_tensor": tensors[0] if tensors else None,
    }


def _others(tx: Tx, run: Run, config: RunConfig) -> dict[str, Any]:
    """Finished runs on the same data, for scaling laws; and those of this shape on this device, for its speed."""
    if run.data_sha256 is None:
        return {}
    query = (
        select(Run)
        .where(Run.data_sha256 == run.data_sha256, Run.state == "finished", Run.id != run.id, Run.deleted_at.is_(None))
        .order_by(Run.id.desc())
        .limit(RELATIVES)
    )
    relatives, speeds = [], []
    for other in tx.session.scalars(query):
        theirs = RunConfig.model_validate(other.config)
        last = "SELECT key, last_value FROM series WHERE run_id = ? AND key IN ('val/loss', 'train/mfu')"
        newest = dict(tx.raw.execute(last, (other.id,)).fetchall())
        size = facts_of.sizes(theirs, None, other.telemetry)["parameters"]
        if size and newest.get("val/loss") is not None and theirs.model.block_size == config.model.block_size:
            relatives.append(Relative(int(size), theirs.tokens_per_step * other.step, newest["val/loss"]))
        device = run.telemetry.get("device_name")
        alike = device and other.telemetry.get("device_name") == device
        dtype = str(run.telemetry.get("dtype"))
        if (
            alike
            and newest.get("train/mfu")
            and preflight.shape_key(theirs, dtype) == preflight.shape_key(config, dtype)
        ):
            speeds.append(newest["train/mfu"])
    return {"relatives": tuple(relatives), "same_shape_mfu": tuple(speeds), "seed_sd": _seed_sd(tx, run)}


def _seed_sd(tx: Tx, run: Run) -> float | None:
    """Of the best losses of runs that differ from this one in their seed alone, where there are three."""
    same = tx.raw.execute(
        "SELECT best_val FROM runs WHERE data_sha256 = ? AND state = 'finished' AND best_val IS NOT NULL AND deleted_at IS NULL"
        " AND json_remove(config, '$.system.seed') = json_remove(?, '$.system.seed')",
        (run.data_sha256, json.dumps(run.config)),
    ).fetchall()
    losses = [row[0] for row in same]
    if len(losses) < 3:
        return None
    mean = sum(losses) / len(losses)
    return float((sum((loss - mean) ** 2 for loss in losses) / (len(losses) - 1)) ** 0.5)
