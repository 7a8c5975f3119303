"""How a sample's text arrives: offered to a worker as a job, told piece by piece, closed at the job's end.

A run that trains tells its texts among its own events: pieces of those it was asked for, and whole ones that it
writes of its own accord every so many steps.
"""

from typing import Any

from pydantic import ValidationError

from app import checkpoints, jobs, samples
from app.contract import ids
from app.contract.protocol import Event, Finish
from app.contract.sampling import MOST_SAMPLES, SampleSettings
from app.contract.states import JobKind
from app.db import Tx
from app.errors import FieldError, Invalid
from app.tables import Checkpoint, Dataset, Job, Run, Sample

LONGEST_TEXT = 1 << 20
"""Characters of one text; a thousand tokens are far shorter, whatever the tokenizer."""


# --- a sample's job --------------------------------------------------------------------------------------


def of_job(tx: Tx, job: Job) -> Sample:
    return tx.session.get_one(Sample, job.payload["sample"], populate_existing=True)


def offer(tx: Tx, job: Job, *, repeated: bool) -> dict[str, Any]:
    """What a worker needs to write it."""
    sample = of_job(tx, job)
    run = tx.session.get_one(Run, job.run_id)
    checkpoint = tx.session.get_one(Checkpoint, sample.checkpoint_id)
    dataset = tx.session.get(Dataset, run.dataset_id) if run.dataset_id is not None else None
    if not repeated:
        sample.state, sample.detail, sample.texts = "writing", "", []
        samples.changed(tx, sample)
    return {
        "run": ids.show("run", run.id),
        "name": run.name,
        "config": sample.settings,
        "dataset": ids.show("dataset", dataset.id) if dataset else None,
        "manifest": dataset.manifest if dataset else None,
        "resume": {**checkpoint.manifest, "attempt": checkpoint.attempt, "step": checkpoint.step},
        "files": checkpoints.files(checkpoint),
    }


def told(tx: Tx, job_id: int, events: list[Event]) -> None:
    """Pieces of text in a batch of a sample job. Raises Invalid."""
    pieces = [(index, event) for index, event in enumerate(events) if event.kind == "sample"]
    if pieces:
        sample = of_job(tx, tx.session.get_one(Job, job_id))
        for index, event in pieces:
            _append(sample, event.data, f"/events/{index}/data")
        samples.changed(tx, sample)


def ended(tx: Tx, job: Job, finish: Finish, *, failed: str, now: float) -> None:
    """The job's end, as its worker tells it; `failed` is its last word."""
    sample = of_job(tx, job)
    if finish.outcome == "requeue":
        sample.state, sample.detail = "queued", "its worker was told to leave"
        jobs.enqueue(tx, JobKind.sample, run_id=job.run_id, worker_id=job.worker_id, payload=job.payload, now=now)
        samples.changed(tx, sample)
    else:
        states = {"finished": ("done", ""), "failed": ("failed", failed)}
        samples.close(tx, sample, *states.get(finish.outcome, ("stopped", "")), now=now)


def silent(tx: Tx, job: Job, *, now: float) -> None:
    """Its worker has vanished; nobody waits for a text that long."""
    jobs.end(tx, job, now=now, outcome="lost")
    samples.close(tx, of_job(tx, job), "failed", "its worker fell silent; ask again", now=now)


# --- what a run writes while it trains -------------------------------------------------------------------


def of_run(tx: Tx, run_id: int, event: Event, pointer: str, *, now: float) -> None:
    """A `sample` event of a training process: a piece of what was asked for, or a text of its own accord."""
    data = event.data
    number = data.get("sample")
    if number is None:
        _own(tx, run_id, event, pointer, now=now)
        return
    sample = (
        tx.session.get(Sample, number, populate_existing=True) if type(number) is int and 0 < number < 2**62 else None
    )
    if sample is None or sample.run_id != run_id or sample.checkpoint_id is not None:
        raise Invalid([FieldError(f"{pointer}/sample", "must be the number of a sample that this run was asked for")])
    if sample.state not in samples.OPEN:
        return
    sample.state, sample.detail = "writing", ""
    sample.step = event.step if event.step is not None else sample.step
    if "error" in data:
        samples.close(tx, sample, "failed", str(data["error"])[:1000], now=now)
    elif data.get("done"):
        samples.close(tx, sample, "done", "", now=now)
    else:
        _append(sample, data, pointer)
        samples.changed(tx, sample)


def _own(tx: Tx, run_id: int, event: Event, pointer: str, *, now: float) -> None:
    text, step = event.data.get("written"), event.step
    if not isinstance(text, str) or step is None:
        raise Invalid([FieldError(f"{pointer}/written", "must be the text written, at a step")])
    try:
        settings = SampleSettings.model_validate(event.data.get("settings")).model_dump()
    except ValidationError:
        raise Invalid([FieldError(f"{pointer}/settings", "must be the settings of the text")]) from None
    for again in samples.of_run_itself(tx, run_id):  # a resume came by this step a second time
        if again.step == step and again.settings == settings:
            tx.session.delete(again)
    sample = Sample(
        run_id=run_id, checkpoint_id=None, step=step, state="done", detail="", settings=settings,
        texts=[text[:LONGEST_TEXT]], created_at=now, ended_at=now,
    )  # fmt: skip
    tx.session.add(sample)
    samples.changed(tx, sample)


def _append(sample: Sample, data: dict[str, Any], pointer: str) -> None:
    index, text = data.get("index"), data.get("written")
    if type(index) is not int or not 0 <= index < min(MOST_SAMPLES, int(sample.settings.get("samples", 1))):
        raise Invalid([FieldError(f"{pointer}/index", "must say which of the samples it is, from 0")])
    if not isinstance(text, str):
        raise Invalid([FieldError(f"{pointer}/written", "must be the text to append")])
    texts = [*sample.texts, *[""] * (index + 1 - len(sample.texts))]
    texts[index] = (texts[index] + text)[:LONGEST_TEXT]
    sample.texts = texts
