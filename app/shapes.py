"""The JSON of every noun, the same from each route and each live message; the types are the API's documentation."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from sqlalchemy import func, select
from typing_extensions import TypedDict

from app import forks, runs, workers
from app.contract import ids
from app.contract.quality import DatasetReport
from app.contract.states import ACTIVE, MEANING, OF_A_LOG, RunState
from app.db import Tx
from app.tables import Attempt, Checkpoint, Dataset, Diagnosis, Event, LogRow, Run, Token, Worker

Named = TypeVar("Named", Dataset, Worker, Checkpoint)


class Ref(TypedDict):
    """Another noun, by id and name."""

    id: str
    name: str


class DatasetRef(Ref):
    state: str


class ForkRef(TypedDict):
    """The checkpoint that a run started from."""

    run: str
    checkpoint: str
    step: int


class RunJson(TypedDict):
    """A run: what was asked for, where it stands, what can be done to it."""

    id: str
    name: str
    state: str
    reason: str | None
    detail: str
    meaning: str
    source: str
    preset: str | None
    tags: list[str]
    notes: str
    dataset: DatasetRef | None
    config: dict[str, Any]
    step: int
    steps: int
    progress: float
    tokens: int | float
    eta_s: float | None
    best_val: float | None
    best_val_se: float | None
    best_step: int | None
    tok_per_s: float | None
    telemetry: dict[str, Any]
    created_at: str
    started_at: str | None
    ended_at: str | None
    updated_at: str
    deleted_at: str | None
    attempts: int
    worker: Ref | None
    fork: ForkRef | None
    baseline: bool
    diagnosis: str | None
    url: str
    actions: list[str]


class DatasetJson(TypedDict):
    """A dataset: its spec, how far its preparation is, and the manifest and report once they are there."""

    id: str
    name: str
    state: str
    detail: str
    spec: dict[str, Any]
    progress: dict[str, Any]
    manifest: dict[str, Any] | None
    manifest_sha256: str | None
    report: DatasetReport | None
    created_at: str
    ready_at: str | None
    url: str


class WorkerJson(TypedDict):
    """A machine that claims work."""

    id: str
    name: str
    enabled: bool
    devices: list[dict[str, Any]]
    versions: dict[str, Any]
    labels: dict[str, Any]
    speeds: dict[str, Any]
    jobs: list[str]
    created_at: str
    last_seen: str


class EventJson(TypedDict):
    id: str
    at: str
    attempt: int | None
    step: int | None
    kind: str
    text: str
    data: dict[str, Any]


class LineJson(TypedDict):
    id: int
    at: float
    level: str
    text: str


class CheckpointJson(TypedDict):
    id: str
    run: str
    attempt: int
    step: int
    kept: str
    bytes: int
    val_loss: float | None
    worker: str | None
    manifest: dict[str, Any]
    created_at: str


class TokenJson(TypedDict):
    """A token without its secret, which nobody can read again."""

    id: str
    name: str
    scope: str
    created_at: str
    expires_at: str | None
    last_used: str | None
    revoked_at: str | None


def iso(at: float) -> str:
    """Unix seconds → '2026-03-01T12:00:00.123Z'."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def maybe_iso(at: float | None) -> str | None:
    return None if at is None else iso(at)


def run(tx: Tx, one: Run) -> RunJson:
    return run_list(tx, [one])[0]


def run_list(tx: Tx, rows: Sequence[Run]) -> list[RunJson]:
    """Runs with the names they refer to, in three queries however many they are."""
    datasets = _by_id(tx, Dataset, {row.dataset_id for row in rows})
    machines = _by_id(tx, Worker, {row.worker_id for row in rows})
    numbers = [row.id for row in rows]
    counted = select(Attempt.run_id, func.count()).where(Attempt.run_id.in_(numbers)).group_by(Attempt.run_id)
    attempts: dict[int, int] = {row[0]: row[1] for row in tx.session.execute(counted)}
    pinned = runs.baseline(tx)
    judged = select(Diagnosis.run_id, Diagnosis.verdict).where(Diagnosis.run_id.in_(numbers))
    verdicts: dict[int, str] = {row[0]: row[1] for row in tx.session.execute(judged)}
    origins = _by_id(tx, Checkpoint, {row.fork_checkpoint_id for row in rows})
    return [
        _run(
            row,
            origins.get(row.fork_checkpoint_id or 0),
            datasets.get(row.dataset_id or 0),
            machines.get(row.worker_id or 0),
            attempts.get(row.id, 0),
            pinned is not None and pinned.id == row.id,
            verdicts.get(row.id),
        )
        for row in rows
    ]


def _run(
    row: Run, origin: Checkpoint | None, data: Dataset | None, machine: Worker | None, attempts: int, baseline: bool, verdict: str | None
) -> RunJson:  # fmt: skip
    shown = ids.show("run", row.id)
    state = RunState(row.state)
    return {
        "id": shown,
        "name": row.name,
        "state": row.state,
        "reason": row.reason,
        "detail": row.detail,
        "meaning": (OF_A_LOG if "imported" in row.telemetry else MEANING)[state],
        "source": row.source,
        "preset": row.preset,
        "tags": row.tags,
        "notes": row.notes,
        "dataset": {"id": ids.show("dataset", data.id), "name": data.name, "state": data.state} if data else None,
        "config": row.config,
        "step": row.step,
        "steps": row.steps,
        "progress": min(1.0, row.step / row.steps) if row.steps else 0.0,
        "tokens": countable(forks.tokens_at(row, row.step)),
        "eta_s": _eta_s(row) if state in ACTIVE else None,
        "best_val": row.best_val,
        "best_val_se": row.best_val_se,
        "best_step": row.best_step,
        "tok_per_s": row.tok_per_s,
        "telemetry": row.telemetry,
        "created_at": iso(row.created_at),
        "started_at": maybe_iso(row.started_at),
        "ended_at": maybe_iso(row.ended_at),
        "updated_at": iso(row.updated_at),
        "deleted_at": maybe_iso(row.deleted_at),
        "attempts": attempts,
        "worker": {"id": ids.show("worker", machine.id), "name": machine.name} if machine else None,
        "fork": {
            "run": ids.show("run", origin.run_id),
            "checkpoint": ids.show("checkpoint", origin.id),
            "step": origin.step,
        }
        if origin
        else None,
        "baseline": baseline,
        "diagnosis": verdict,
        "url": f"/runs/{shown}",
        "actions": runs.actions(row),
    }


def countable(number: int) -> int | float:
    """As a float where it is beyond what JSON encoders take for a whole number (2^63)."""
    return number if abs(number) < 2**63 else float(number)


def tokens_per_step(config: dict[str, Any]) -> int:
    batch = config["batch"]
    return int(batch["micro_batch"] * batch["accumulation"] * config["model"]["block_size"])


def _eta_s(row: Run) -> float | None:
    """From the newest tokens/s; evaluations come on top."""
    if not row.tok_per_s:
        return None
    return max(0, row.steps - row.step) * tokens_per_step(row.config) / row.tok_per_s


def dataset(row: Dataset, *, manifest: bool = True) -> DatasetJson:
    shown = ids.show("dataset", row.id)
    return {
        "id": shown,
        "name": row.name,
        "state": row.state,
        "detail": row.detail,
        "spec": row.spec,
        "progress": row.progress,
        "manifest": row.manifest if manifest else None,
        "manifest_sha256": row.manifest_sha256,
        "report": cast(DatasetReport | None, row.report) if manifest else None,  # as JSON
        "created_at": iso(row.created_at),
        "ready_at": maybe_iso(row.ready_at),
        "url": f"/datasets/{shown}",
    }


def worker_list(tx: Tx, rows: Sequence[Worker]) -> list[WorkerJson]:
    busy = workers.busy(tx)
    return [
        {
            "id": ids.show("worker", row.id),
            "name": row.name,
            "enabled": row.enabled,
            "devices": row.devices,
            "versions": row.versions,
            "labels": row.labels,
            "speeds": row.speeds,
            "jobs": [_job(job.id, job.run_id, job.dataset_id) for job in busy.get(row.id, ())],
            "created_at": iso(row.created_at),
            "last_seen": iso(row.last_seen),
        }
        for row in rows
    ]


def _job(number: int, run_id: int | None, dataset_id: int | None) -> str:
    """What a worker is busy with: the run or dataset if there is one."""
    if run_id is not None:
        return ids.show("run", run_id)
    return ids.show("dataset", dataset_id) if dataset_id is not None else ids.show("job", number)


def event(row: Event) -> EventJson:
    return {
        "id": ids.show("event", row.id),
        "at": iso(row.at),
        "attempt": row.attempt,
        "step": row.step,
        "kind": row.kind,
        "text": row.text,
        "data": row.data,
    }


def line(row: LogRow) -> LineJson:
    return {"id": row.id, "at": row.at, "level": row.level, "text": row.text}


def checkpoint(row: Checkpoint) -> CheckpointJson:
    return {
        "id": ids.show("checkpoint", row.id),
        "run": ids.show("run", row.run_id),
        "attempt": row.attempt,
        "step": row.step,
        "kept": row.kept,
        "bytes": row.bytes,
        "val_loss": row.val_loss,
        "worker": ids.show("worker", row.worker_id) if row.worker_id is not None else None,
        "manifest": row.manifest,
        "created_at": iso(row.created_at),
    }


def token(row: Token) -> TokenJson:
    return {
        "id": ids.show("token", row.id),
        "name": row.name,
        "scope": row.scope,
        "created_at": iso(row.created_at),
        "expires_at": maybe_iso(row.expires_at),
        "last_used": maybe_iso(row.last_used),
        "revoked_at": maybe_iso(row.revoked_at),
    }


def _by_id(tx: Tx, table: type[Named], numbers: set[int | None]) -> dict[int, Named]:
    wanted = sorted(number for number in numbers if number is not None)
    if not wanted:
        return {}
    return {row.id: row for row in tx.session.scalars(select(table).where(table.id.in_(wanted)))}
