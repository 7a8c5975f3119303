"""An experiment comes to be: launched as its offer says, or remembered when its filled-in form is sent. And its end."""

import re
from typing import Any, Literal, NamedTuple, get_args

from pydantic import Field
from sqlalchemy import select

from app import events, feed, forks, runs
from app.contract import ids
from app.contract.config import RunConfig
from app.contract.sweep import Factor, SweepSpec
from app.db import Tx
from app.errors import Conflict, FieldError, Invalid
from app.experiments import outcomes
from app.experiments.kinds import KINDS, Kind
from app.experiments.offers import NO_RULE, Offer, nested, offers
from app.forks import Cooldown, Fork
from app.launches import Labels, Launch, merged
from app.sweeps import launching as sweeps
from app.tables import Diagnosis, Experiment, Run, Sweep

KindName = Literal[
    "anneal_probe", "lr_half", "lr_double", "more_data", "larger_model", "decay_sweep", "longer_eval", "fixed_windows",
    "fork_best",
]  # fmt: skip
assert set(get_args(KindName)) == set(KINDS), "every kind is documented"
_TOKEN = re.compile(r"(r-[0-9]{1,18})\.(D[0-9]{2})\.([a-z_]{1,20})")


class ExperimentLaunch(Labels):
    """The body of POST /api/v1/runs/{id}/experiments."""

    kind: KindName = Field(title="Kind")
    config: dict[str, Any] = Field(
        default_factory=dict,
        title="Configuration",
        description="Over what the experiment changes: any part of RunConfig.",
    )
    worker: str | None = Field(
        None, pattern=f"^{ids.PATTERN}$", title="Worker", description="Only this worker may take it (w-02)."
    )


def create(
    tx: Tx, run: Run, asked: ExperimentLaunch, *, key: str | None, body_sha256: str, now: float
) -> tuple[Experiment, bool]:
    """Launch it: a fork, a run or a sweep. Raises Conflict where it is not possible, Invalid, NotFound."""
    kept = tx.session.get(Diagnosis, run.id)
    offered = next(
        one
        for one in offers(tx, run, kept.findings if kept else [], kept.verdict if kept else "")
        if one.kind.key == asked.kind
    )
    if offered.plan is None:
        raise Conflict(f"{ids.show('run', run.id)} cannot have this experiment. {offered.why}")
    labels = {
        "name": asked.name or f"{run.name[:150]}: {offered.kind.title.lower()}", "notes": asked.notes, "worker": asked.worker,
        "tags": asked.tags if asked.tags is not None else list(run.tags),
    }  # fmt: skip
    call = {"key": key, "body_sha256": body_sha256, "now": now}
    if offered.plan.factors is not None:
        sweep, _ = sweeps.create(tx, _sweep_spec(run, asked, offered, labels), **call)  # type: ignore[arg-type]
        tx.session.flush()
        return _remember(tx, run, offered.rule, offered.verdict, asked.kind, offered.question, None, sweep, now)
    if offered.plan.checkpoint is not None:
        fork = Fork.model_validate({
            **labels, "checkpoint": offered.plan.checkpoint.id, "config": merged(sections(offered.plan.changes), asked.config),
            "cooldown": Cooldown(steps=offered.plan.cooldown) if offered.plan.cooldown else None,
        })  # fmt: skip
        child, _ = forks.create(tx, run, fork, **call)  # type: ignore[arg-type]
    else:
        config = merged(nested(RunConfig.model_validate(run.config), offered.plan.changes), asked.config)
        launch = Launch.model_validate({**labels, "config": config, "cloned_from": ids.show("run", run.id)})
        child, _ = runs.create(tx, launch, **call)  # type: ignore[arg-type]
    return _remember(tx, run, offered.rule, offered.verdict, asked.kind, offered.question, child, None, now)


def sections(changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """{"schedule.lr": 1} → {"schedule": {"lr": 1}}."""
    found: dict[str, dict[str, Any]] = {}
    for path, value in changes.items():
        section, name = path.split(".")
        found.setdefault(section, {})[name] = value
    return found


def _sweep_spec(run: Run, asked: ExperimentLaunch, offered: Offer, labels: dict[str, Any]) -> SweepSpec:
    assert offered.plan is not None
    assert offered.plan.factors is not None
    factors = tuple(Factor(field=field, values=tuple(values)) for field, values in offered.plan.factors.items())
    config = merged(RunConfig.model_validate(run.config).model_dump(), asked.config)
    return SweepSpec(
        name=labels["name"], config=config, factors=factors, seeds=offered.plan.seeds, worker=asked.worker,
        tags=tuple(labels["tags"]), notes=asked.notes or "", reference={"optim.weight_decay": run.config["optim"]["weight_decay"]},
    )  # fmt: skip


class Question(NamedTuple):
    """What a token stands for."""

    run: Run
    rule: str  #: "" where no finding asks for it
    verdict: str
    kind: Kind
    text: str


def asked_by(tx: Tx, token: str) -> Question | None:
    """The question of an offer whose form carries this token; None for what no offer has made."""
    match = _TOKEN.fullmatch(token)
    number = ids.parse("run", match[1]) if match else None
    run = tx.session.get(Run, number) if number is not None else None
    if match is None or run is None or match[3] not in KINDS:
        return None
    kept, kind = tx.session.get(Diagnosis, run.id), KINDS[match[3]]
    finding = next((one for one in kept.findings if one["rule"] == match[2]), {}) if kept else {}
    wanted = finding.get("experiment") or {}
    text = str(wanted["question"]) if wanted.get("kind") == kind.key else kind.claim
    verdict = str(finding.get("verdict") or (kept.verdict if kept else ""))
    return Question(run, "" if match[2] == NO_RULE else match[2], verdict, kind, text)


def remember(tx: Tx, token: str, *, child: Run | None = None, sweep: Sweep | None = None, now: float) -> Experiment:
    """A form that an offer had filled in was sent. Raises Invalid for a token that no offer has made."""
    found = asked_by(tx, token)
    if found is None:
        raise Invalid([FieldError("/experiment", "names no experiment of a diagnosis")])
    return _remember(tx, found.run, found.rule, found.verdict, found.kind.key, found.text, child, sweep, now)[0]


def _remember(
    tx: Tx,
    run: Run,
    rule: str,
    verdict: str,
    kind: str,
    question: str,
    child: Run | None,
    sweep: Sweep | None,
    now: float,
) -> tuple[Experiment, bool]:
    """Once for each run or sweep, however often its launch is repeated."""
    made = {"child_id": child.id if child else None, "sweep_id": sweep.id if sweep else None}
    column = Experiment.child_id == made["child_id"] if child else Experiment.sweep_id == made["sweep_id"]
    if (before := tx.session.scalar(select(Experiment).where(column))) is not None:
        return before, False
    row = Experiment(
        run_id=run.id, rule=rule, verdict=verdict, kind=kind, question=question, created_at=now, numbers={}, **made
    )
    tx.session.add(row)
    tx.session.flush()
    what = what_of(row)
    data = {"experiment": row.id, "kind": kind, "child": what}
    events.record(
        tx, run.id, "experiment", f"{KINDS[kind].title}: {what}. {question}", at=now, step=run.step, data=data
    )
    return row, True


def listing(tx: Tx, run: Run) -> list[Experiment]:
    """Those of a run's diagnosis, newest first."""
    return list(
        tx.session.scalars(select(Experiment).where(Experiment.run_id == run.id).order_by(Experiment.id.desc()))
    )


def of_child(tx: Tx, run: Run) -> Experiment | None:
    """The experiment that this run is."""
    return tx.session.scalar(select(Experiment).where(Experiment.child_id == run.id))


def due(tx: Tx) -> list[int]:
    """Experiments that may be over: not judged, and their run or sweep has ended."""
    rows = tx.raw.execute(
        "SELECT experiments.id FROM experiments LEFT JOIN runs ON runs.id = experiments.child_id"
        " LEFT JOIN sweeps ON sweeps.id = experiments.sweep_id WHERE experiments.outcome IS NULL"
        " AND (runs.state IN ('finished', 'failed', 'stopped') OR sweeps.state IN ('finished', 'cancelled'))"
    )
    return [row[0] for row in rows]


def judged(tx: Tx, experiment: Experiment) -> outcomes.Outcome | None:
    """What came of it; None while there is something to wait for. Reads only."""
    parent = tx.session.get_one(Run, experiment.run_id)
    if experiment.child_id is not None:
        return outcomes.judge(tx, experiment, parent, tx.session.get_one(Run, experiment.child_id))
    return outcomes.judge_sweep(tx, parent, tx.session.get_one(Sweep, experiment.sweep_id))


def settle(tx: Tx, number: int, *, now: float) -> None:
    """Write what came of it to the diagnosis it came from, and tell."""
    experiment = tx.session.get_one(Experiment, number)
    found = judged(tx, experiment) if experiment.outcome is None else None
    if found is None:
        return
    experiment.outcome, experiment.judged_at = found.word, now
    experiment.numbers = {**found.numbers, "sentence": found.sentence}
    run, what = tx.session.get_one(Run, experiment.run_id), what_of(experiment)
    said = {"open": "still open"}.get(found.word, found.word)
    text = f"{KINDS[experiment.kind].title} ({what}): {said}. {found.sentence}"
    data = {"experiment": experiment.id, "kind": experiment.kind, "child": what, "outcome": found.word}
    events.record(tx, run.id, "experiment", text[:1000], at=now, step=run.step, data=data)
    feed.post(tx, "run", run.id, "state")


def what_of(experiment: Experiment) -> str:
    """The id of its run or sweep."""
    if experiment.child_id is not None:
        return ids.show("run", experiment.child_id)
    return ids.show("sweep", experiment.sweep_id or 0)
