"""Work and who does it: jobs, workers, datasets, and the files that either side may need."""

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Base, Json


class Job(Base):
    """One piece of work a worker can claim; app/jobs.py alone knows leases and fencing."""

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_queue", "state", "id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(12))
    state: Mapped[str] = mapped_column(String(12))
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id"), index=True)
    dataset_id: Mapped[int | None] = mapped_column(ForeignKey("datasets.id"), index=True)
    payload: Mapped[Json] = mapped_column(default=dict)
    worker_id: Mapped[int | None] = mapped_column(ForeignKey("workers.id"))  #: only this worker may claim it
    created_at: Mapped[float]
    claimed_by: Mapped[int | None] = mapped_column(ForeignKey("workers.id"))
    claim_id: Mapped[str | None] = mapped_column(String(36), unique=True)
    claim_key: Mapped[str | None] = mapped_column(String(100))  #: idempotency key of the claim
    attempt: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[float | None]
    acked_seq: Mapped[int] = mapped_column(default=0)
    commands: Mapped[list[Json]] = mapped_column(default=list)  #: [{"id", "command", …}] for the worker
    finish: Mapped[Json | None]  #: the accepted finish, so that a repeated one gets the same answer
    ended_at: Mapped[float | None]
    priority: Mapped[int] = mapped_column(default=0, server_default=text("0"))  #: the higher goes first, then the older


class Worker(Base):
    """One agent: a machine's home folder, known by its instance id."""

    __tablename__ = "workers"
    id: Mapped[int] = mapped_column(primary_key=True)
    instance: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    devices: Mapped[list[Json]] = mapped_column(default=list)
    versions: Mapped[Json] = mapped_column(default=dict)
    labels: Mapped[Json] = mapped_column(default=dict)
    speeds: Mapped[Json] = mapped_column(default=dict)  #: model shape → last measured tokens/s
    enabled: Mapped[bool] = mapped_column(default=True)  #: False: drains, claims nothing new
    created_at: Mapped[float]
    last_seen: Mapped[float]


class Dataset(Base):
    __tablename__ = "datasets"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    state: Mapped[str] = mapped_column(String(12))
    detail: Mapped[str] = mapped_column(default="")  #: why it failed, or what it is doing
    spec: Mapped[Json]
    manifest: Mapped[Json | None]
    manifest_sha256: Mapped[str | None] = mapped_column(String(64))
    report: Mapped[Json | None]  #: what is in it (app/contract/quality.py), from a second pass over its documents
    progress: Mapped[Json] = mapped_column(default=dict)
    created_at: Mapped[float]
    ready_at: Mapped[float | None]
    deleted_at: Mapped[float | None]
    freed_bytes: Mapped[int | None]  #: what its deletion gave back on the server's disk; workers' jobs say theirs


class Artifact(Base):
    """A file that the other side may need: bytes known by their hash."""

    __tablename__ = "artifacts"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    bytes: Mapped[int]
    kind: Mapped[str] = mapped_column(String(20))  #: upload | shard | tokenizer | checkpoint
    on_server: Mapped[bool] = mapped_column(default=False)  #: complete in the server's store
    worker_id: Mapped[int | None] = mapped_column(ForeignKey("workers.id"))  #: a worker that holds it
    created_at: Mapped[float]
