"""Wire protocol, version 1: what a worker and the server say to each other.

Columns, never rows. Non-finite values travel as the strings "NaN", "Infinity" and "-Infinity" in a
value column, and nowhere else. The batch route is also the heartbeat: an empty batch every lease/4.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.contract.dataset import Sha256
from app.contract.states import JobKind

PROTOCOL = 1
LEASE_S = 60.0
"""A claim not renewed for this long is lost; a worker beats every LEASE_S / 4."""
BATCH_MAX_BYTES = 1 << 20
BATCH_MAX_POINTS = 10_000
BATCH_MAX_AGE_S = 0.25
"""The oldest point in a batch waits at most this long on the worker."""
EXIT_REQUEUE = 75
"""A training process that was told to leave its machine (SIGTERM) exits with this after saving."""
REASON_KILLED = "killed"
"""Of a requeue: one of a run's several processes was killed, and the others were ended."""
NON_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}

Outcome = Literal["finished", "failed", "stopped", "paused", "requeue"]
Command = Literal["stop", "terminate", "kill", "pause", "save", "evaluate", "sample", "delete_checkpoint"]
"""stop: finish the step, save, exit 0. terminate: SIGTERM the child. kill: SIGKILL it. pause: as stop, state paused.
save: checkpoint now. evaluate: evaluate now. sample: write text now, with the command's `sample` and `settings`. A worker logs and otherwise ignores a command that it does not know."""


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class DeviceInfo(BaseModel):
    """One accelerator, or the CPU, of a worker."""

    model_config = ConfigDict(extra="allow")
    kind: Literal["cuda", "mps", "cpu"]
    name: str = Field(max_length=200)
    memory_gib: float | None = Field(None, ge=0, le=1e6, allow_inf_nan=False)


class WorkerInfo(Message):
    """Who claims: sent with every claim, shown on the workers page."""

    name: str = Field(min_length=1, max_length=200)
    instance: str = Field(
        min_length=8, max_length=64, description="Random, kept in the worker's home: the same machine after a restart."
    )
    devices: list[DeviceInfo] = Field(min_length=1, max_length=64)
    versions: dict[str, str] = Field(default_factory=dict, max_length=50)
    labels: dict[str, str] = Field(default_factory=dict, max_length=50)


class ClaimRequest(Message):
    worker: WorkerInfo
    kinds: list[JobKind] = Field(default_factory=lambda: list(JobKind), min_length=1, max_length=len(JobKind))
    protocol: int = Field(
        ge=0, le=1_000_000, description="An unknown version is answered with 426 and the version to install."
    )
    free_devices: int = Field(
        1, ge=0, le=64,
        description="How many devices are free at this moment: a run that asks for more of them is not offered.",
    )  # fmt: skip
    idempotency_key: str = Field(
        min_length=8,
        max_length=100,
        description="The same key within the lease returns the same claim: a lost answer strands nothing.",
    )


class FileRef(Message):
    """A file the other side can fetch as an artifact."""

    name: str = Field(min_length=1, max_length=500)
    sha256: Sha256
    bytes: int = Field(ge=0)


class Claim(Message):
    """The answer to a successful claim (204 when there is nothing to do)."""

    job: str  #: j-0001
    kind: JobKind
    claim_id: str
    attempt: int
    lease_s: float
    run: str | None = None  #: r-0001 for train
    name: str = ""  #: the run's or dataset's name, for logs
    config: dict[str, Any] = {}  #: RunConfig for train, DatasetSpec for prepare
    dataset: str | None = None  #: d-0001, for train and prepare
    manifest: dict[str, Any] | None = None  #: the dataset's manifest, for train
    resume: dict[str, Any] | None = None  #: manifest of the checkpoint to go on from, or None to start afresh
    #: for train: what a sibling (`run`: of its sweep, its fork's parent, its clone's source) computes with
    numeric_path: dict[str, Any] | None = None
    #: for send: what to move to the server; for resume from elsewhere: the checkpoint's files
    files: list[FileRef] = []
    store: str | None = None  #: the server's artifact folder; a worker on the same disk hard-links instead of sending


class Event(Message):
    """Something that happened at a step: resume, checkpoint, checkpoint_deleted, phase, alarm, note…"""

    kind: str = Field(min_length=1, max_length=40, pattern=r"^[a-z_]+$")
    step: int | None = Field(None, ge=0, le=2**53)
    text: str = Field("", max_length=2000)
    data: dict[str, Any] = Field(default_factory=dict)


class LogLine(Message):
    at: float = Field(ge=0, le=1e12, description="Unix time, s.")
    level: Literal["debug", "info", "warn", "error"] = "info"
    text: str = Field(max_length=4000)


class Ack(Message):
    """Everything up to acked_seq is on disk. If it went back, the server was restored: send again from there."""

    acked_seq: int
    lease_s: float
    #: [{"id": 3, "command": "stop"}]; repeated until the job ends, deduplicate by id
    commands: list[dict[str, Any]] = []


class Finish(Message):
    claim_id: str
    attempt: int = Field(ge=1)
    final_seq: int = Field(ge=0, description="Must equal acked_seq: finished implies a complete curve.")
    outcome: Outcome
    exit: int | None = Field(None, ge=-1000, le=1000, description="The child's exit code; negative for a signal.")
    reason: str | None = Field(
        None, max_length=40, description="For failed: error, oom, non_finite. For requeue: killed."
    )
    summary: dict[str, Any] = Field(default_factory=dict, description="train: final numbers; prepare: the manifest.")
    log_tail: list[str] = Field(default_factory=list, max_length=200)


# A batch is parsed by app/ingest.py without pydantic, for speed; its shape:
#   {claim_id, attempt, seq, columns: {key: {step: [int], value: [float | "NaN" | …]}},
#    log: [LogLine], events: [Event], telemetry: {…}}
