"""Checkpoints as another project's files: a worker writes them, the server keeps them to be fetched."""

from typing import Any

from pydantic import ValidationError
from sqlalchemy import select

from app import artifacts, checkpoints, events, jobs, samples
from app.contract import ids
from app.contract.exchange import Format
from app.contract.protocol import FileRef, Finish
from app.contract.states import JobKind, JobState
from app.db import Tx
from app.errors import FieldError, Invalid
from app.tables import Checkpoint, Job, Run


def ask(tx: Tx, checkpoint: Checkpoint, format: Format, *, now: float, quiet_s: float) -> Job:
    """The export under way or made before, while its files are still here; else a new one. Raises Conflict."""
    for job in listing(tx, checkpoint):
        if job.payload["format"] == format and state(tx, job) in ("queued", "writing", "done"):
            return job
    worker_id, _ = samples.holder(tx, checkpoint, now=now, quiet_s=quiet_s)
    payload = {"checkpoint": checkpoint.id, "format": format}
    return jobs.enqueue(
        tx, JobKind.export, run_id=checkpoint.run_id, worker_id=worker_id, payload=payload, now=now
    )  # fmt: skip


def listing(tx: Tx, checkpoint: Checkpoint) -> list[Job]:
    """A checkpoint's exports, newest first."""
    return [job for job in of_run(tx, checkpoint.run_id) if job.payload.get("checkpoint") == checkpoint.id]


def of_run(tx: Tx, run_id: int) -> list[Job]:
    """Those of all its checkpoints, newest first."""
    query = select(Job).where(Job.run_id == run_id, Job.kind == JobKind.export.value)
    return list(tx.session.scalars(query.order_by(Job.id.desc()).execution_options(populate_existing=True)))


def state(tx: Tx, job: Job) -> str:
    """queued, writing, done, failed; or gone, where the server has deleted the files since."""
    if job.state != JobState.done.value:
        return "queued" if job.state == JobState.queued.value else "writing"
    if "files" not in job.payload:
        return "failed"
    return "done" if all(artifacts.on_server(tx.raw, file["sha256"]) for file in job.payload["files"]) else "gone"


def offer(tx: Tx, job: Job) -> dict[str, Any]:
    checkpoint = tx.session.get_one(Checkpoint, job.payload["checkpoint"])
    run = tx.session.get_one(Run, checkpoint.run_id)
    return {
        "run": ids.show("run", run.id),
        "name": run.name,
        "config": {"format": job.payload["format"]},
        "resume": {**checkpoint.manifest, "attempt": checkpoint.attempt, "step": checkpoint.step},
        "files": checkpoints.files(checkpoint),
    }


def ended(tx: Tx, job: Job, finish: Finish, *, failed: str, now: float) -> None:
    """The job's end, as its worker tells it; the run's events say with what result."""
    if finish.outcome == "requeue":
        jobs.enqueue(tx, JobKind.export, run_id=job.run_id, worker_id=job.worker_id, payload=job.payload, now=now)
        return
    checkpoint = tx.session.get_one(Checkpoint, job.payload["checkpoint"])
    said = finish.summary.get("detail", "") if finish.outcome == "finished" else failed
    result = {"detail": str(said)[:1000]}
    if finish.outcome == "finished":
        try:
            files = [FileRef.model_validate(file).model_dump() for file in finish.summary.get("files") or ()]
        except ValidationError:
            raise Invalid([FieldError("/summary/files", "must be files, each with name, sha256 and bytes")]) from None
        job.payload = {**job.payload, **result, "files": files}
        text = f"The checkpoint of step {checkpoint.step} is ready as files of {job.payload['format']}. {said}"
    else:
        job.payload = {**job.payload, **result}
        text = f"The checkpoint of step {checkpoint.step} was not exported. {said}"
    tx.session.flush()
    events.record(tx, checkpoint.run_id, "exported", text[:2000], at=now, step=checkpoint.step, data={"job": job.id})


def silent(tx: Tx, job: Job, *, now: float) -> None:
    """Its worker has vanished."""
    jobs.end(tx, job, now=now, outcome="lost")
    job.payload = {**job.payload, "detail": "its worker fell silent; ask again"}
    tx.session.flush()
