"""A sweep comes to be and grows: its runs are made or found, queued in order, and drawn anew when a search's arms end."""

import math
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from app import feed, launches, runs
from app.contract import ids
from app.contract.setting import Section, setting
from app.contract.states import RunState
from app.contract.sweep import MOST_RUNS, Factor, SweepSpec, SweepState, Variant
from app.db import Tx
from app.errors import Conflict, FieldError, Invalid, from_pydantic
from app.sweeps import arms, members, search
from app.sweeps.arms import Planned, key_of, name_of
from app.sweeps.members import Member
from app.sweeps.search import Trial
from app.tables import Dataset, Run, Sweep, SweepLink

PAUSED = "its sweep is paused"


class Addition(Section):
    """What a sweep is to have besides: more seeds, more values of its factors, more variants, more trials."""

    seeds: int = setting(0, "More seeds", "So many more runs of every arm.", ge=0, le=100)
    factors: tuple[Factor, ...] = setting((), "More values", "Factors that the sweep has, with values to add.", max_length=6)  # fmt: skip
    variants: tuple[Variant, ...] = setting((), "More variants", "Named sets of settings to add.", max_length=24)
    trials: int = setting(0, "More trials", "So many more draws of a search.", ge=0, le=1000)


def planned(spec: SweepSpec) -> list[Planned]:
    """The runs that a sweep begins with: a grid's all, a search's first. Raises Invalid."""
    if spec.search is None:
        return arms.plan(spec)
    base = arms.base_of(spec)
    search.check(spec, base)
    most = sum(count for count, _ in search.total(spec, base)) * spec.seed_count()
    if most > MOST_RUNS:
        raise Invalid([FieldError("/search/trials", f"make {most:,} runs; a sweep has at most {MOST_RUNS:,}")])
    return arms.planned(spec, search.following(spec, base, ()))


def create(tx: Tx, spec: SweepSpec, *, key: str | None, body_sha256: str, now: float) -> tuple[Sweep, bool]:
    """A new sweep and True; or, for an Idempotency-Key seen within 24 h with the same body, that one and False.

    Raises Invalid with pointers into the spec.
    """
    if key is not None and (known := launches.remembered(tx, key, body_sha256, now=now)) is not None:
        return tx.session.get_one(Sweep, known), False
    wanted = planned(spec)
    dataset = launches.dataset_of(tx, arms.base_of(spec), now=now)
    name = _checked(spec)
    for config in {one.config.model.block_size: one.config for one in wanted}.values():
        launches.check_data(config, dataset)
    runs.referred(tx, "worker", spec.worker)
    sweep = Sweep(
        name=name or default_name(spec, dataset), state=SweepState.running.value,
        spec=spec.model_dump(mode="json"), priority=spec.priority, dataset_id=dataset.id, created_at=now, updated_at=now,
    )  # fmt: skip
    tx.session.add(sweep)
    tx.session.flush()
    if key is not None:
        launches.remember(tx, key, body_sha256, sweep.id, now=now)
    _enter(tx, sweep, spec, dataset, wanted, now=now)
    advance(tx, sweep, now=now)
    return sweep, True


def _checked(spec: SweepSpec) -> str | None:
    """The name, and the tags that all runs get, by a run's own rules."""
    try:
        return launches.Labels(tags=list(spec.tags), name=spec.name).name
    except ValidationError as error:
        raise from_pydantic(error) from None


def default_name(spec: SweepSpec, dataset: Dataset) -> str:
    """ "λ × lr, tiny python-stdlib": what varies, on what."""
    factors = [arms.SHORT.get(one.field, one.field.rpartition(".")[2]) for one in spec.factors]
    varies = " × ".join([*factors, *(["variants"] if spec.variants else [])])
    return f"{varies}, {spec.preset + ' ' if spec.preset else ''}{dataset.name}"[:200]


def _enter(tx: Tx, sweep: Sweep, spec: SweepSpec, dataset: Dataset, wanted: Sequence[Planned], *, now: float) -> None:
    """Make the runs, or take in those that are there; queue what has to be trained."""
    known = members.known_runs(tx, dataset, wanted) if spec.reuse else {}
    worker_id = runs.referred(tx, "worker", spec.worker)
    held = sweep.state == SweepState.paused
    for one in wanted:
        twin = known.get(arms.identity(one.config))
        if twin is not None and twin.sweep_id != sweep.id:
            tx.session.merge(SweepLink(sweep_id=sweep.id, run_id=twin.id, arm=one.arm, seed_index=one.seed_index))
            continue
        name = f"{sweep.name[:140]} · {name_of(one.arm)} · seed {one.config.system.seed}"[:200]
        run = Run(
            name=name, state=RunState.queued.value, detail=PAUSED if held else "", source="worker",
            config=runs.named(one.config, dataset), preset=spec.preset, tags=list(spec.tags), notes="",
            dataset_id=dataset.id, worker_id=worker_id, created_at=now, updated_at=now, step=0,
            steps=one.config.schedule.steps, telemetry={}, sweep_id=sweep.id, arm=one.arm, seed_index=one.seed_index,
        )  # fmt: skip
        runs.enter(tx, run, key=None, body_sha256="", now=now)
        if not held:
            runs.admit(tx, run, priority=sweep.priority, now=now)


def add(tx: Tx, sweep: Sweep, addition: Addition, *, now: float) -> int:
    """More seeds, values, variants or trials; returns how many runs that made. Raises Conflict, Invalid."""
    if sweep.state == SweepState.cancelled:
        raise Conflict(f"{ids.show('sweep', sweep.id)} was cancelled; resume it first.")
    before = SweepSpec.model_validate(sweep.spec)
    spec = _grown(before, addition)
    if spec == before:
        raise Invalid([FieldError("", "Nothing is added: give seeds, factors with new values, variants or trials.")])
    there = members.of(tx, sweep)
    if spec.search is None:
        wanted = arms.plan(spec)
    else:
        search.check(spec, arms.base_of(spec))
        drawn = {key_of(member.arm): member.arm for member in there}
        wanted = arms.planned(spec, list(drawn.values()))
    done = members.have(there)
    new = [one for one in wanted if (key_of(one.arm), one.seed_index) not in done]
    sweep.spec, sweep.updated_at = spec.model_dump(mode="json"), now
    if sweep.state == SweepState.finished:
        sweep.state, sweep.ended_at = SweepState.running.value, None
    dataset = tx.session.get_one(Dataset, sweep.dataset_id)
    _enter(tx, sweep, spec, dataset, new, now=now)
    tx.session.flush()
    advance(tx, sweep, now=now)
    return len(new)


def _grown(spec: SweepSpec, addition: Addition) -> SweepSpec:
    """The specification with the addition in it; a factor given by its ends becomes the list of its values."""
    factors = {factor.field: factor for factor in spec.factors}
    for index, more in enumerate(addition.factors):
        old = factors.get(more.field)
        pointer = f"/factors/{index}"
        if old is None:
            raise Invalid([FieldError(f"{pointer}/field", f"{more.field[:60]} does not vary in this sweep; it has {', '.join(factors) or 'variants only'}")])  # fmt: skip
        if spec.search is not None:
            raise Invalid([FieldError(pointer, "a search draws its values itself; add trials or seeds")])
        levels = arms.levels(old, index)
        if twice := [value for value in arms.levels(more, index) if value in levels]:
            raise Invalid([FieldError(f"{pointer}/values", f"{arms.spell(twice[0])} is there already")])
        factors[more.field] = Factor(field=more.field, values=(*levels, *arms.levels(more, index)))
    changes: dict[str, Any] = {"factors": tuple(factors.values()), "variants": (*spec.variants, *addition.variants)}
    if addition.seeds:
        numbers = arms.seeds(spec)
        fresh = list(range(max(numbers) + 1, max(numbers) + 1 + addition.seeds))
        changes |= {"seed_values": (*numbers, *fresh)} if spec.seed_values else {"seeds": spec.seeds + addition.seeds}
    if addition.trials:
        if spec.search is None or spec.search.method == "halving":
            raise Invalid(
                [FieldError("/trials", "are for searches by random or tpe; this sweep adds values and seeds")]
            )
        changes["search"] = spec.search.model_copy(update={"trials": spec.search.trials + addition.trials})
    try:
        return SweepSpec.model_validate({**spec.model_dump(), **{name: _dumped(value) for name, value in changes.items()}})  # fmt: skip
    except ValidationError as error:
        raise from_pydantic(error, model=SweepSpec) from None


def _dumped(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(one.model_dump() if isinstance(one, Section) else one for one in value)
    return value.model_dump() if isinstance(value, Section) else value


def advance(tx: Tx, sweep: Sweep, *, now: float) -> None:
    """What follows when a run of it has ended: a search draws its next arms; a sweep with nothing left is finished."""
    if sweep.state != SweepState.running:
        return
    there = members.of(tx, sweep)
    spec = SweepSpec.model_validate(sweep.spec)
    if spec.search is not None:
        base = arms.base_of(spec)
        drawn = search.following(spec, base, trials(tx, there))
        if drawn:
            dataset = tx.session.get_one(Dataset, sweep.dataset_id)
            _enter(tx, sweep, spec, dataset, arms.planned(spec, drawn), now=now)
            tx.session.flush()
            sweep.updated_at = now
            return
    if there and all(member.ended for member in there):
        sweep.state, sweep.ended_at, sweep.updated_at = SweepState.finished.value, now, now
        for member in there[:1]:  # a watcher of any of its runs hears of it
            feed.post(tx, "run", member.run.id, "state")


def trials(tx: Tx, there: Sequence[Member]) -> list[Trial]:
    """The arms drawn so far, oldest first; one counts when all its seeds have ended."""
    grouped: dict[str, list[Member]] = {}
    for member in there:
        grouped.setdefault(key_of(member.arm), []).append(member)
    found = []
    for group in grouped.values():
        if not all(member.ended for member in group):
            found.append(Trial(group[0].arm, None))
            continue
        finals = [members.final(tx, member.run) for member in group]
        sound = [value for value in finals if value is not None and math.isfinite(value)]
        found.append(Trial(group[0].arm, sum(sound) / len(sound) if len(sound) == len(finals) else math.inf))
    return found


def settle(tx: Tx, *, now: float) -> None:
    """Look after sweeps whose last run ended without a worker's word. Cheap when there is none."""
    rows = tx.raw.execute(_SETTLED).fetchall()
    for (number,) in rows:
        advance(tx, tx.session.get_one(Sweep, number, populate_existing=True), now=now)


_SETTLED = """
    SELECT id FROM sweeps WHERE state = 'running' AND deleted_at IS NULL AND NOT EXISTS (
        SELECT 1 FROM runs LEFT JOIN sweep_links ON sweep_links.run_id = runs.id AND sweep_links.sweep_id = sweeps.id
        WHERE (runs.sweep_id = sweeps.id OR sweep_links.sweep_id IS NOT NULL) AND runs.deleted_at IS NULL
          AND runs.state NOT IN ('finished', 'failed', 'stopped'))
    AND EXISTS (SELECT 1 FROM runs WHERE runs.sweep_id = sweeps.id AND runs.deleted_at IS NULL
        UNION ALL SELECT 1 FROM sweep_links WHERE sweep_links.sweep_id = sweeps.id)
"""


def run_ended(tx: Tx, run: Run, *, now: float) -> None:
    """Called when a run has come to an end, whatever that was."""
    linked = tx.raw.execute("SELECT sweep_id FROM sweep_links WHERE run_id = ?", (run.id,)).fetchall()
    tx.session.flush()
    for number in {run.sweep_id, *(row[0] for row in linked)} - {None}:
        advance(tx, tx.session.get_one(Sweep, number, populate_existing=True), now=now)
