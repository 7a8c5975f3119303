"""The tables. Alembic creates them from the first revision; a test compares the two.

Times are Unix seconds (float) by the server's clock. JSON columns hold plain dicts and lists.
"""

from typing import Any

from sqlalchemy import JSON, Float, ForeignKey, Index, LargeBinary, MetaData, String, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = dict[str, Any]


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {Json: JSON, list[str]: JSON, list[Json]: JSON, float: Float(53)}  # noqa: RUF012


class Run(Base):
    """One training run: its configuration, its state and its newest numbers."""

    __tablename__ = "runs"
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
    step: Mapped[int] = mapped_column(default=0)  #: last reported step
    steps: Mapped[int]  #: planned steps
    best_val: Mapped[float | None]
    best_val_se: Mapped[float | None]
    best_step: Mapped[int | None]
    tok_per_s: Mapped[float | None]
    telemetry: Mapped[Json] = mapped_column(default=dict)  #: device, memory, numeric path: newest of each key


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


class Artifact(Base):
    """A file that the other side may need: bytes known by their hash."""

    __tablename__ = "artifacts"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    bytes: Mapped[int]
    kind: Mapped[str] = mapped_column(String(20))  #: upload | shard | tokenizer | checkpoint
    on_server: Mapped[bool] = mapped_column(default=False)  #: complete in the server's store
    worker_id: Mapped[int | None] = mapped_column(ForeignKey("workers.id"))  #: a worker that holds it
    created_at: Mapped[float]


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


class Series(Base):
    """One metric of one run, with its summary."""

    __tablename__ = "series"
    __table_args__ = (UniqueConstraint("run_id", "key"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    key: Mapped[str] = mapped_column(String(200))
    count: Mapped[int] = mapped_column(default=0)
    last_step: Mapped[int] = mapped_column(default=-1)
    last_value: Mapped[float | None]  #: None: no point yet, or not finite


class Chunk(Base):
    """About 1,024 consecutive points of a series. The last one of a series is open, the others are sealed.

    Blobs stand last: SQLite reads the summary columns without touching their pages.
    """

    __tablename__ = "chunks"
    __table_args__ = (UniqueConstraint("series_id", "number"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"))
    number: Mapped[int]  #: 0, 1, … in the order of their steps
    count: Mapped[int]
    first_step: Mapped[int]
    last_step: Mapped[int]
    stride: Mapped[int]  #: distance between steps where regular, else 0 and `steps` holds them
    min: Mapped[float | None]  #: over finite values
    max: Mapped[float | None]
    sum: Mapped[float]  #: of finite values
    min_step: Mapped[int | None]
    max_step: Mapped[int | None]
    non_finite: Mapped[int]  #: how many values are NaN or infinite
    steps: Mapped[bytes | None] = mapped_column(LargeBinary)  #: zlib of little-endian int64 differences
    values: Mapped[bytes] = mapped_column(LargeBinary)  #: little-endian float64


class Level(Base):
    """Sixteen cells of a coarser level of a series (app/levels.py)."""

    __tablename__ = "levels"
    __table_args__ = ({"sqlite_with_rowid": False},)
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"), primary_key=True)
    level: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    cells: Mapped[bytes] = mapped_column(LargeBinary)


class Evaluation(Base):
    """The loss of each fixed validation window at one evaluation: what a paired comparison of two runs needs."""

    __tablename__ = "evaluations"
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    losses: Mapped[bytes] = mapped_column(LargeBinary)  #: little-endian float32, nats per token, in window order


class Resent(Base):
    """Losses that a resume took back, until their steps have come again and were compared (app/drift.py)."""

    __tablename__ = "resent"
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    steps: Mapped[bytes] = mapped_column(LargeBinary)  #: little-endian int64, ascending
    values: Mapped[bytes] = mapped_column(LargeBinary)  #: little-endian float64
    compared: Mapped[int]
    differing: Mapped[int]
    first: Mapped[int | None]  #: the first step that differed
    largest: Mapped[float]


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


class Feed(Base):
    """What changed, in the order it was committed: the server-wide event number that streams replay from.

    `ref` says where to read: for points and truncate the first step concerned, for log the first row's id,
    for event and sample the id of that; 0 for state. Old rows are pruned; a stream that asks for them is told to reload.
    """

    __tablename__ = "feed"
    __table_args__ = ({"sqlite_autoincrement": True},)
    id: Mapped[int] = mapped_column(primary_key=True)
    noun: Mapped[str] = mapped_column(String(8))  #: run | dataset | worker
    noun_id: Mapped[int]
    kind: Mapped[str] = mapped_column(String(10))  #: state | points | truncate | log | event | sample
    ref: Mapped[int] = mapped_column(default=0)


class Token(Base):
    """A secret somebody holds; only its hash is here."""

    __tablename__ = "tokens"
    id: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    scope: Mapped[str] = mapped_column(String(10))  #: api | worker | link (one-time sign-in)
    created_at: Mapped[float]
    expires_at: Mapped[float | None]
    last_used: Mapped[float | None]
    revoked_at: Mapped[float | None]


class BrowserSession(Base):
    """A signed-in browser; survives restarts."""

    __tablename__ = "sessions"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[float]
    last_used: Mapped[float]
    expires_at: Mapped[float]


class IdempotencyKey(Base):
    """A launch's key for 24 h: the same key and body give the same run."""

    __tablename__ = "idempotency"
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    body_sha256: Mapped[str] = mapped_column(String(64))
    noun_id: Mapped[int]
    created_at: Mapped[float]


class Setting(Base):
    """Small facts about this database: the pinned baseline, the demo's runs."""

    __tablename__ = "settings"
    key: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[Json] = mapped_column(server_default=text("'{}'"))
