"""Saved states of runs: what exists, who holds it, and how its files come to the server when someone asks."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from sqlalchemy import select

from app import artifacts, events, jobs
from app.contract import ids
from app.contract.protocol import NON_FINITE, FileRef
from app.contract.states import JobKind, JobState
from app.db import Tx
from app.errors import Conflict, Invalid, NotFound, from_pydantic
from app.tables import Checkpoint, Job, Run


class Saved(BaseModel):
    """The data of a worker's `checkpoint` event."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)
    attempt: int = Field(ge=1)
    step: int = Field(ge=0)
    kept: Literal["start", "interval", "best", "end", "asked"]
    bytes: int = Field(ge=0)
    val_loss: float | None = None
    manifest: dict[str, Any]

    @field_validator("val_loss", mode="before")
    @classmethod
    def _diverged(cls, val_loss: Any) -> Any:
        """A loss that is not finite is no reason to lose sight of the checkpoint."""
        return None if isinstance(val_loss, str) and val_loss in NON_FINITE else val_loss


def saved(tx: Tx, run_id: int, worker_id: int | None, data: dict[str, Any], *, now: float, pointer: str = "") -> None:
    """Enter a checkpoint, or what it is now kept for. Raises Invalid with `pointer` in front of the field."""
    try:
        said = Saved.model_validate(data)
    except ValidationError as error:
        raise from_pydantic(error, pointer, Saved) from None
    row = _find(tx, run_id, said.attempt, said.step)
    if row is None:
        row = Checkpoint(run_id=run_id, attempt=said.attempt, step=said.step, created_at=now)
        tx.session.add(row)
    row.worker_id = worker_id
    row.kept, row.bytes, row.val_loss, row.manifest = said.kept, said.bytes, said.val_loss, said.manifest
    row.deleted_at = None
    tx.session.flush()


def deleted(tx: Tx, run_id: int, attempt: Any, step: Any, *, now: float) -> None:
    """A worker has deleted a checkpoint's files; unknown ones are nothing to do."""
    row = _find(tx, run_id, attempt, step) if isinstance(attempt, int) and isinstance(step, int) else None
    if row is not None:
        row.deleted_at = now
        tx.session.flush()


def _find(tx: Tx, run_id: int, attempt: int, step: int) -> Checkpoint | None:
    return tx.session.scalar(
        select(Checkpoint).where(Checkpoint.run_id == run_id, Checkpoint.attempt == attempt, Checkpoint.step == step)
    )


def get(tx: Tx, text_id: str) -> Checkpoint:
    number = ids.parse("checkpoint", text_id)
    checkpoint = tx.session.get(Checkpoint, number) if number is not None else None
    if checkpoint is None or checkpoint.deleted_at is not None:
        raise NotFound(f"There is no checkpoint {text_id[:40]}.")
    return checkpoint


def listing(tx: Tx, run_id: int) -> list[Checkpoint]:
    """A run's checkpoints that still exist, newest first."""
    query = select(Checkpoint).where(Checkpoint.run_id == run_id, Checkpoint.deleted_at.is_(None))
    return list(tx.session.scalars(query.order_by(Checkpoint.step.desc(), Checkpoint.attempt.desc())))


def newest(tx: Tx, run_id: int) -> Checkpoint | None:
    """The one a run goes on from: the last in training time, of the latest attempt that wrote one.

    Attempt before step: after a resume from step 400 the checkpoint at 450 counts, not an older attempt's at 500,
    whose points were taken back.
    """
    query = select(Checkpoint).where(Checkpoint.run_id == run_id, Checkpoint.deleted_at.is_(None))
    return tx.session.scalar(query.order_by(Checkpoint.attempt.desc(), Checkpoint.step.desc()).limit(1))


def goes_on_from(tx: Tx, run: Run) -> Checkpoint | None:
    """Where its next attempt starts: its newest checkpoint; while it has none, the one it was forked from."""
    own = newest(tx, run.id)
    return own or (tx.session.get(Checkpoint, run.fork_checkpoint_id) if run.fork_checkpoint_id else None)


def files(checkpoint: Checkpoint) -> list[FileRef]:
    """Its files as the manifest names them; a damaged manifest has none."""
    listed = checkpoint.manifest.get("files")
    if isinstance(listed, dict):
        listed = [{"name": name, **entry} for name, entry in listed.items() if isinstance(entry, dict)]
    try:
        return [
            FileRef.model_validate({key: entry[key] for key in ("name", "sha256", "bytes")}) for entry in listed or ()
        ]
    except (ValidationError, KeyError, TypeError):
        return []


def on_server(tx: Tx, checkpoint: Checkpoint) -> bool:
    """All its files are in the server's store, so any worker can go on from it."""
    wanted = files(checkpoint)
    return bool(wanted) and all(artifacts.on_server(tx.raw, file.sha256) == file.bytes for file in wanted)


def request_send(tx: Tx, checkpoint: Checkpoint, *, now: float) -> Job | None:
    """Ask the worker that holds it to send its files; the job under way if there is one, None when all are here."""
    if on_server(tx, checkpoint):
        return None
    if checkpoint.worker_id is None:
        raise Conflict("No worker is known to hold this checkpoint.")
    if not files(checkpoint):
        raise Invalid([], "This checkpoint's manifest names no files; it cannot be sent.")
    for job in tx.session.scalars(
        select(Job).where(
            Job.run_id == checkpoint.run_id, Job.kind == JobKind.send.value, Job.state != JobState.done.value
        )
    ):
        if job.payload.get("checkpoint") == checkpoint.id:
            return job
    return jobs.enqueue(
        tx, JobKind.send, run_id=checkpoint.run_id, worker_id=checkpoint.worker_id, now=now,
        payload={"checkpoint": checkpoint.id, "attempt": checkpoint.attempt, "step": checkpoint.step},
    )  # fmt: skip


def of_job(tx: Tx, job: Job) -> Checkpoint:
    """What a send job moves."""
    return tx.session.get_one(Checkpoint, job.payload["checkpoint"])


def sent(tx: Tx, job: Job, *, failed: str, now: float) -> None:
    """A send job has ended; the run's events say with what result."""
    checkpoint = of_job(tx, job)
    if on_server(tx, checkpoint):
        text = f"The checkpoint of step {checkpoint.step} is on the server: any worker can go on from it."
    else:
        text = f"The checkpoint of step {checkpoint.step} did not reach the server. {failed}".rstrip()
    events.record(tx, checkpoint.run_id, "checkpoint_sent", text, at=now, attempt=checkpoint.attempt,
                  step=checkpoint.step, data={"id": checkpoint.id, "on_server": on_server(tx, checkpoint)})  # fmt: skip
