"""A run's life: the table of legal moves, and everything a person can do to a run. The only writer of Run.state.

    queued ──claim──> starting ──first points──> running ──last step──> finished
      │ ▲                 │  stop, pause             │
      │ │ requeue         └──────> stopping <────────┘ ──> stopped, paused (resume queues it again)
      │ └────── lost <── no word for a lease ── starting, running       failed: ended by an error
      └──stop──> stopped

Every move leaves an event (kind "state") with its reason and evidence, and a feed row that wakes the pages.
"""

from typing import Any

from sqlalchemy import select

from app import checkpoints, events, feed, jobs, launches, samples, workers
from app.contract import ids
from app.contract.config import RunConfig
from app.contract.protocol import LEASE_S
from app.contract.states import ACTIVE, ENDED, MEANING, DatasetState, JobKind, RunState
from app.db import Tx
from app.errors import Conflict, FieldError, Invalid, NotFound
from app.launches import Labels, Launch, resolve_config
from app.moves import LEGAL, actions
from app.run_query import Difference, RunPage, RunQuery, config_difference, find
from app.tables import Dataset, Job, Run, Setting

__all__ = [
    "LEGAL", "Difference", "Labels", "Launch", "RunPage", "RunQuery", "actions", "config_difference", "create", "find",
    "get", "resolve_config", "transition",
]  # fmt: skip

S = RunState


def transition(
    tx: Tx,
    run: Run,
    to: RunState,
    *,
    reason: str | None = None,
    detail: str = "",
    now: float,
    data: dict[str, Any] | None = None,
) -> None:
    """Move the run; `detail` is one sentence of evidence. Raises Conflict for a move that is not in LEGAL."""
    before = RunState(run.state)
    if to not in LEGAL[before]:
        raise Conflict(f"{ids.show('run', run.id)} is {before}; it cannot become {to}.")
    run.state, run.reason, run.detail = to.value, reason, detail
    run.updated_at = now
    run.ended_at = now if to in ENDED else None
    if to not in ACTIVE | {S.lost}:
        samples.abandoned(tx, run.id, now=now)
    events.record(
        tx, run.id, "state", detail or MEANING[to], at=now, step=run.step,
        data={"from": before.value, "to": to.value, "reason": reason, **(data or {})},
    )  # fmt: skip
    feed.post(tx, "run", run.id, "state")


def heard(tx: Tx, run_id: int, state: str, *, training: bool, now: float) -> None:
    """The worker of a run in this state has reported: the first points make it run, and a lost one is found again."""
    if state == S.running or state == S.stopping or (state == S.starting and not training):
        return
    run = tx.session.get_one(Run, run_id, populate_existing=True)
    if state == S.lost:
        job = jobs.current_job(tx, run_id)
        asked = job is not None and asked_for(job) is not None
        back = S.stopping if asked else S.running if training or run.step > 0 else S.starting
        transition(tx, run, back, detail="its worker is back", now=now)
    else:
        transition(tx, run, S.running, now=now)


# --- launching -------------------------------------------------------------------------------------------


def create(tx: Tx, launch: Launch, *, key: str | None, body_sha256: str, now: float) -> tuple[Run, bool]:
    """A new run and True; or, for an Idempotency-Key seen within 24 h with the same body, that run and False.

    Raises Invalid with pointers into the launch.
    """
    if key is not None and (known := launches.remembered(tx, key, body_sha256, now=now)) is not None:
        return tx.session.get_one(Run, known), False
    config = resolve_config(launch)
    dataset = launches.dataset_of(tx, config, now=now)
    launches.check_data(config, dataset)
    worker_id = referred(tx, "worker", launch.worker)
    external = launch.source == "external"
    run = Run(
        name=launch.name or launches.default_name(launch.preset, config, dataset),
        state=S.queued.value, detail="" if external else _waiting_for(dataset), source=launch.source,
        config=named(config, dataset), preset=launch.preset,
        tags=launch.tags or [], notes=launch.notes or "", dataset_id=dataset.id, worker_id=worker_id,
        cloned_from=referred(tx, "run", launch.cloned_from),
        created_at=now, updated_at=now, step=0, steps=config.schedule.steps, telemetry={},
    )  # fmt: skip
    enter(tx, run, key=key, body_sha256=body_sha256, now=now)
    job = jobs.enqueue(tx, JobKind.train, run_id=run.id, dataset_id=dataset.id, worker_id=worker_id, now=now)
    if external:  # its client holds the claim from the start; jobs.current_job(...).claim_id is its key
        jobs.hold(tx, job, None, now=now, lease_s=LEASE_S)
        run.started_at = now
        run.data_sha256 = dataset.manifest_sha256
        transition(tx, run, S.starting, detail="fed by a client", now=now)
    return run, True


def enter(tx: Tx, run: Run, *, key: str | None, body_sha256: str, now: float) -> None:
    """A new run takes its place on the list, queued."""
    tx.session.add(run)
    tx.session.flush()
    if key is not None:
        launches.remember(tx, key, body_sha256, run.id, now=now)
    events.record(
        tx, run.id, "state", run.detail or MEANING[S.queued], at=now, step=run.step or None,
        data={"from": None, "to": "queued"},
    )  # fmt: skip
    feed.post(tx, "run", run.id, "state")


def admit(tx: Tx, run: Run, *, priority: int | None = None, now: float) -> None:
    """From now on a worker may take this queued run, the one it asks for or any."""
    run.detail, who = _waiting_for(tx.session.get_one(Dataset, run.dataset_id)), run.worker_id
    jobs.enqueue(tx, JobKind.train, run_id=run.id, dataset_id=run.dataset_id, worker_id=who, priority=priority, now=now)
    feed.post(tx, "run", run.id, "state")


def referred(tx: Tx, noun: str, text: str | None) -> int | None:
    """The number behind an id in the launch, or Invalid at its field."""
    if text is None:
        return None
    try:
        return workers.get(tx, text).id if noun == "worker" else get(tx, text).id
    except NotFound as error:
        pointer = "/worker" if noun == "worker" else "/cloned_from"
        raise Invalid([FieldError(pointer, error.detail)]) from None


def named(config: RunConfig, dataset: Dataset) -> dict[str, Any]:
    """The config with the dataset's own name: “builtin”, d-0001 and its name are one thing when runs are compared."""
    plain = config.model_dump(mode="json")
    return plain | {"data": plain["data"] | {"dataset": dataset.name}}


def _waiting_for(dataset: Dataset) -> str:
    """Why a queued run does not start yet."""
    match dataset.state:
        case DatasetState.ready:
            return ""
        case DatasetState.failed:
            return (
                f"waiting for dataset {dataset.name}, whose preparation failed: {dataset.detail} Retry it on its page."
            )
        case _:
            return f"waiting for dataset {dataset.name} ({dataset.state})"


def dataset_changed(tx: Tx, dataset: Dataset) -> None:
    """Tell the queued runs that read it what they wait for now."""
    query = select(Run).where(Run.dataset_id == dataset.id, Run.state == S.queued.value, Run.deleted_at.is_(None))
    for run in tx.session.scalars(query):
        if run.detail != _waiting_for(dataset):
            run.detail = _waiting_for(dataset)
            feed.post(tx, "run", run.id, "state")


# --- reading ---------------------------------------------------------------------------------------------


def get(tx: Tx, text_id: str) -> Run:
    number = ids.parse("run", text_id)
    run = tx.session.get(Run, number) if number is not None else None
    if run is None:
        raise NotFound(f"There is no run {text_id[:40]}.")
    return run


# --- what a person can do --------------------------------------------------------------------------------


def _impossible(run: Run, verb: str, why: str = "") -> Conflict:
    possible = ", ".join(actions(run)) or "nothing"
    where = "in the trash" if run.deleted_at is not None else run.state
    return Conflict(
        f"{ids.show('run', run.id)} is {where}: {why or f'it cannot be told to {verb}'}. Possible now: {possible}."
    )


def stop(tx: Tx, run: Run, *, now: float) -> None:
    """Finish the step, save, end. A queued run stops at once; a second press terminates, a third kills."""
    if run.deleted_at is not None:
        raise _impossible(run, "stop")
    state, job = RunState(run.state), jobs.current_job(tx, run.id)
    if state is S.queued or state is S.paused:
        if job is not None:
            jobs.end(tx, job, now=now, outcome="stopped")
        before = "before it started" if run.started_at is None else f"while {state}, at step {run.step}"
        transition(tx, run, S.stopped, detail=f"stopped {before}", now=now)
    elif state is S.stopping and job is not None and asked_for(job) is S.stopped:
        (kill if "terminate" in jobs.commanded(job) else terminate)(tx, run, now=now)
    elif state in ACTIVE or state is S.lost:
        _tell(tx, run, "stop", "asked to stop", now)
    else:
        raise _impossible(run, "stop")


def terminate(tx: Tx, run: Run, *, now: float) -> None:
    """End the process at once; it is given the time to save. A worker that is not heard from is not waited for."""
    _end_now(tx, run, "terminate", "asked to end at once", now)


def kill(tx: Tx, run: Run, *, now: float) -> None:
    """End the process without letting it save: what came after its newest checkpoint is lost to a resume."""
    _end_now(tx, run, "kill", "killed; waiting for its worker to confirm", now)


def _end_now(tx: Tx, run: Run, command: str, detail: str, now: float) -> None:
    job = jobs.current_job(tx, run.id)
    if RunState(run.state) not in ACTIVE | {S.lost} or job is None or run.deleted_at is not None:
        raise _impossible(run, command)
    if job.lease_until is not None and job.lease_until < now:
        jobs.end(tx, job, now=now, outcome="stopped")
        transition(tx, run, S.stopped, detail=f"ended at step {run.step}; its worker did not answer", now=now)
    elif command not in jobs.commanded(job):
        _tell(tx, run, command, detail, now)


def pause(tx: Tx, run: Run, *, now: float) -> None:
    """Save, end the process and free the device; resume goes on from there."""
    if RunState(run.state) not in (S.starting, S.running) or run.deleted_at is not None:
        raise _impossible(run, "pause")
    _tell(tx, run, "pause", "asked to pause", now)


def save(tx: Tx, run: Run, *, now: float) -> None:
    """Write a checkpoint after the step under way."""
    _ask(tx, run, "save")


def evaluate(tx: Tx, run: Run, *, now: float) -> None:
    """Evaluate after the step under way, whenever the next evaluation is due."""
    _ask(tx, run, "evaluate")


def _ask(tx: Tx, run: Run, command: str) -> None:
    """Something that training does between two steps and then goes on."""
    job = jobs.current_job(tx, run.id)
    if RunState(run.state) not in (S.starting, S.running) or job is None or run.deleted_at is not None:
        raise _impossible(run, command)
    jobs.command(tx, job, command)


def resume(tx: Tx, run: Run, *, now: float) -> None:
    """Queue a paused, stopped or failed run again; it goes on from its newest checkpoint."""
    if run.state == S.finished:
        raise _impossible(run, "resume", "it has reached its last step; extend it to train longer")
    if RunState(run.state) not in (S.paused, S.stopped, S.failed) or run.deleted_at is not None:
        raise _impossible(run, "resume")
    if run.source != "worker":
        raise _impossible(run, "resume", "no worker trains it")
    queue_again(tx, run, "resumed", by="person", now=now)


def queue_again(tx: Tx, run: Run, why: str, *, worker_id: int | None = None, by: str = "server", now: float) -> None:
    """A new job for the run, for the worker that holds its newest checkpoint unless the server has the files."""
    checkpoint = checkpoints.goes_on_from(tx, run)
    holder, detail = worker_id, why
    if checkpoint is not None and checkpoint.step > 0:
        detail = f"{why}; goes on from the checkpoint of step {checkpoint.step}"
        if checkpoint.worker_id is not None and not checkpoints.on_server(tx, checkpoint):
            holder = checkpoint.worker_id
            detail += f", which worker {ids.show('worker', holder)} holds"
    elif run.started_at is not None:
        detail = f"{why}; starts again from step 0"
    if run.dataset_id is not None:
        dataset = tx.session.get_one(Dataset, run.dataset_id)
        if dataset.deleted_at is not None:
            raise Conflict("Its dataset has been deleted, and its token files with it: nothing can train it further.")
        waiting = _waiting_for(dataset)
        detail = f"{detail}; {waiting}" if waiting else detail
    who = {"by": by}
    jobs.enqueue(tx, JobKind.train, run_id=run.id, dataset_id=run.dataset_id, worker_id=holder, payload=who, now=now)
    transition(tx, run, S.queued, detail=detail, now=now)


def asked_for(job: Job) -> RunState | None:
    """Where a stopping run is meant to end: a later stop or terminate overrules a pause."""
    given = jobs.commanded(job)
    if {"stop", "terminate", "kill"} & set(given):
        return S.stopped
    return S.paused if "pause" in given else None


def _tell(tx: Tx, run: Run, command: str, detail: str, now: float) -> None:
    job = jobs.current_job(tx, run.id)
    if job is None:  # an import is being read
        raise _impossible(run, command)
    jobs.command(tx, job, command)
    if run.state == S.stopping:
        run.detail = detail
        feed.post(tx, "run", run.id, "state")
    else:
        transition(tx, run, S.stopping, detail=detail, now=now)


# --- labels, trash, baseline -----------------------------------------------------------------------------


def patch(
    tx: Tx, run: Run, *, name: str | None = None, tags: list[str] | None = None, notes: str | None = None
) -> None:
    """Change what is not None; the values come from a checked Labels."""
    changes = {"name": name, "tags": tags, "notes": notes}
    for field, value in changes.items():
        if value is not None:
            setattr(run, field, value)
    feed.post(tx, "run", run.id, "state")


def trash(tx: Tx, run: Run, *, now: float) -> None:
    """Move to the trash; nothing is deleted. A run that trains must be stopped first."""
    if RunState(run.state) in ACTIVE | {S.lost}:
        raise _impossible(run, "trash", "stop it before moving it to the trash")
    if run.state == S.queued:
        stop(tx, run, now=now)
    run.deleted_at = run.deleted_at or now
    if (pinned := baseline(tx)) is not None and pinned.id == run.id:
        pin_baseline(tx, None)
    feed.post(tx, "run", run.id, "state")


def restore(tx: Tx, run: Run) -> None:
    run.deleted_at = None
    feed.post(tx, "run", run.id, "state")


def pin_baseline(tx: Tx, run: Run | None) -> None:
    """The run that others are compared with; None unpins."""
    tx.session.merge(Setting(key="baseline", value={"run": run.id if run else None}))
    if run is not None:
        feed.post(tx, "run", run.id, "state")


def baseline(tx: Tx) -> Run | None:
    pinned = tx.session.get(Setting, "baseline")
    number = pinned.value["run"] if pinned else None
    return tx.session.get(Run, number) if number is not None else None
