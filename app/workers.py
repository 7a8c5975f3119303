"""The machines that claim work: who they are, when they were last heard, how fast they were."""

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import select

from app import feed
from app.contract import ids
from app.contract.protocol import WorkerInfo
from app.db import Tx
from app.errors import NotFound
from app.tables import Job, Worker

THERE_S = 120.0
"""Work that only some workers can do waits for those that were heard of within this time."""
SEEN_EVERY_S = 5.0
"""last_seen moves in steps of this size: a poll that finds nothing to do then writes nothing and costs no fsync."""


def seen(tx: Tx, info: WorkerInfo, *, now: float) -> Worker:
    """The worker with this instance id, registered or refreshed."""
    worker = tx.session.scalar(select(Worker).where(Worker.instance == info.instance))
    said = {
        "name": info.name,
        "devices": [device.model_dump() for device in info.devices],
        "versions": dict(info.versions),
        "labels": dict(info.labels),
    }
    if worker is None:
        worker = Worker(instance=info.instance, created_at=now, last_seen=now, speeds={}, enabled=True, **said)
        tx.session.add(worker)
        tx.session.flush()
        feed.post(tx, "worker", worker.id, "state")
        return worker
    changed = {key: value for key, value in said.items() if getattr(worker, key) != value}
    for key, value in changed.items():
        setattr(worker, key, value)
    if changed or abs(now - worker.last_seen) >= SEEN_EVERY_S:
        worker.last_seen = now
        feed.post(tx, "worker", worker.id, "state")
    return worker


def heard(tx: Tx, worker_id: int, *, now: float) -> None:
    """A batch came from this worker (hot path)."""
    tx.raw.execute(
        "UPDATE workers SET last_seen = ? WHERE id = ? AND abs(? - last_seen) >= ?", (now, worker_id, now, SEEN_EVERY_S)
    )


def get(tx: Tx, text_id: str) -> Worker:
    number = ids.parse("worker", text_id)
    worker = tx.session.get(Worker, number) if number is not None else None
    if worker is None:
        known = ", ".join(ids.show("worker", one.id) for one in list_all(tx)) or "none yet"
        raise NotFound(f"There is no worker {text_id[:40]}; known: {known}.")
    return worker


def list_all(tx: Tx) -> list[Worker]:
    return list(tx.session.scalars(select(Worker).order_by(Worker.id)))


def data_roots(worker: Worker) -> list[str]:
    """The folders below which it reads files that a dataset names, as it told when it last started."""
    return [line for line in worker.labels.get("data_roots", "").splitlines() if line]


def that_read(tx: Tx, paths: Iterable[str], *, now: float) -> list[Worker]:
    """Those that are there and have every one of these files or folders below a data root, as the names say it."""
    wanted = [PurePosixPath(path) for path in paths]
    return [
        worker
        for worker in list_all(tx)
        if worker.enabled
        and now - worker.last_seen <= THERE_S
        and all(any(path.is_relative_to(root) for root in data_roots(worker)) for path in wanted)
    ]


def devices(tx: Tx, worker: str | None) -> list[dict[str, Any]]:
    """What may take a run: the devices of the worker asked for, or of every worker that claims; no two alike."""
    named = [row for row in list_all(tx) if row.enabled and worker in (None, ids.show("worker", row.id))]
    found = [one for row in named for one in row.devices]
    return list({(one["kind"], one["name"], one.get("memory_gib"), one.get("free_gib")): one for one in found}.values())


def most_devices(tx: Tx, worker: str | None, kind: str, *, now: float) -> int:
    """How many devices (of a kind, or any: auto) the largest worker has that is there and may take a run; 0 without one."""
    there = [
        row
        for row in list_all(tx)
        if row.enabled and now - row.last_seen <= THERE_S and worker in (None, ids.show("worker", row.id))
    ]
    return max((sum(kind in ("auto", one["kind"]) for one in row.devices) for row in there), default=0)


def busy(tx: Tx) -> dict[int, list[Job]]:
    """Worker id -> the jobs it holds now."""
    held: dict[int, list[Job]] = {}
    for job in tx.session.scalars(select(Job).where(Job.state == "claimed").order_by(Job.id)):
        if job.claimed_by is not None:
            held.setdefault(job.claimed_by, []).append(job)
    return held


def set_enabled(tx: Tx, worker: Worker, enabled: bool) -> None:
    """False drains it: it finishes what it holds and claims nothing new."""
    worker.enabled = enabled
    feed.post(tx, "worker", worker.id, "state")


def record_speed(tx: Tx, worker_id: int, shape: str, tok_per_s: float) -> None:
    """Remember the last measured tokens/s for a model shape (preflight.shape_key)."""
    worker = tx.session.get_one(Worker, worker_id)
    worker.speeds = {**worker.speeds, shape: round(tok_per_s, 1)}
    feed.post(tx, "worker", worker_id, "state")
