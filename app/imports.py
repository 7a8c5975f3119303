"""Checkpoints from elsewhere: a file of nanoGPT or GPT-2, read by a worker as data, becomes a run of source "imported".

Such a run never trains: it holds one checkpoint, from which one can sample, fork and export. Its configuration is
read from the file, and until that is done it has the defaults.
"""

from typing import Any

from pydantic import ValidationError

from app import artifacts, checkpoints, datasets, feed, jobs, runs
from app.contract import ids
from app.contract.config import RunConfig
from app.contract.exchange import CheckpointImport
from app.contract.protocol import Event, Finish
from app.contract.states import DatasetState, FailReason, JobKind, RunState
from app.db import Tx
from app.errors import Conflict, FieldError, Invalid, NotFound
from app.tables import Dataset, Job, Run, Worker

S = RunState
BUILTIN = RunConfig().data.dataset
FACTS = ("vocab_size", "parameters", "parameters_no_embedding", "flops_per_token")


def create(tx: Tx, asked: CheckpointImport, *, now: float) -> Run:
    """A queued run, and the job that fills it. Raises Invalid, Conflict."""
    dataset = _dataset(tx, asked.dataset, now)
    for index, file in enumerate(asked.files):
        if file.sha256 is not None and artifacts.on_server(tx.raw, file.sha256) is None:
            raise Invalid(
                [FieldError(f"/files/{index}/sha256", "is no file that was uploaded; PUT it to /artifacts first")]
            )
    config = RunConfig()
    run = Run(
        name=asked.name or asked.files[0].name, state=S.queued.value, detail="waiting for a worker to read the file",
        source="imported", config=_config(config, dataset), tags=[], notes="",
        dataset_id=dataset.id if dataset else None, worker_id=runs.referred(tx, "worker", asked.worker),
        created_at=now, updated_at=now, step=0, steps=0, telemetry={},
    )  # fmt: skip
    runs.enter(tx, run, key=None, body_sha256="", now=now)
    payload = asked.model_dump(mode="json", include={"format", "files"})
    jobs.enqueue(tx, JobKind.adopt, run_id=run.id, worker_id=run.worker_id, payload=payload, now=now)
    return run


def _config(config: RunConfig, dataset: Dataset | None) -> dict[str, Any]:
    return runs.named(config, dataset) if dataset else config.model_dump(mode="json")


def _dataset(tx: Tx, text: str | None, now: float) -> Dataset | None:
    if text is None:
        return None
    try:
        dataset = datasets.ensure_builtin(tx, now) if text == BUILTIN else datasets.get(tx, text)
    except NotFound as error:
        raise Invalid([FieldError("/dataset", error.detail)]) from None
    if dataset.state != DatasetState.ready or dataset.manifest is None:
        raise Conflict(f"The dataset {dataset.name} is {dataset.state}; import the checkpoint once it is ready.")
    return dataset


def offer(tx: Tx, job: Job, worker: Worker, *, repeated: bool, now: float) -> dict[str, Any] | None:
    """What a worker needs; None where the run was stopped meanwhile, and the job is over."""
    run = tx.session.get_one(Run, job.run_id)
    if not repeated:
        if run.state != S.queued:
            jobs.end(tx, job, now=now, outcome="stopped")
            return None
        run.worker_id, run.started_at = worker.id, run.started_at or now
        runs.transition(tx, run, S.starting, detail=f"read by {worker.name}", now=now)
    dataset = tx.session.get(Dataset, run.dataset_id) if run.dataset_id is not None else None
    run.data_sha256 = dataset.manifest_sha256 if dataset else None
    return {
        "run": ids.show("run", run.id),
        "name": run.name,
        "config": job.payload,
        "dataset": ids.show("dataset", dataset.id) if dataset else None,
        "manifest": dataset.manifest if dataset else None,
    }


def told(tx: Tx, held: jobs.Held, events: list[Event], *, now: float) -> None:
    """The checkpoint, once it is on the worker's disk. Raises Invalid."""
    assert held.run_id is not None, f"import job {held.id} has no run"
    for index, event in enumerate(events):
        if event.kind == "checkpoint":
            pointer = f"/events/{index}/data"
            checkpoints.saved(tx, held.run_id, held.claimed_by, event.data, now=now, pointer=pointer)
            feed.post(tx, "run", held.run_id, "state")


def ended(tx: Tx, job: Job, finish: Finish, *, failed: str, now: float) -> None:
    """The job's end, as its worker tells it; `failed` is its last word."""
    run = tx.session.get_one(Run, job.run_id, populate_existing=True)
    if finish.outcome == "requeue":
        jobs.enqueue(tx, JobKind.adopt, run_id=run.id, worker_id=job.worker_id, payload=job.payload, now=now)
        runs.transition(tx, run, S.queued, detail="its worker was told to leave; waiting for a worker", now=now)
    elif finish.outcome != "finished":
        runs.transition(tx, run, S.failed, reason=FailReason.error.value, detail=failed[:1000], now=now)
    else:
        _fill(tx, run, finish.summary)
        detail = f"imported: {finish.summary.get('detail', '')}"[:1000]
        runs.transition(tx, run, S.finished, detail=detail, now=now)


def _fill(tx: Tx, run: Run, said: dict[str, Any]) -> None:
    """The run's configuration and numbers, as the file has them. Raises Invalid."""
    try:
        config = RunConfig.model_validate(said.get("config"))
    except ValidationError as error:
        raise Invalid(
            [FieldError("/summary/config", f"is no run's configuration: {error.errors()[0]['msg']}")]
        ) from None
    step, best = said.get("imported_step"), said.get("best_val")
    if type(step) is not int or not 0 <= step < 2**53:
        raise Invalid([FieldError("/summary/imported_step", "must be the checkpoint's step")])
    dataset = tx.session.get(Dataset, run.dataset_id) if run.dataset_id is not None else None
    run.config = _config(config, dataset)
    run.step = run.steps = step
    if isinstance(best, float):
        run.best_val, run.best_step = best, step
    run.telemetry = run.telemetry | {key: said[key] for key in FACTS if type(said.get(key)) is int}


def silent(tx: Tx, job: Job, *, now: float) -> None:
    """Its worker has vanished while it read the file."""
    run = tx.session.get_one(Run, job.run_id, populate_existing=True)
    jobs.end(tx, job, now=now, outcome="lost")
    detail = "its worker fell silent while it read the file; import it again"
    runs.transition(tx, run, S.failed, reason=FailReason.lost.value, detail=detail, now=now)
