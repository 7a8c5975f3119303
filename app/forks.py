"""Forks: a new run that starts from another run's checkpoint, with whatever it changes of the configuration.

What a queued fork needs must not be deleted while it waits and its parent trains on: the checkpoint is brought to
the server first, and only then may a worker take the fork. On one disk that is a hard link.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core.core_schema import ValidationInfo
from sqlalchemy import select

from app import checkpoints, cooldown, jobs, launches, runs
from app.contract import ids
from app.contract.config import RunConfig
from app.contract.setting import refuse
from app.contract.states import FailReason, RunState
from app.db import Tx
from app.errors import Conflict, FieldError, Invalid, NotFound, from_pydantic
from app.launches import Labels
from app.tables import Checkpoint, Dataset, Run

GENERATIONS = 20
"""So many ancestors of a fork are looked up for its curve."""


class Cooldown(BaseModel):
    """The learning rate falls linearly to zero from the checkpoint on; give one of the two."""

    model_config = ConfigDict(extra="forbid")
    steps: int | None = Field(None, ge=1, le=100_000_000, description="In so many steps.")
    share: float | None = Field(
        None, gt=0, lt=1, validate_default=True,
        description="In this share of the whole run: 0.1 after 900 steps is 100 more.",
    )  # fmt: skip

    @field_validator("share")
    @classmethod
    def _one_length(cls, share: float | None, info: ValidationInfo) -> float | None:
        if (share is None) == (info.data.get("steps") is None):
            raise refuse("one_length", "Give the cool-down's length as steps or as share, one of the two.")
        return share


class Beginning(BaseModel):
    """Where a fork starts and how it ends."""

    model_config = ConfigDict(extra="forbid")
    at: Literal["best", "last"] | int = Field(
        "last", title="Start at", description="The checkpoint of the best validation loss, the last one, or that of a step."
    )  # fmt: skip
    checkpoint: str | None = Field(
        None, pattern=f"^{ids.PATTERN}$", title="Checkpoint", description="Instead of `at`: a checkpoint's id, c-0001."
    )
    cooldown: Cooldown | None = Field(None, title="Cool-down", description="Sets the schedule; nothing else changes.")

    @field_validator("at", mode="before")
    @classmethod
    def _a_place(cls, at: Any) -> Any:
        if at not in ("best", "last") and (type(at) is not int or at < 0):
            raise refuse("no_place", "must be “best”, “last” or the step of a checkpoint")
        return at


class Fork(Beginning, Labels):
    """The body of POST /api/v1/runs/{id}/fork."""

    config: dict[str, Any] = Field(
        default_factory=dict, title="Configuration", description="What differs from the parent: any part of RunConfig."
    )
    worker: str | None = Field(
        None, pattern=f"^{ids.PATTERN}$", title="Worker", description="Only this worker may take it (w-02)."
    )


def create(tx: Tx, parent: Run, fork: Fork, *, key: str | None, body_sha256: str, now: float) -> tuple[Run, bool]:
    """A new run and True, or the one that this Idempotency-Key made. Raises Conflict, Invalid, NotFound."""
    if key is not None and (known := launches.remembered(tx, key, body_sha256, now=now)) is not None:
        return tx.session.get_one(Run, known), False
    checkpoint, config = resolve(tx, parent, fork, fork.config)
    dataset = launches.dataset_of(tx, config, now=now)
    launches.check_data(config, dataset)
    same_data = dataset.id == parent.dataset_id
    if same_data and parent.data_sha256 not in (None, dataset.manifest_sha256):
        theirs = f"was prepared anew after {ids.show('run', parent.id)} had trained on it; name another dataset"
        raise Invalid([FieldError("/config/data/dataset", theirs)])
    if not same_data and (wrong := _other_vocabulary(tx, parent, dataset)):
        raise Invalid([FieldError("/config/data/dataset", wrong)])
    waits = checkpoints.request_send(tx, checkpoint, now=now)
    run = Run(
        name=fork.name or default_name(parent, checkpoint, falling=fork.cooldown is not None),
        state=RunState.queued.value, source="worker", config=runs.named(config, dataset), preset=parent.preset,
        detail=f"waiting for worker {ids.show('worker', waits.worker_id or 0)} to send the checkpoint of step {checkpoint.step}"
        if waits
        else "",
        tags=fork.tags if fork.tags is not None else list(parent.tags), notes=fork.notes or "",
        dataset_id=dataset.id, data_sha256=parent.data_sha256 if same_data else None,
        worker_id=runs.referred(tx, "worker", fork.worker), fork_checkpoint_id=checkpoint.id,
        created_at=now, updated_at=now, step=checkpoint.step, steps=config.schedule.steps,
        telemetry={"first_step": checkpoint.step, "first_tokens": tokens_at(parent, checkpoint.step)},
    )  # fmt: skip
    runs.enter(tx, run, key=key, body_sha256=body_sha256, now=now)
    if waits is None:
        runs.admit(tx, run, now=now)
    return run, True


def default_name(parent: Run, checkpoint: Checkpoint, *, falling: bool) -> str:
    return f"{parent.name[:170]} {'cool-down' if falling else 'fork'} at {checkpoint.step}"


def resolve(tx: Tx, parent: Run, beginning: Beginning, changes: dict[str, Any]) -> tuple[Checkpoint, RunConfig]:
    """The checkpoint that is meant, and the whole configuration from there on. Nothing is written.

    Raises Conflict for a parent in the trash, Invalid with pointers into Fork.
    """
    if parent.deleted_at is not None:
        raise Conflict(f"{ids.show('run', parent.id)} is in the trash; restore it first.")
    checkpoint = _chosen(tx, parent, beginning)
    before = RunConfig.model_validate(parent.config)
    try:
        config = RunConfig.model_validate(launches.merged(before.model_dump(), changes))
        if beginning.cooldown is not None:
            config = _cooled(config, checkpoint.step, beginning.cooldown, changes)
    except ValidationError as error:
        raise from_pydantic(error, "/config", RunConfig) from None
    check_network(before, config)
    if config.schedule.steps <= checkpoint.step:
        more = f"must be more than {checkpoint.step:,}: the fork starts after that step"
        raise Invalid([FieldError("/config/schedule/steps", more)])
    return checkpoint, config


def check_network(before: RunConfig, after: RunConfig) -> None:
    """Refuse what would make another network of the checkpoint's weights."""
    now = after.model.model_dump()
    wrong = [
        FieldError(f"/config/model/{key}", f"is {was} in the checkpoint and stays so in a fork; launch a new run for another network")
        for key, was in before.model.model_dump().items()
        if key != "dropout" and now[key] != was
    ]  # fmt: skip
    if wrong:
        raise Invalid(wrong)


def _cooled(config: RunConfig, step: int, wanted: Cooldown, changes: dict[str, Any]) -> RunConfig:
    given = changes.get("schedule")
    if twice := [key for key in cooldown.SETS if isinstance(given, dict) and key in given]:
        raise Invalid(
            [FieldError(f"/config/schedule/{key}", "is what the cool-down sets; give one of the two") for key in twice]
        )
    if step == 0:
        raise Invalid([FieldError("/cooldown", "needs a checkpoint of a later step; at step 0 nothing is learnt yet")])
    steps = wanted.steps or cooldown.steps_of(wanted.share or 0.0, step)
    fields = cooldown.changes(config, step, steps)
    if fields["schedule"]["lr"] <= 0:
        raise Invalid(
            [FieldError("/cooldown", f"has nothing left to do: the learning rate is 0 at step {step:,} already")]
        )
    return RunConfig.model_validate(launches.merged(config.model_dump(), fields))


def _chosen(tx: Tx, parent: Run, wanted: Beginning) -> Checkpoint:
    shown = ids.show("run", parent.id)
    if wanted.checkpoint is not None:
        try:
            checkpoint = checkpoints.get(tx, wanted.checkpoint)
        except NotFound as error:
            raise Invalid([FieldError("/checkpoint", error.detail)]) from None
        if checkpoint.run_id != parent.id:
            raise Invalid([FieldError("/checkpoint", f"is of {ids.show('run', checkpoint.run_id)}, not of {shown}")])
        return checkpoint
    saved = checkpoints.listing(tx, parent.id)
    if not saved:
        raise Invalid([FieldError("/at", f"finds nothing: {shown} has no checkpoint")])
    if wanted.at == "last":
        return checkpoints.newest(tx, parent.id) or saved[0]
    if wanted.at == "best":
        measured = [one for one in saved if one.val_loss is not None]
        return min(measured or saved, key=lambda one: (one.val_loss or 0.0, -one.step))
    at_step = [one for one in saved if one.step == wanted.at]
    if not at_step:
        there = ", ".join(f"{step:,}" for step in sorted({one.step for one in saved}))
        raise Invalid(
            [FieldError("/at", f"finds nothing: {shown} has no checkpoint at step {wanted.at:,}; there are: {there}")]
        )
    return at_step[0]


def _other_vocabulary(tx: Tx, parent: Run, dataset: Dataset) -> str:
    """Why a fork of `parent` cannot read `dataset`; empty when it can, or when that is not known yet."""
    old = tx.session.get(Dataset, parent.dataset_id) if parent.dataset_id else None
    if old is None or old.manifest is None or dataset.manifest is None:
        return ""
    theirs, ours = old.manifest["tokenizer"], dataset.manifest["tokenizer"]
    if theirs["sha256"] == ours["sha256"]:
        return ""
    return (
        f"has another vocabulary ({dataset.name}: {ours['kind']}, {ours['vocab_size']:,} entries) than {old.name}"
        f" ({theirs['kind']}, {theirs['vocab_size']:,}), so its tokens would mean something else to the checkpoint"
    )


# --- what the worker is offered --------------------------------------------------------------------------


def arrived(tx: Tx, checkpoint: Checkpoint, *, now: float) -> None:
    """A send job of this checkpoint has ended: queued forks that waited for it can be claimed now, or never."""
    waiting = select(Run).where(
        Run.fork_checkpoint_id == checkpoint.id, Run.state == RunState.queued.value, Run.deleted_at.is_(None)
    )
    for run in tx.session.scalars(waiting):
        if jobs.current_job(tx, run.id) is not None:
            continue  # stopped and resumed meanwhile: it is offered to the checkpoint's own worker
        if checkpoints.on_server(tx, checkpoint):
            runs.admit(tx, run, now=now)
        else:
            detail = (
                f"The checkpoint of step {checkpoint.step} of {ids.show('run', checkpoint.run_id)} could not be fetched"
                " from its worker; it may have been deleted. Fork from another one."
            )
            runs.transition(tx, run, RunState.failed, reason=FailReason.error.value, detail=detail, now=now)


def misfit(tx: Tx, run: Run, dataset: Dataset) -> str:
    """Why a fork cannot start on its data, now that they are prepared; empty for everything else."""
    parent = parent_of(tx, run)
    if parent is None or parent.dataset_id == run.dataset_id:
        return ""
    wrong = _other_vocabulary(tx, parent, dataset)
    return f"The dataset {wrong}." if wrong else ""


def resume(tx: Tx, run: Run, checkpoint: Checkpoint) -> dict[str, Any]:
    """A claim's `resume`: the manifest with its attempt, step and run; for a fork also where it began."""
    found = {
        **checkpoint.manifest, "attempt": checkpoint.attempt, "step": checkpoint.step,
        "run": ids.show("run", checkpoint.run_id),
    }  # fmt: skip
    if run.fork_checkpoint_id is not None:
        origin = tx.session.get_one(Checkpoint, run.fork_checkpoint_id)
        found["fork"] = {"run": ids.show("run", origin.run_id), "step": origin.step}
    return found


# --- lineage ---------------------------------------------------------------------------------------------


def tokens_at(run: Run, step: int) -> int:
    """Tokens trained on up to `step`, those of the runs before a fork included."""
    batch = run.config["batch"]
    per_step = int(batch["micro_batch"] * batch["accumulation"] * run.config["model"]["block_size"])
    first = int(run.telemetry.get("first_step", 0))
    return int(run.telemetry.get("first_tokens", 0)) + (step - first) * per_step


def origin_of(tx: Tx, run: Run) -> Checkpoint | None:
    """The checkpoint that a fork started from; its files may be gone."""
    return tx.session.get(Checkpoint, run.fork_checkpoint_id) if run.fork_checkpoint_id is not None else None


def parent_of(tx: Tx, run: Run) -> Run | None:
    origin = origin_of(tx, run)
    return tx.session.get(Run, origin.run_id) if origin else None


def ancestors(tx: Tx, run: Run) -> list[tuple[Run, int]]:
    """(ancestor, the step up to which its past is this run's), nearest first."""
    found: list[tuple[Run, int]] = []
    while (origin := origin_of(tx, run)) is not None and len(found) < GENERATIONS:
        run = tx.session.get_one(Run, origin.run_id)
        found.append((run, origin.step))
    return found


def children(tx: Tx, run: Run) -> list[Run]:
    """The runs forked from this one, oldest first; those in the trash are left out."""
    own = select(Checkpoint.id).where(Checkpoint.run_id == run.id)
    query = select(Run).where(Run.fork_checkpoint_id.in_(own), Run.deleted_at.is_(None)).order_by(Run.id)
    return list(tx.session.scalars(query))
