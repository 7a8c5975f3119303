"""The runs of a sweep: those made for it and those that were there before, each with its arm, seed and final loss."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import select

from app import series
from app.contract import ids
from app.contract.config import RunConfig
from app.contract.states import ENDED, FailReason, RunState
from app.db import Tx
from app.errors import NotFound
from app.sweeps.arms import Planned, Values, identity, key_of
from app.tables import Dataset, Run, Sweep, SweepLink

S = RunState
TAKEN_IN = {S.queued, S.starting, S.running, S.paused, S.lost, S.finished}
"""States in which a run that was there before serves as an arm; a diverged one does too: it would diverge again."""


class Member(NamedTuple):
    run: Run
    arm: Values
    seed_index: int
    linked: bool  #: it was there before the sweep

    @property
    def ended(self) -> bool:
        return RunState(self.run.state) in ENDED


def get(tx: Tx, text_id: str) -> Sweep:
    number = ids.parse("sweep", text_id)
    sweep = tx.session.get(Sweep, number) if number is not None else None
    if sweep is None:
        raise NotFound(f"There is no sweep {text_id[:40]}.")
    return sweep


def listing(tx: Tx, limit: int = 100, offset: int = 0) -> list[Sweep]:
    """Newest first."""
    query = select(Sweep).where(Sweep.deleted_at.is_(None)).order_by(Sweep.id.desc()).limit(limit).offset(offset)
    return list(tx.session.scalars(query))


def of(tx: Tx, sweep: Sweep) -> list[Member]:
    """In the order in which they are to be trained; runs in the trash are none of it."""
    own = select(Run).where(Run.sweep_id == sweep.id, Run.deleted_at.is_(None)).order_by(Run.id)
    found = [
        Member(run, run.arm or {}, run.seed_index or 0, linked=False)
        for run in tx.session.scalars(own.execution_options(populate_existing=True))
    ]
    links = (
        select(Run, SweepLink)
        .join(SweepLink, SweepLink.run_id == Run.id)
        .where(SweepLink.sweep_id == sweep.id, Run.deleted_at.is_(None))
    )
    rows = tx.session.execute(links.execution_options(populate_existing=True)).all()
    return found + [Member(run, link.arm, link.seed_index, linked=True) for run, link in rows]


def final(tx: Tx, run: Run) -> float | None:
    """The validation loss of its last step; NaN for a run that diverged, None for one that has not reached its end."""
    if diverged(run):
        return math.nan
    if run.state != S.finished:
        return None
    last = series.summaries(tx.raw, run.id, ("val/loss",)).get("val/loss")
    if last is None or last.last_step < run.steps:
        return None
    return math.nan if last.last_value is None else last.last_value


def diverged(run: Run) -> bool:
    return bool(run.state == S.failed and run.reason == FailReason.non_finite)


def known_runs(tx: Tx, dataset: Dataset, planned: Iterable[Planned]) -> dict[str, Run]:
    """identity → a run that learns, or has learnt, exactly the same from the data as they are now."""
    steps = {one.config.schedule.steps for one in planned}
    query = select(Run).where(
        Run.dataset_id == dataset.id, Run.deleted_at.is_(None), Run.source == "worker", Run.fork_checkpoint_id.is_(None),
        Run.steps.in_(steps),
    )  # fmt: skip
    found: dict[str, Run] = {}
    for run in tx.session.scalars(query.order_by(Run.id)):
        same_data = run.data_sha256 in (None, dataset.manifest_sha256)
        if same_data and (RunState(run.state) in TAKEN_IN or diverged(run)):
            found.setdefault(identity(RunConfig.model_validate(run.config)), run)
    return found


def have(members: Iterable[Member]) -> set[tuple[str, int]]:
    """(arm, seed index) of what is there."""
    return {(key_of(member.arm), member.seed_index) for member in members}
