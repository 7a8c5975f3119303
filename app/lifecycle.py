"""What claims, ends and silences of jobs mean for runs and datasets; what the worker routes and the sweeper call."""

from typing import Any

from app import (
    artifacts,
    checkpoints,
    datasets,
    exports,
    forks,
    freeing,
    imports,
    ingest,
    jobs,
    preflight,
    reports,
    runs,
    sample_texts,
    siblings,
    slots,
    workers,
)
from app.contract import ids
from app.contract.config import RunConfig
from app.contract.protocol import PROTOCOL, REASON_KILLED, Claim, ClaimRequest, Finish
from app.contract.states import DatasetState, FailReason, JobKind, RunState
from app.db import Tx
from app.errors import UnsupportedProtocol
from app.settings import Settings
from app.sweeps import launching, steering
from app.tables import Checkpoint, Dataset, Job, Run, Worker

S = RunState
MOST_KILLED = 5
"""Attempts in a row that may lose a process before the run fails."""
SILENT = {
    JobKind.sample: sample_texts.silent,
    JobKind.adopt: imports.silent,
    JobKind.export: exports.silent,
    JobKind.free: freeing.silent,
}
HINTS = {
    FailReason.oom: "Try a smaller micro-batch with more accumulation (the step stays the same), or recompute activations.",
    FailReason.non_finite: "A lower learning rate or a longer warm-up usually helps.",
}


# --- claiming --------------------------------------------------------------------------------------------


def claim(tx: Tx, request: ClaimRequest, *, now: float, settings: Settings) -> Claim | None:
    """Register the worker and give it the oldest job it may take. Raises UnsupportedProtocol."""
    if request.protocol != PROTOCOL:
        older = "worker" if request.protocol < PROTOCOL else "server"
        raise UnsupportedProtocol(
            f"This server speaks worker protocol {PROTOCOL}, the worker {request.protocol}; upgrade the {older}"
            " (pip install --upgrade plateau-runs) so that both are of one version.",
            extra={"protocol": PROTOCOL},
        )
    worker = workers.seen(tx, request.worker, now=now)
    slots.explain(tx)
    while (claimed := jobs.claim(tx, request, worker, now=now, lease_s=settings.lease_s)) is not None:
        job = claimed.job
        match job.kind:
            case JobKind.train:
                offer = _train_offer(tx, job, worker, repeated=claimed.repeated, now=now)
            case JobKind.prepare:
                offer = _prepare_offer(tx, job, worker, repeated=claimed.repeated)
            case JobKind.sample:
                offer = sample_texts.offer(tx, job, repeated=claimed.repeated)
            case JobKind.adopt:
                offer = imports.offer(tx, job, worker, repeated=claimed.repeated, now=now)
            case JobKind.export:
                offer = exports.offer(tx, job)
            case JobKind.report:
                offer = reports.offer(tx, job, worker.name, repeated=claimed.repeated)
            case JobKind.free:
                offer = freeing.offer(tx, job, now=now)
            case _:
                offer = _send_offer(tx, job)
        if offer is None:  # the job turned out to be impossible and has been ended; the next one, then
            continue
        assert job.claim_id is not None
        return Claim(
            job=ids.show("job", job.id), kind=JobKind(job.kind), claim_id=job.claim_id, attempt=job.attempt,
            lease_s=settings.lease_s, store=artifacts.open_to_links(settings.store), **offer,
        )  # fmt: skip
    return None


def _train_offer(tx: Tx, job: Job, worker: Worker, *, repeated: bool, now: float) -> dict[str, Any] | None:
    run = tx.session.get_one(Run, job.run_id)
    dataset = tx.session.get_one(Dataset, run.dataset_id)
    if run.data_sha256 is not None and run.data_sha256 != dataset.manifest_sha256:
        detail = (
            f"dataset changed since step {run.step}: it is not what this run was trained on; start a new run instead"
        )
        jobs.end(tx, job, now=now, outcome="failed")
        runs.transition(tx, run, S.failed, reason=FailReason.error.value, detail=detail, now=now)
        return None
    if misfit := forks.misfit(tx, run, dataset):
        jobs.end(tx, job, now=now, outcome="failed")
        runs.transition(tx, run, S.failed, reason=FailReason.error.value, detail=misfit, now=now)
        return None
    checkpoint = checkpoints.newest(tx, run.id)
    here = checkpoint is not None and checkpoint.worker_id == worker.id
    if checkpoint is not None and not here and (checkpoint.step == 0 or not checkpoints.on_server(tx, checkpoint)):
        checkpoint = None  # step 0 is the seed's doing: any worker makes the same
    if checkpoint is None and run.fork_checkpoint_id is not None:
        checkpoint, here = tx.session.get_one(Checkpoint, run.fork_checkpoint_id), False  # its worker may delete it
    if not repeated:
        run.data_sha256 = dataset.manifest_sha256
        run.worker_id = worker.id
        run.started_at = run.started_at or now
        which = f", attempt {job.attempt}" if job.attempt > 1 else ""
        runs.transition(tx, run, S.starting, detail=f"claimed by {worker.name}{which}", now=now)
        if checkpoint is None and job.attempt > 1:
            ingest.restart(tx, run.id, -1)
    return {
        "run": ids.show("run", run.id),
        "name": run.name,
        "config": run.config,
        "dataset": ids.show("dataset", dataset.id),
        "manifest": dataset.manifest,
        "resume": forks.resume(tx, run, checkpoint) if checkpoint else None,
        "numeric_path": siblings.path(tx, run, worker),
        "files": checkpoints.files(checkpoint) if checkpoint and not here else [],
    }


def _prepare_offer(tx: Tx, job: Job, worker: Worker, *, repeated: bool) -> dict[str, Any]:
    dataset = tx.session.get_one(Dataset, job.dataset_id)
    if not repeated:
        datasets.preparing(tx, dataset, worker.name)
        runs.dataset_changed(tx, dataset)
    return {
        "name": dataset.name,
        "config": dataset.spec,
        "dataset": ids.show("dataset", dataset.id),
        "files": datasets.sources(tx, dataset),
    }


def _send_offer(tx: Tx, job: Job) -> dict[str, Any]:
    checkpoint = checkpoints.of_job(tx, job)
    run = tx.session.get_one(Run, checkpoint.run_id)
    return {
        "run": ids.show("run", run.id),
        "name": run.name,
        "config": {"run": ids.show("run", run.id), "attempt": checkpoint.attempt, "step": checkpoint.step},
        "files": checkpoints.files(checkpoint),
    }


# --- the end, as the worker tells it -----------------------------------------------------------------------


def finish(tx: Tx, job_id: int, finish: Finish, *, now: float) -> None:
    """End a job. Repeated by the same claim: nothing happens. Raises Fenced, SeqGap."""
    job = jobs.finish(tx, job_id, finish, now=now)
    if job is None:
        return
    match job.kind:
        case JobKind.train:
            _run_ended(tx, job, finish, now=now)
            launching.run_ended(tx, tx.session.get_one(Run, job.run_id), now=now)
        case JobKind.prepare:
            _preparation_ended(tx, job, finish, now=now)
        case JobKind.sample:
            sample_texts.ended(tx, job, finish, failed=_last_words(finish), now=now)
        case JobKind.adopt:
            imports.ended(tx, job, finish, failed=_last_words(finish), now=now)
        case JobKind.export:
            exports.ended(tx, job, finish, failed=_last_words(finish), now=now)
        case JobKind.report:
            reports.ended(tx, job, finish, failed=_last_words(finish), now=now)
        case JobKind.free:
            freeing.ended(tx, job, finish, failed=_last_words(finish), now=now)
        case _ if finish.outcome == "requeue":  # its worker was told to leave in the middle of it
            _send_again(tx, job, now=now)
        case _:
            checkpoints.sent(tx, job, failed=_last_words(finish), now=now)
            forks.arrived(tx, checkpoints.of_job(tx, job), now=now)


def _run_ended(tx: Tx, job: Job, finish: Finish, *, now: float) -> None:
    run = tx.session.get_one(Run, job.run_id, populate_existing=True)
    told = {"outcome": finish.outcome, "exit": finish.exit, "attempt": job.attempt, "summary": finish.summary}
    # a person's stop or pause decides where a saved run ends, however the process came to its end
    asked = runs.asked_for(job) if run.state in (S.stopping, S.lost) else None
    if finish.outcome == "failed":
        reason = FailReason.__members__.get(finish.reason or "", FailReason.error)
        detail = " ".join(part for part in (_last_words(finish), HINTS.get(reason, "")) if part)
        runs.transition(tx, run, S.failed, reason=reason.value, detail=detail[:1000], now=now, data=told)
    elif finish.outcome == "finished":
        runs.transition(tx, run, S.finished, detail=f"reached step {run.step}", now=now, data=told)
        _measure(tx, run, job)
    elif finish.reason == REASON_KILLED and asked is None:
        _killed(tx, run, job, now=now)
    elif finish.outcome == "requeue" and asked is None and run.source != "external":
        runs.queue_again(tx, run, f"its worker was told to leave at step {run.step}", worker_id=job.worker_id, now=now)
    else:
        to = asked or (S.paused if finish.outcome == "paused" else S.stopped)
        runs.transition(tx, run, to, detail=f"{to.value} at step {run.step}{_kept(tx, run)}", now=now, data=told)
        _measure(tx, run, job)


def _kept(tx: Tx, run: Run) -> str:
    """Which checkpoint is left of a run that has ended: a disk without room may have cost the last one."""
    newest = checkpoints.newest(tx, run.id)
    if newest is None:
        return ""
    return ", checkpoint kept" if newest.step == run.step else f"; its newest checkpoint is of step {newest.step}"


def _killed(tx: Tx, run: Run, job: Job, *, now: float) -> None:
    """One of the run's processes was killed. By accident it goes on; where it happens again and again it does not."""
    before = jobs.lost_attempts(tx, run.id)
    if len(before) >= 2 and before[0].last_step == before[1].last_step:
        detail = f"two attempts in a row ended at step {run.step} with a process killed; trying again would waste the devices"
        runs.transition(tx, run, S.failed, reason=FailReason.poison.value, detail=detail, now=now)
    elif len(before) >= MOST_KILLED:
        detail = f"{len(before)} attempts in a row ended with a process killed, the last at step {run.step}"
        runs.transition(tx, run, S.failed, reason=FailReason.lost.value, detail=detail, now=now)
    else:
        why = f"one of its processes was killed at step {run.step}"
        runs.queue_again(tx, run, why, worker_id=job.worker_id, now=now)


def _measure(tx: Tx, run: Run, job: Job) -> None:
    """Remember the speed of this shape on this worker, for the times that pre-flight promises."""
    if run.tok_per_s and job.claimed_by is not None:
        config = RunConfig.model_validate(run.config)
        dtype = str(run.telemetry.get("dtype") or config.system.dtype)
        workers.record_speed(tx, job.claimed_by, preflight.shape_key(config, dtype), run.tok_per_s)


def _last_words(finish: Finish) -> str:
    """What the process said of its end, in a sentence; else "exit 1: RuntimeError: …", its last line that says something."""
    if detail := finish.summary.get("detail"):
        return str(detail)[:600]
    said = next((line.strip() for line in reversed(finish.log_tail) if line.strip()), "")[:600]
    code = f"exit {finish.exit}" if finish.exit else ""
    return ": ".join(part for part in (code, said) if part) or "the process ended with an error"


def _preparation_ended(tx: Tx, job: Job, finish: Finish, *, now: float) -> None:
    dataset = tx.session.get_one(Dataset, job.dataset_id, populate_existing=True)
    if finish.outcome == "finished":
        datasets.prepared(tx, dataset, finish.summary, now=now)
        if dataset.state == DatasetState.ready:
            reports.ask(tx, dataset, worker_id=job.claimed_by, now=now)
    elif finish.outcome == "requeue":
        datasets.requeue(tx, dataset, "its worker was told to leave", now=now)
    else:
        datasets.failed(tx, dataset, _last_words(finish), now=now)
    runs.dataset_changed(tx, dataset)


# --- silence ---------------------------------------------------------------------------------------------


def sweep(tx: Tx, *, now: float, started_at: float, settings: Settings) -> None:
    """Look for claims whose worker has fallen silent, and after sweeps; safe to call at any pace."""
    launching.settle(tx, now=now)
    steering.keep_paused(tx, now=now)
    if not jobs.may_expire(tx, now=now, started_at=started_at, lease_s=settings.lease_s):
        return
    for job in jobs.expired(tx, now=now):
        match job.kind:
            case JobKind.train:
                _run_silent(tx, job, now=now, settings=settings)
            case JobKind.prepare:
                _preparation_silent(tx, job, now=now, settings=settings)
            case JobKind.sample | JobKind.adopt | JobKind.export | JobKind.free:
                if _past_grace(job, now, settings):
                    SILENT[JobKind(job.kind)](tx, job, now=now)
            case JobKind.report:
                if _past_grace(job, now, settings):
                    reports.silent(tx, job, most=settings.max_attempts, now=now)
            case _:
                _sending_silent(tx, job, now=now, settings=settings)


def _past_grace(job: Job, now: float, settings: Settings) -> bool:
    return job.lease_until is not None and now > job.lease_until + settings.grace_s


def _run_silent(tx: Tx, job: Job, *, now: float, settings: Settings) -> None:
    run = tx.session.get_one(Run, job.run_id, populate_existing=True)
    asked = runs.asked_for(job)
    if run.state == S.stopping and asked is not None:
        if _past_grace(job, now, settings):
            jobs.end(tx, job, now=now, outcome=asked.value)
            runs.transition(
                tx, run, asked, detail=f"{asked.value} at step {run.step}; its worker did not answer", now=now
            )
    elif run.state in (S.starting, S.running):
        detail = f"no word from its worker for {settings.lease_s:g} s, at step {run.step}"
        runs.transition(tx, run, S.lost, detail=detail, now=now)
    elif run.state == S.lost and run.source != "external" and now > run.updated_at + settings.grace_s:
        # counted from the moment it was seen to be lost: the grace cannot be skipped by a jump of the clock
        jobs.end(tx, job, now=now, outcome="lost")
        _take_over(tx, run, job, now=now, settings=settings)


def _take_over(tx: Tx, run: Run, job: Job, *, now: float, settings: Settings) -> None:
    """Queue a lost run again, unless that has been in vain before."""
    lost = jobs.lost_attempts(tx, run.id)
    if len(lost) >= 2 and lost[0].last_step == lost[1].last_step:
        detail = f"two attempts in a row ended at step {run.step} with their worker gone; trying again would waste the device"
        runs.transition(tx, run, S.failed, reason=FailReason.poison.value, detail=detail, now=now)
    elif len(lost) >= settings.max_attempts:
        detail = f"{len(lost)} attempts in a row ended with their worker gone, the last at step {run.step}"
        runs.transition(tx, run, S.failed, reason=FailReason.lost.value, detail=detail, now=now)
    else:
        runs.queue_again(tx, run, "its worker did not come back", worker_id=job.worker_id, now=now)


def _preparation_silent(tx: Tx, job: Job, *, now: float, settings: Settings) -> None:
    if not _past_grace(job, now, settings):
        return
    dataset = tx.session.get_one(Dataset, job.dataset_id, populate_existing=True)
    jobs.end(tx, job, now=now, outcome="lost")
    if jobs.silences(tx, dataset.id) >= settings.max_attempts:
        datasets.failed(tx, dataset, f"Its worker vanished {settings.max_attempts} times while preparing it.", now=now)
    else:
        datasets.requeue(tx, dataset, "its worker did not come back", now=now)
    runs.dataset_changed(tx, dataset)


def _sending_silent(tx: Tx, job: Job, *, now: float, settings: Settings) -> None:
    if _past_grace(job, now, settings):
        jobs.end(tx, job, now=now, outcome="lost")
        _send_again(tx, job, now=now)


def _send_again(tx: Tx, job: Job, *, now: float) -> None:
    jobs.enqueue(tx, JobKind.send, run_id=job.run_id, worker_id=job.worker_id, payload=job.payload, now=now)
