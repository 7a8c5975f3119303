"""What a person can do to a sweep under way: pause, resume, cancel, change its priority or name, put it away."""

from pydantic import Field, field_validator

from app import feed, jobs, launches, runs
from app.contract import ids
from app.contract.setting import Section
from app.contract.states import RunState
from app.contract.sweep import SweepState
from app.db import Tx
from app.errors import Conflict
from app.sweeps import launching, members
from app.sweeps.members import Member
from app.tables import Sweep

S = RunState
LEGAL = {
    SweepState.running: ("pause", "cancel", "add"),
    SweepState.paused: ("resume", "cancel", "add"),
    SweepState.cancelled: ("resume", "delete"),
    SweepState.finished: ("add", "delete"),
}
"""From each state, what can be asked."""


class SweepChange(Section):
    """What may change about a sweep at any time; None leaves it as it is."""

    name: str | None = Field(None, min_length=1, max_length=200, title="Name")
    notes: str | None = Field(None, max_length=20_000, title="Notes")
    priority: int | None = Field(None, ge=-100, le=100, title="Priority", description="Among what waits, the higher goes first.")  # fmt: skip

    @field_validator("name")
    @classmethod
    def _name(cls, name: str | None) -> str | None:
        return name if name is None else launches.tidy_name(name)


def actions(sweep: Sweep) -> tuple[str, ...]:
    return () if sweep.deleted_at is not None else LEGAL[SweepState(sweep.state)]


def _check(sweep: Sweep, verb: str) -> None:
    if verb not in actions(sweep):
        possible = ", ".join(actions(sweep)) or "nothing"
        raise Conflict(f"{ids.show('sweep', sweep.id)} is {sweep.state}: it cannot be told to {verb}. Possible now: {possible}.")  # fmt: skip


def _own(tx: Tx, sweep: Sweep) -> list[Member]:
    """Runs that were there before the sweep are not its to stop."""
    return [member for member in members.of(tx, sweep) if not member.linked]


def pause(tx: Tx, sweep: Sweep, *, now: float) -> None:
    """Nothing more of it is given to workers; what trains is saved and ends its process."""
    _check(sweep, "pause")
    sweep.state, sweep.updated_at = SweepState.paused.value, now
    for member in _own(tx, sweep):
        match RunState(member.run.state):
            case S.queued:
                hold(tx, member, now=now)
            case S.starting | S.running:
                runs.pause(tx, member.run, now=now)


def hold(tx: Tx, member: Member, *, now: float) -> None:
    """A queued run without a job waits until its sweep goes on."""
    job = jobs.current_job(tx, member.run.id)
    if job is not None:
        jobs.end(tx, job, now=now, outcome="paused")
    member.run.detail = launching.PAUSED
    feed.post(tx, "run", member.run.id, "state")


def resume(tx: Tx, sweep: Sweep, *, now: float) -> None:
    """Its runs are queued again, each from its newest checkpoint."""
    _check(sweep, "resume")
    before, own = SweepState(sweep.state), _own(tx, sweep)
    if saving := sum(member.run.state == S.stopping for member in own):
        raise Conflict(f"{saving} of its runs are still being saved; try again in a moment.")
    sweep.state, sweep.ended_at, sweep.updated_at = SweepState.running.value, None, now
    again = {S.paused} if before is SweepState.paused else {S.paused, S.stopped}
    for member in own:
        if member.run.state in again:
            runs.resume(tx, member.run, now=now)
        elif member.run.state == S.queued and jobs.current_job(tx, member.run.id) is None:
            runs.admit(tx, member.run, priority=sweep.priority, now=now)
    tx.session.flush()
    launching.advance(tx, sweep, now=now)


def cancel(tx: Tx, sweep: Sweep, *, now: float) -> None:
    """What waits is dropped, what trains finishes its step, saves and ends. Nothing is deleted."""
    _check(sweep, "cancel")
    sweep.state, sweep.ended_at, sweep.updated_at = SweepState.cancelled.value, now, now
    for member in _own(tx, sweep):
        if RunState(member.run.state) in (S.queued, S.paused, S.starting, S.running, S.lost):
            runs.stop(tx, member.run, now=now)


def change(tx: Tx, sweep: Sweep, asked: SweepChange, *, now: float) -> None:
    if asked.name is not None:
        sweep.name = asked.name
    if asked.notes is not None:
        sweep.spec = {**sweep.spec, "notes": asked.notes}
    if asked.priority is not None:
        sweep.priority = asked.priority
        sweep.spec = {**sweep.spec, "priority": asked.priority}
        for member in _own(tx, sweep):
            if (job := jobs.current_job(tx, member.run.id)) is not None:
                job.priority = asked.priority
    sweep.updated_at = now


def delete(tx: Tx, sweep: Sweep, *, now: float) -> None:
    """Off the list; its runs stay."""
    _check(sweep, "delete")
    sweep.deleted_at = now


def keep_paused(tx: Tx, *, now: float) -> None:
    """A run that came back to the queue while its sweep is paused waits as well. Cheap when there is none."""
    rows = tx.raw.execute(
        "SELECT DISTINCT runs.sweep_id FROM runs JOIN sweeps ON sweeps.id = runs.sweep_id"
        " JOIN jobs ON jobs.run_id = runs.id AND jobs.kind = 'train' AND jobs.state = 'queued'"
        " WHERE sweeps.state = 'paused'"
    ).fetchall()
    for (number,) in rows:
        for member in _own(tx, tx.session.get_one(Sweep, number)):
            if member.run.state == S.queued:
                hold(tx, member, now=now)
