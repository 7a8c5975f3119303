"""Pieces of work that workers claim; the only place that knows leases, attempts and fencing.

A job is claimed at most once. Its claim_id (a random uuid) is the fence: every write of a worker carries it
and is compared inside the transaction that writes, so a worker that was taken over can change nothing.
When a claim is given up (lost, requeued), the work goes on as a new job. What that means for a run or a
dataset is not known here: app/lifecycle.py says it.
"""

import itertools
import sqlite3
import uuid
from typing import Any, NamedTuple

import orjson
from sqlalchemy import select

from app.contract import ids
from app.contract.protocol import REASON_KILLED, ClaimRequest, Finish
from app.contract.states import JobKind, JobState
from app.db import Tx
from app.errors import Fenced, NotFound, SeqGap
from app.slots import DEVICES
from app.tables import Attempt, Job, Setting, Worker

CLOCK_JUMP_S = 30.0
"""A pause between two sweeps longer than a lease and this: the machine slept or its clock was set."""


class Claimed(NamedTuple):
    job: Job
    repeated: bool  #: the same claim again, because its answer was lost


class Held(NamedTuple):
    """A job whose fence was passed, as the hot path needs it."""

    id: int
    kind: str
    run_id: int | None
    dataset_id: int | None
    claimed_by: int | None
    claim_id: str
    attempt: int
    acked_seq: int
    run_state: str | None
    commands: list[dict[str, Any]]


def enqueue(
    tx: Tx,
    kind: JobKind,
    *,
    run_id: int | None = None,
    dataset_id: int | None = None,
    worker_id: int | None = None,
    payload: dict[str, Any] | None = None,
    priority: int | None = None,
    now: float,
) -> Job:
    """Queue a job. A train job names the dataset it waits for; worker_id means that only this worker may claim it.

    Of two that wait, the higher priority goes first, then the older; a run keeps that of its last job.
    """
    if priority is None:
        before = "SELECT priority FROM jobs WHERE run_id = ? AND kind = ? ORDER BY id DESC LIMIT 1"
        row = tx.raw.execute(before, (run_id, kind.value)).fetchone()
        priority = row[0] if row else 0
    job = Job(
        kind=kind.value, state=JobState.queued.value, run_id=run_id, dataset_id=dataset_id, worker_id=worker_id,
        payload=payload or {}, created_at=now, attempt=0, acked_seq=0, commands=[], priority=priority,
    )  # fmt: skip
    tx.session.add(job)
    tx.session.flush()
    return job


def claim(tx: Tx, request: ClaimRequest, worker: Worker, *, now: float, lease_s: float) -> Claimed | None:
    """The oldest job this worker may take, or its live claim with the same idempotency key."""
    tx.session.flush()
    repeated = tx.session.scalar(
        select(Job).where(
            Job.claimed_by == worker.id,
            Job.claim_key == request.idempotency_key,
            Job.state == JobState.claimed.value,
            Job.lease_until > now,
        )
    )
    if repeated is not None:
        repeated.lease_until = now + lease_s
        return Claimed(repeated, repeated=True)
    if not worker.enabled:
        return None
    number = _oldest_claimable(tx.raw, request, worker)
    if number is None:
        return None
    job = tx.session.get_one(Job, number, populate_existing=True)
    hold(tx, job, worker, now=now, lease_s=lease_s)
    job.claim_key = request.idempotency_key
    tx.session.flush()
    return Claimed(job, repeated=False)


def hold(tx: Tx, job: Job, worker: Worker | None, *, now: float, lease_s: float) -> None:
    """Give the job a claim and, for a run on a worker, an attempt. Without a worker an outside client feeds it."""
    assert job.state == JobState.queued.value, f"job {job.id} is {job.state}, not queued"
    job.state = JobState.claimed.value
    job.claimed_by = worker.id if worker else None
    job.claim_id = str(uuid.uuid4())
    job.lease_until = now + lease_s
    job.attempt = 1
    if job.kind == JobKind.train.value and worker is not None:
        row = tx.raw.execute("SELECT coalesce(max(number), 0) + 1 FROM attempts WHERE run_id = ?", (job.run_id,))
        job.attempt = row.fetchone()[0]
        tx.session.add(
            Attempt(
                run_id=job.run_id, number=job.attempt, worker_id=worker.id, claim_id=job.claim_id, started_at=now
            )
        )  # fmt: skip
    tx.session.flush()


def _oldest_claimable(raw: sqlite3.Connection, request: ClaimRequest, worker: Worker) -> int | None:
    kinds = sorted({kind.value for kind in request.kinds})
    found = _oldest(raw, request, worker, kinds)
    if found is not None and found.devices > request.free_devices:
        # The run's turn, and not enough devices: a later run must not take those that it waits for.
        found = _oldest(raw, request, worker, [kind for kind in kinds if kind != JobKind.train.value])
    return found.id if found else None


class _Next(NamedTuple):
    id: int
    devices: int  #: that have to be free for it


def _oldest(raw: sqlite3.Connection, request: ClaimRequest, worker: Worker, kinds: list[str]) -> _Next | None:
    """The oldest job of these kinds for a worker with such devices, all of them free."""
    # auto and cpu run anywhere; cuda and mps only where such a device is
    devices = sorted({"auto", "cpu"} | {device.kind for device in request.worker.devices})
    row = raw.execute(
        f"""
        SELECT jobs.id, CASE WHEN jobs.kind = 'train' THEN {DEVICES} ELSE 0 END FROM jobs
        LEFT JOIN datasets ON datasets.id = jobs.dataset_id
        LEFT JOIN runs ON runs.id = jobs.run_id
        WHERE jobs.state = 'queued' AND jobs.kind IN ({_marks(kinds)})
          AND (jobs.worker_id IS NULL OR jobs.worker_id = ?)
          AND (json_type(jobs.payload, '$.workers') IS NULL
               OR EXISTS (SELECT 1 FROM json_each(jobs.payload, '$.workers') WHERE value = ?))
          AND (jobs.kind != 'train'
               OR (datasets.state = 'ready' AND json_extract(runs.config, '$.system.device') IN ({_marks(devices)})
                   AND {DEVICES} <= ?))
        ORDER BY jobs.priority DESC, jobs.id LIMIT 1
        """,  # noqa: S608  # only question marks are put in
        (*kinds, worker.id, worker.id, *devices, len(request.worker.devices)),
    ).fetchone()
    return _Next._make(row) if row else None


def _marks(values: list[str]) -> str:
    return ", ".join("?" * len(values))


def fence(raw: sqlite3.Connection, job_id: int, claim_id: str) -> Held:
    """The job, if `claim_id` still holds it; else Fenced with a sentence that says who has it now."""
    row = raw.execute(
        "SELECT id, kind, run_id, dataset_id, claimed_by, claim_id, attempt, acked_seq,"
        " (SELECT runs.state FROM runs WHERE runs.id = jobs.run_id), commands, state FROM jobs WHERE id = ?",
        (job_id,),
    ).fetchone()
    if row is None:
        raise NotFound(f"There is no job {ids.show('job', job_id)}.")
    *fields, commands, state = row
    held = Held._make([*fields, orjson.loads(commands) or []])
    if state != JobState.claimed.value or held.claim_id != claim_id:
        raise Fenced(_whose(raw, held, state, claim_id))
    return held


def _whose(raw: sqlite3.Connection, held: Held, state: str, claim_id: str) -> str:
    """Why the claim is stale, in one sentence."""
    job = ids.show("job", held.id)
    if held.run_id is not None and held.kind == JobKind.train.value:
        run = ids.show("run", held.run_id)
        owner = raw.execute(
            "SELECT workers.id, workers.name, jobs.attempt FROM jobs JOIN workers ON workers.id = jobs.claimed_by"
            " WHERE jobs.run_id = ? AND jobs.kind = 'train' AND jobs.state = 'claimed' AND jobs.claim_id != ?",
            (held.run_id, claim_id),
        ).fetchone()
        if owner:
            return f"{run} is now held by worker {ids.show('worker', owner[0])} ({owner[1]}), attempt {owner[2]}."
        run_state = raw.execute("SELECT state FROM runs WHERE id = ?", (held.run_id,)).fetchone()[0]
        return f"This claim on {run} has ended; the run is {run_state}."
    if state == JobState.queued.value:
        return f"{job} is queued and nobody holds it; claim it first."
    return f"{job} has ended." if state == JobState.done.value else f"{job} is held by another claim."


def renew(raw: sqlite3.Connection, job_id: int, *, acked_seq: int, now: float, lease_s: float) -> None:
    raw.execute("UPDATE jobs SET acked_seq = ?, lease_until = ? WHERE id = ?", (acked_seq, now + lease_s, job_id))


def finish(tx: Tx, job_id: int, finish: Finish, *, now: float) -> Job | None:
    """End the claimed job and close its attempt; None when this very claim was finished before.

    Raises Fenced for a stale claim, SeqGap unless everything up to final_seq has arrived.
    """
    tx.session.flush()
    job = tx.session.get(Job, job_id, populate_existing=True)
    if job is not None and job.finish is not None and job.claim_id == finish.claim_id:
        return None
    held = fence(tx.raw, job_id, finish.claim_id)
    if finish.final_seq != held.acked_seq:
        raise SeqGap(held.acked_seq, f"Batches up to {finish.final_seq} were announced, {held.acked_seq} have arrived.")
    assert job is not None
    job.finish = finish.model_dump(mode="json", exclude={"summary"})
    outcome = REASON_KILLED if finish.reason == REASON_KILLED else finish.outcome
    end(tx, job, now=now, outcome=outcome, exit=finish.exit)
    return job


def end(tx: Tx, job: Job, *, now: float, outcome: str, exit: int | None = None) -> None:
    """Close the job and its attempt. Whoever still works on it is fenced from here on."""
    job.state = JobState.done.value
    job.ended_at = now
    tx.session.flush()
    tx.raw.execute(
        "UPDATE attempts SET ended_at = ?, outcome = ?, exit = ?,"
        " last_step = (SELECT step FROM runs WHERE runs.id = attempts.run_id)"
        " WHERE claim_id = ? AND ended_at IS NULL",
        (now, outcome, exit, job.claim_id),
    )


def command(tx: Tx, job: Job, command: str, **data: Any) -> None:
    """Tell the worker; delivered in every ack until the job ends, deduplicated there by id."""
    job.commands = [*job.commands, {"id": len(job.commands) + 1, "command": command, **data}]
    tx.session.flush()


def commanded(job: Job) -> list[str]:
    """The commands given so far, oldest first."""
    return [given["command"] for given in job.commands]


def current_job(tx: Tx, run_id: int) -> Job | None:
    """The run's train job that is queued or claimed; there is at most one."""
    return tx.session.scalar(
        select(Job)
        .where(Job.run_id == run_id, Job.kind == JobKind.train.value, Job.state != JobState.done.value)
        .order_by(Job.id.desc())
        .execution_options(populate_existing=True)
    )


def expired(tx: Tx, *, now: float) -> list[Job]:
    """Claimed jobs whose lease has run out; a batch in time still revives them."""
    tx.session.flush()
    query = select(Job).where(Job.state == JobState.claimed.value, Job.lease_until < now).order_by(Job.id)
    return list(tx.session.scalars(query.execution_options(populate_existing=True)))


def may_expire(tx: Tx, *, now: float, started_at: float, lease_s: float) -> bool:
    """Whether leases can be judged by the clock now.

    Not within one lease of the server's own start: its downtime must not fence everybody. And not when the
    clock jumped or the machine slept since the last sweep: then every lease begins anew.
    """
    memory = tx.session.get(Setting, "sweep")
    before = float(memory.value["at"]) if memory else now
    jumped = now < before - 1.0 or now - before > lease_s + CLOCK_JUMP_S
    if memory is None:
        tx.session.add(Setting(key="sweep", value={"at": now}))
    elif jumped or now - before >= lease_s / 4:  # not each time: an unchanged database costs no fsync
        memory.value = {"at": now}
    if jumped:
        tx.session.flush()
        tx.raw.execute("UPDATE jobs SET lease_until = ? WHERE state = 'claimed'", (now + lease_s,))
    return not jumped and now >= started_at + lease_s


def lost_attempts(tx: Tx, run_id: int) -> list[Attempt]:
    """Attempts whose worker vanished or whose process was killed, newest first, up to the last that ended otherwise.

    A person who resumes the run gives it a clean slate: only attempts since then count.
    """
    row = tx.raw.execute(
        "SELECT coalesce(max(created_at), 0) FROM jobs WHERE run_id = ? AND json_extract(payload, '$.by') = 'person'",
        (run_id,),
    )
    query = (
        select(Attempt)
        .where(Attempt.run_id == run_id, Attempt.ended_at.is_not(None), Attempt.started_at >= row.fetchone()[0])
        .order_by(Attempt.number.desc())
    )
    attempts = tx.session.scalars(query.execution_options(populate_existing=True))
    return list(itertools.takewhile(lambda attempt: attempt.outcome in ("lost", REASON_KILLED), attempts))


def silences(tx: Tx, dataset_id: int) -> int:
    """How many claimed preparations of the dataset ended without a word since the last that was reported."""
    row = tx.raw.execute(
        "SELECT count(*) FROM jobs WHERE dataset_id = ? AND kind = 'prepare' AND claim_id IS NOT NULL AND state = 'done'"
        " AND coalesce(finish, 'null') = 'null' AND id > coalesce((SELECT max(id) FROM jobs WHERE dataset_id = ?"
        " AND kind = 'prepare' AND coalesce(finish, 'null') != 'null'), 0)",
        (dataset_id, dataset_id),
    )
    return int(row.fetchone()[0])
