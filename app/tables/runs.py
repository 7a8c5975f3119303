"""Runs: their attempts, checkpoints, samples, log and events."""

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Base, Json


class Run(Base):
    """One training run: its configuration, its state and its newest numbers."""

    __tablename__ = "runs"
    __table_args__ = (
        Index("ix_runs_place", "archived_at", "deleted_at", "state"),
    )  # the list's tabs count from it alone
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(12), index=True)
    reason: Mapped[str | None] = mapped_column(String(40))  #: FailReason, or why it waits
    detail: Mapped[str] = mapped_column(default="")  #: one sentence of evidence for the state
    source: Mapped[str] = mapped_column(String(12), default="worker")  #: worker | external | imported
    config: Mapped[Json]
    preset: Mapped[str | None] = mapped_column(String(40))
    tags: Mapped[list[str]] = mapped_column(default=list)
    notes: Mapped[str] = mapped_column(default="")
    dataset_id: Mapped[int | None] = mapped_column(ForeignKey("datasets.id"), index=True)
    data_sha256: Mapped[str | None] = mapped_column(String(64))  #: the manifest's, fixed at the first claim
    baseline_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id"))
    cloned_from: Mapped[int | None] = mapped_column(ForeignKey("runs.id"))
    fork_checkpoint_id: Mapped[int | None] = mapped_column(
        index=True
    )  #: it starts from this checkpoint of another run (no foreign key: a circle)
    worker_id: Mapped[int | None] = mapped_column(ForeignKey("workers.id"))  #: asked for, or holding its checkpoint
    created_at: Mapped[float]
    started_at: Mapped[float | None]  #: first claim
    ended_at: Mapped[float | None]
    updated_at: Mapped[float]  #: last change of state or last batch
    deleted_at: Mapped[float | None] = mapped_column(index=True)  #: in the trash since
    archived_at: Mapped[float | None]  #: put away since; out of the list, nothing deleted
    step: Mapped[int] = mapped_column(default=0)  #: last reported step
    steps: Mapped[int]  #: planned steps
    best_val: Mapped[float | None]
    best_val_se: Mapped[float | None]
    best_step: Mapped[int | None]
    tok_per_s: Mapped[float | None]
    telemetry: Mapped[Json] = mapped_column(default=dict)  #: device, memory, numeric path: newest of each key
    sweep_id: Mapped[int | None] = mapped_column(index=True)  #: the sweep it was made for (no foreign key: added later)
    arm: Mapped[Json | None]  #: the sweep's factors and their values here: {"optim.weight_decay": 0.1}
    seed_index: Mapped[int | None]  #: arms of one index share initial weights and order of data


class Attempt(Base):
    """One claim of a run by a worker."""

    __tablename__ = "attempts"
    __table_args__ = (UniqueConstraint("run_id", "number"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    number: Mapped[int]  #: 1, 2, …
    worker_id: Mapped[int] = mapped_column(ForeignKey("workers.id"))
    claim_id: Mapped[str] = mapped_column(String(36), unique=True)
    started_at: Mapped[float]
    ended_at: Mapped[float | None]
    first_step: Mapped[int | None]  #: the step it resumed from
    last_step: Mapped[int | None]
    outcome: Mapped[str | None] = mapped_column(String(12))
    exit: Mapped[int | None]


class Checkpoint(Base):
    """A saved state of a run, on the worker that made it until someone asks."""

    __tablename__ = "checkpoints"
    __table_args__ = (UniqueConstraint("run_id", "attempt", "step"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    attempt: Mapped[int]
    step: Mapped[int]
    worker_id: Mapped[int | None] = mapped_column(ForeignKey("workers.id"))
    kept: Mapped[str] = mapped_column(String(20))  #: start | interval | best | end | asked
    bytes: Mapped[int]
    val_loss: Mapped[float | None]
    manifest: Mapped[Json]
    created_at: Mapped[float]
    deleted_at: Mapped[float | None]


class Sample(Base):
    """Text written from a run's checkpoint, or by the run itself while it trained."""

    __tablename__ = "samples"
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), index=True)
    checkpoint_id: Mapped[int | None] = mapped_column(ForeignKey("checkpoints.id"))  #: None: written by the run itself
    step: Mapped[int]
    state: Mapped[str] = mapped_column(String(12))  #: queued | writing | done | failed | stopped
    detail: Mapped[str] = mapped_column(default="")
    settings: Mapped[Json]  #: prompt, temperature, top_k, top_p, seed, tokens
    texts: Mapped[list[str]] = mapped_column(default=list)  #: one a sample, the prompt included, as far as written
    created_at: Mapped[float]
    ended_at: Mapped[float | None]


class LogRow(Base):
    """One line a worker's process printed."""

    __tablename__ = "log"
    __table_args__ = (Index("ix_log_run", "run_id", "id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id"))
    dataset_id: Mapped[int | None] = mapped_column(ForeignKey("datasets.id"), index=True)
    attempt: Mapped[int]
    at: Mapped[float]
    level: Mapped[str] = mapped_column(String(5))
    text: Mapped[str]


class Event(Base):
    """Something that happened to a run: state changes, resumes, checkpoints, spikes, notes."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_run", "run_id", "id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    attempt: Mapped[int | None]
    at: Mapped[float]
    step: Mapped[int | None]
    kind: Mapped[str] = mapped_column(String(40))
    text: Mapped[str]
    data: Mapped[Json] = mapped_column(default=dict)
