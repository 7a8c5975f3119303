"""Disk space given back when a dataset is deleted: on the server at once, on each worker by a job of its own.

A dataset's folder on a worker has the name of its manifest's hash. The manifest itself stays where runs refer to it.
"""

from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import select

from app import artifacts, datasets, feed, jobs
from app.contract import ids
from app.contract.protocol import Finish
from app.contract.states import JobKind
from app.db import Database, Tx
from app.errors import NotFound
from app.tables import Dataset, Job, Worker


class There(NamedTuple):
    """One worker that has, or had, its files."""

    worker: str  #: w-01
    name: str
    bytes: int | None  #: given back; None: it has not answered yet
    detail: str = ""  #: why it could not


class Freed(NamedTuple):
    """What the deletion of a dataset has given back."""

    server_bytes: int
    workers: list[There]

    @property
    def bytes(self) -> int:
        return self.server_bytes + sum(one.bytes or 0 for one in self.workers)

    @property
    def failed(self) -> list[There]:
        return [one for one in self.workers if one.detail]

    @property
    def waiting(self) -> list[str]:
        return [one.name for one in self.workers if one.bytes is None and not one.detail]


def delete(db: Database, store: Path, text_id: str, *, now: float) -> Dataset:
    """Take a dataset off the list and give back what its files take. Raises NotFound, Conflict (datasets.delete)."""

    def work(tx: Tx) -> tuple[Dataset, list[str]]:
        dataset = datasets.get(tx, text_id)
        files = datasets.delete(tx, dataset, now=now)
        if dataset.manifest_sha256 is not None:
            for worker_id in datasets.holders(tx, dataset):
                jobs.enqueue(tx, JobKind.free, dataset_id=dataset.id, worker_id=worker_id, now=now)
        return dataset, files

    dataset, files = db.write(work)
    freed = artifacts.unlink(store, files)  # once nothing that is committed refers to them
    db.write(
        lambda tx: tx.raw.execute("UPDATE datasets SET freed_bytes = ? WHERE id = ?", (freed, dataset.id)) and None
    )
    return dataset


def of(tx: Tx, dataset: Dataset) -> Freed:
    """How far it is."""
    query = select(Job, Worker).join(Worker, Worker.id == Job.worker_id)
    rows = tx.session.execute(
        query.where(Job.dataset_id == dataset.id, Job.kind == JobKind.free.value).order_by(Job.id)
    )
    newest = {worker.id: _there(job, worker) for job, worker in rows.all()}
    return Freed(dataset.freed_bytes or 0, list(newest.values()))


def find(tx: Tx, text_id: str) -> Freed:
    """Of a deleted dataset, by its id. Raises NotFound."""
    dataset = datasets.tombstone(tx, text_id)
    if dataset is None:
        raise NotFound(f"There is no deleted dataset {text_id[:40]}.")
    return of(tx, dataset)


def _there(job: Job, worker: Worker) -> There:
    return There(ids.show("worker", worker.id), worker.name, job.payload.get("bytes"), job.payload.get("detail", ""))


def offer(tx: Tx, job: Job, *, now: float) -> dict[str, Any] | None:
    """What the worker is to delete; None, and the job over, where the same data has been prepared again since."""
    dataset = tx.session.get_one(Dataset, job.dataset_id)
    again = select(Dataset.id).where(
        Dataset.manifest_sha256 == dataset.manifest_sha256, Dataset.deleted_at.is_(None), Dataset.id != dataset.id
    )
    if tx.session.scalar(again) is not None:
        jobs.end(tx, job, now=now, outcome="finished")
        job.payload = {"bytes": 0}
        return None
    return {"dataset": ids.show("dataset", dataset.id), "config": {"manifest_sha256": dataset.manifest_sha256}}


def ended(tx: Tx, job: Job, finish: Finish, *, failed: str, now: float) -> None:
    """The worker has done it, or could not: `failed` is its last word; or was told to leave in the middle of it."""
    freed = finish.summary.get("bytes")
    if finish.outcome == "requeue":
        _again(tx, job, now=now)
    elif finish.outcome == "finished" and type(freed) is int and 0 <= freed < 2**53:
        job.payload = {"bytes": freed}
    else:
        job.payload = {"detail": failed[:500]}
    tx.session.flush()
    feed.post(tx, "dataset", int(job.dataset_id or 0), "state")


def silent(tx: Tx, job: Job, *, now: float) -> None:
    """Its worker has vanished: it does so when it is back."""
    jobs.end(tx, job, now=now, outcome="lost")
    _again(tx, job, now=now)


def _again(tx: Tx, job: Job, *, now: float) -> None:
    jobs.enqueue(tx, JobKind.free, dataset_id=job.dataset_id, worker_id=job.worker_id, now=now)
