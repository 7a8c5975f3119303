"""A dataset's quality report: asked for once it is ready and whenever somebody asks again, made by a worker's job."""

from typing import Any

from pydantic import ValidationError
from sqlalchemy import select

from app import feed, jobs
from app.contract import ids
from app.contract.protocol import Finish
from app.contract.quality import DatasetReport, QualityReport, ReportProgress
from app.contract.states import DatasetState, JobKind, JobState
from app.db import Tx
from app.errors import Conflict, FieldError, Invalid
from app.tables import Dataset, Job


def of(dataset: Dataset) -> DatasetReport | None:
    """Where its report stands; None: nobody has asked for one."""
    return DatasetReport.model_validate(dataset.report) if dataset.report else None


def ask(tx: Tx, dataset: Dataset, *, worker_id: int | None = None, now: float) -> None:
    """Queue the reading of a prepared dataset; the last result stays until the new one is there.

    `worker_id`: only this worker, which has the tokens on its disk. One that waits already becomes open to all.
    Raises Conflict where there is nothing to read yet, or it is being read now.
    """
    if dataset.state != DatasetState.ready.value:
        raise Conflict(f"The dataset is {dataset.state}; what is in it can be read once it is ready.")
    open_job = tx.session.scalar(
        select(Job)
        .where(Job.dataset_id == dataset.id, Job.kind == JobKind.report.value, Job.state != JobState.done.value)
        .execution_options(populate_existing=True)
    )
    if open_job is None:
        jobs.enqueue(tx, JobKind.report, dataset_id=dataset.id, worker_id=worker_id, now=now)
    elif open_job.state == JobState.queued.value:
        open_job.worker_id = worker_id
    else:
        raise Conflict("This dataset is being read already; its report will be here when that is done.")
    _is(tx, dataset, "queued", "waiting for a worker")


def offer(tx: Tx, job: Job, worker_name: str, *, repeated: bool) -> dict[str, Any]:
    """What a worker needs to make it: the manifest, whose files it has or fetches."""
    dataset = _of_job(tx, job)
    if not repeated:
        _is(tx, dataset, "reading", f"being read by {worker_name}")
    return {"name": dataset.name, "dataset": ids.show("dataset", dataset.id), "manifest": dataset.manifest}


def progressed(tx: Tx, dataset_id: int, telemetry: dict[str, Any]) -> None:
    """A reading worker's telemetry. Raises Invalid when it is no ReportProgress."""
    dataset = tx.session.get_one(Dataset, dataset_id, populate_existing=True)
    stands = of(dataset)
    if stands is None or stands.state != "reading":
        return
    try:  # newest of each key: a worker repeats only what has changed
        progress = ReportProgress.model_validate(stands.progress.model_dump() | telemetry)
    except ValidationError:
        raise Invalid([FieldError("/telemetry", "is not the progress of a report")]) from None
    _set(tx, dataset, stands.model_copy(update={"progress": progress}))


def ended(tx: Tx, job: Job, finish: Finish, *, failed: str, now: float) -> None:
    """The job's end, as its worker tells it; `failed` is its last word."""
    dataset = _of_job(tx, job)
    if finish.outcome == "finished":
        _made(tx, dataset, finish.summary, now=now)
    elif finish.outcome == "requeue":
        jobs.enqueue(tx, JobKind.report, dataset_id=dataset.id, payload=job.payload, now=now)
        _is(tx, dataset, "queued", "its worker was told to leave; waiting for a worker")
    else:
        _is(tx, dataset, "failed", failed)


def silent(tx: Tx, job: Job, *, most: int, now: float) -> None:
    """Its worker has vanished: another tries, until `most` have."""
    dataset = _of_job(tx, job)
    jobs.end(tx, job, now=now, outcome="lost")
    tries = int(job.payload.get("vanished", 0)) + 1
    if tries >= most:
        _is(tx, dataset, "failed", f"Its worker vanished {tries} times while reading it.")
    else:
        jobs.enqueue(tx, JobKind.report, dataset_id=dataset.id, payload={"vanished": tries}, now=now)
        _is(tx, dataset, "queued", "its worker did not come back; waiting for a worker")


def _made(tx: Tx, dataset: Dataset, found: dict[str, Any], *, now: float) -> None:
    try:
        result = QualityReport.model_validate(found | {"manifest_sha256": dataset.manifest_sha256})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        _is(tx, dataset, "failed", f"The worker's report is not usable: {where}: {first['msg']}")
        return
    _set(tx, dataset, DatasetReport(state="ready", result=result, made_at=now))


def _of_job(tx: Tx, job: Job) -> Dataset:
    return tx.session.get_one(Dataset, job.dataset_id, populate_existing=True)


def _is(tx: Tx, dataset: Dataset, state: str, detail: str) -> None:
    stands = of(dataset) or DatasetReport(state="queued")
    told = {"state": state, "detail": detail[:1000], "progress": ReportProgress()}
    _set(tx, dataset, stands.model_copy(update=told))


def _set(tx: Tx, dataset: Dataset, report: DatasetReport) -> None:
    dataset.report = report.model_dump(mode="json")
    tx.session.flush()
    feed.post(tx, "dataset", dataset.id, "state")
