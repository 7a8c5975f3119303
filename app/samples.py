"""Text written from a run's checkpoints, or by a run while it trains: asking for it, looking at it, stopping it.

A sample of a checkpoint is a job for the worker that holds the files, or for any once the server has them. With
`at: now` the run's own process is told by a command and writes between two steps. How the text arrives is
app/sample_texts.py's.
"""

from typing import Any

from sqlalchemy import func, select

from app import checkpoints, feed, jobs
from app.contract import ids
from app.contract.sampling import Asked
from app.contract.states import JobKind, JobState, RunState
from app.db import Tx
from app.errors import Conflict, FieldError, Invalid, NotFound
from app.tables import Checkpoint, Dataset, Job, Run, Sample, Worker

OPEN = ("queued", "writing")
GPT2_ROWS = (50_257, 50_304)
"""Rows of an embedding that belong to GPT-2's tokenizer: its entries, and those padded to a multiple of 64."""


# --- asking ----------------------------------------------------------------------------------------------


def ask(tx: Tx, run: Run, asked: Asked, *, now: float, quiet_s: float) -> Sample:
    """A queued sample. Raises Conflict where nothing could ever write it, NotFound for a checkpoint that is not there."""
    if run.deleted_at is not None:
        raise Conflict(f"{ids.show('run', run.id)} is in the trash; restore it to sample from it.")
    settings = asked.model_dump(exclude={"at"})
    if asked.at == "now":
        return _ask_the_run(tx, run, settings, now=now)
    checkpoint = chosen(tx, run, asked.at)
    _check_vocabulary(tx, run)
    worker_id, detail = holder(tx, checkpoint, now=now, quiet_s=quiet_s)
    sample = _new(tx, run, settings, step=checkpoint.step, checkpoint_id=checkpoint.id, detail=detail, now=now)
    jobs.enqueue(tx, JobKind.sample, run_id=run.id, worker_id=worker_id, payload={"sample": sample.id}, now=now)
    return sample


def now_from(tx: Tx, run: Run, *, now: float) -> None:
    """“Sample now” with the run's own prompt and length, as a button does it."""
    told = run.config.get("eval", {})
    asked = Asked(
        at="now", prompt=told.get("sample_prompt", ""), tokens=told.get("sample_tokens", 100), seed=run.config["system"]["seed"]
    )  # fmt: skip
    ask(tx, run, asked, now=now, quiet_s=0.0)


def _ask_the_run(tx: Tx, run: Run, settings: dict[str, Any], *, now: float) -> Sample:
    job = jobs.current_job(tx, run.id)
    if run.state not in (RunState.starting, RunState.running) or job is None or run.source == "external":
        why = "is fed by a client" if run.source == "external" else f"is {run.state}"
        raise Conflict(
            f"{ids.show('run', run.id)} {why}: it cannot write now. Sample from one of its checkpoints instead."
        )
    sample = _new(tx, run, settings, step=run.step, checkpoint_id=None, detail="after the step under way", now=now)
    jobs.command(tx, job, "sample", sample=sample.id, settings=settings)
    return sample


def _new(
    tx: Tx, run: Run, settings: dict[str, Any], *, step: int, checkpoint_id: int | None, detail: str, now: float
) -> Sample:
    sample = Sample(
        run_id=run.id, checkpoint_id=checkpoint_id, step=step, state="queued", detail=detail, settings=settings,
        texts=[], created_at=now,
    )  # fmt: skip
    tx.session.add(sample)
    changed(tx, sample)
    return sample


def chosen(tx: Tx, run: Run, at: str) -> Checkpoint:
    """The checkpoint that `last`, `best`, a step or an id means."""
    saved = checkpoints.listing(tx, run.id)
    shown = ids.show("run", run.id)
    if ids.parse("checkpoint", at) is not None:
        checkpoint = checkpoints.get(tx, at)
        if checkpoint.run_id != run.id:
            raise NotFound(f"{at} is a checkpoint of {ids.show('run', checkpoint.run_id)}, not of {shown}.")
        return checkpoint
    if not saved:
        raise Conflict(f"{shown} has no checkpoint yet.")
    if at == "best":
        measured = [(one.val_loss, one) for one in saved if one.val_loss is not None]
        if not measured:
            raise Conflict(f"None of the checkpoints of {shown} has a validation loss; take last, or one of its steps.")
        return min(measured, key=lambda pair: pair[0])[1]
    if at == "last":
        newest = checkpoints.newest(tx, run.id)
        assert newest is not None, f"run {run.id} has checkpoints but no newest one"
        return newest
    if not at.isdecimal():
        raise Invalid([FieldError("/at", "must be last, best, now, a step, or a checkpoint's id such as c-0001")])
    of_step = [one for one in saved if one.step == int(at)]
    if not of_step:
        steps = ", ".join(str(one.step) for one in reversed(saved[:20]))
        raise NotFound(f"{shown} has no checkpoint of step {at[:20]}; there are those of {steps}.")
    return max(of_step, key=lambda one: one.attempt)


def holder(tx: Tx, checkpoint: Checkpoint, *, now: float, quiet_s: float) -> tuple[int | None, str]:
    """(who has to do the work, None for anybody; what it waits for). Raises Conflict where the files are out of reach."""
    if checkpoints.on_server(tx, checkpoint):
        return None, ""
    worker = tx.session.get(Worker, checkpoint.worker_id) if checkpoint.worker_id is not None else None
    if worker is None:
        raise Conflict(f"No worker is known to hold the checkpoint of step {checkpoint.step}.")
    name = f"{ids.show('worker', worker.id)} ({worker.name})"
    if now - worker.last_seen > quiet_s:
        raise Conflict(
            f"The checkpoint of step {checkpoint.step} lies on worker {name}, which has not been heard of for "
            f"{now - worker.last_seen:,.0f} s. Start that worker again, or choose a checkpoint that is on the server."
        )
    return worker.id, f"for worker {name}, which holds the checkpoint"


def _check_vocabulary(tx: Tx, run: Run) -> None:
    """Raises Conflict where no tokenizer belongs to the run."""
    dataset = tx.session.get(Dataset, run.dataset_id) if run.dataset_id is not None else None
    if dataset is None:
        if run.telemetry.get("vocab_size") not in GPT2_ROWS:
            raise Conflict("No dataset belongs to this run, so nobody knows which text its tokens stand for.")
    elif dataset.manifest is None or run.data_sha256 not in (None, dataset.manifest_sha256):
        raise Conflict(
            f"The dataset {dataset.name} is not the one this run was trained on any more; its vocabulary may be another."
        )


# --- looking and stopping --------------------------------------------------------------------------------


def get(tx: Tx, run_id: int, text_id: str) -> Sample:
    number = ids.parse("sample", text_id)
    sample = tx.session.get(Sample, number, populate_existing=True) if number is not None else None
    if sample is None or sample.run_id != run_id:
        raise NotFound(f"{ids.show('run', run_id)} has no sample {text_id[:40]}.")
    return sample


def listing(tx: Tx, run_id: int, *, offset: int = 0, limit: int = 50) -> list[Sample]:
    """Newest first."""
    query = select(Sample).where(Sample.run_id == run_id).order_by(Sample.id.desc()).offset(offset).limit(limit)
    return list(tx.session.scalars(query.execution_options(populate_existing=True)))


def count(tx: Tx, run_id: int) -> int:
    return tx.session.scalar(select(func.count()).select_from(Sample).where(Sample.run_id == run_id)) or 0


def stop(tx: Tx, sample: Sample, *, now: float) -> None:
    """What is written stays. Raises Conflict for one that is over, or that a run writes between two steps."""
    if sample.state not in OPEN:
        raise Conflict(f"{ids.show('sample', sample.id)} is {sample.state}; there is nothing to stop.")
    job = _job(tx, sample)
    if job is None:
        raise Conflict("A run writes it between two of its steps and cannot be interrupted there.")
    if job.state == JobState.queued.value:
        jobs.end(tx, job, now=now, outcome="stopped")
        close(tx, sample, "stopped", "", now=now)
    elif "stop" not in jobs.commanded(job):
        jobs.command(tx, job, "stop")


def _job(tx: Tx, sample: Sample) -> Job | None:
    query = select(Job).where(
        Job.run_id == sample.run_id, Job.kind == JobKind.sample.value, Job.state != JobState.done.value
    )
    found = tx.session.scalars(query.execution_options(populate_existing=True))
    return next((job for job in found if job.payload.get("sample") == sample.id), None)


def close(tx: Tx, sample: Sample, state: str, detail: str, *, now: float) -> None:
    sample.state, sample.detail, sample.ended_at = state, detail, now
    changed(tx, sample)


def changed(tx: Tx, sample: Sample) -> None:
    tx.session.flush()
    feed.post(tx, "run", sample.run_id, "sample", sample.id)


# --- when the run goes another way ---------------------------------------------------------------------------


def of_run_itself(tx: Tx, run_id: int) -> list[Sample]:
    query = select(Sample).where(Sample.run_id == run_id, Sample.checkpoint_id.is_(None))
    return list(tx.session.scalars(query.execution_options(populate_existing=True)))


def taken_back(tx: Tx, run_id: int, after_step: int) -> None:
    """A resume goes on from `after_step`: the run's own texts of later steps belong to a past that was given up."""
    tx.session.flush()
    tx.raw.execute("DELETE FROM samples WHERE run_id = ? AND checkpoint_id IS NULL AND step > ?", (run_id, after_step))


def abandoned(tx: Tx, run_id: int, *, now: float) -> None:
    """The run's process has ended: what it was asked for and has not written will not come."""
    for sample in of_run_itself(tx, run_id):
        if sample.state in OPEN:
            close(tx, sample, "failed", "the run stopped training before it was written", now=now)
