"""The JSON of a diagnosis, the same from REST, the command line and the page: verdict, findings, forecast, experiments."""

from collections.abc import Sequence
from typing import Any

from typing_extensions import TypedDict

from app.contract import ids
from app.db import Tx
from app.experiments import launching
from app.experiments.kinds import KINDS
from app.experiments.offers import Offer, offers
from app.shapes import iso, maybe_iso
from app.tables import Diagnosis, Experiment, Run


class ForecastJson(TypedDict):
    """The loss to come, 90 % band, over the steps from now to the planned end."""

    step: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]
    now: float
    law: str


class GainJson(TypedDict):
    """What training on to the end is expected to bring, nats; also what stopping now costs."""

    nats: float
    low: float
    high: float
    per_hour: float | None


class OfferJson(TypedDict):
    """An experiment that could be launched: by POST to the run's experiments, or by its form."""

    kind: str
    title: str
    question: str
    rule: str | None
    possible: bool
    why: str
    steps: int | None
    tokens: int | float | None
    seconds: float | None
    from_checkpoint: str | None
    changes: dict[str, Any]
    form: str | None


class ExperimentJson(TypedDict):
    """An experiment that was launched, with what came of it once it is over."""

    id: int
    kind: str
    title: str
    claim: str
    question: str
    rule: str | None
    verdict: str
    child: str
    outcome: str | None
    sentence: str
    numbers: dict[str, Any]
    created_at: str
    judged_at: str | None


class DiagnosisJson(TypedDict):
    """What is known about why a run's loss is as it is."""

    run: str
    step: int
    at: str
    verdict: str
    level: str
    rule: str | None
    headline: str
    findings: list[dict[str, Any]]
    forecast: ForecastJson | None
    gain: GainJson | None
    experiments: list[ExperimentJson]
    next: list[OfferJson]


def diagnosis(tx: Tx, run: Run, row: Diagnosis) -> DiagnosisJson:
    return {
        "run": ids.show("run", run.id), "step": row.step, "at": iso(row.at), "verdict": row.verdict, "level": row.level,
        "rule": row.rule or None, "headline": row.headline, "findings": row.findings,
        "forecast": row.forecast, "gain": gain(row.findings, row.forecast),  # type: ignore[typeddict-item]
        "experiments": [experiment(one) for one in launching.listing(tx, run)],
        "next": [offer(one) for one in offers(tx, run, row.findings, row.verdict)],
    }  # fmt: skip


def gain(findings: Sequence[dict[str, Any]], forecast: dict[str, Any] | None) -> GainJson | None:
    if forecast is None or not forecast["mean"]:
        return None
    low, high = forecast["now"] - forecast["high"][-1], forecast["now"] - forecast["low"][-1]
    rows = [
        row for one in findings if one["rule"] == "D02" for row in one["evidence"] if row["unit"] == "nats per hour"
    ]
    per_hour = rows[0]["value"] if rows else None
    return {"nats": forecast["now"] - forecast["mean"][-1], "low": low, "high": high, "per_hour": per_hour}


def offer(one: Offer) -> OfferJson:
    made = one.plan
    changes = dict(made.changes) if made else {}
    if made and made.cooldown:
        changes["cooldown.steps"] = made.cooldown
    if made and made.factors:
        changes |= {field: list(values) for field, values in made.factors.items()}
    return {
        "kind": one.kind.key, "title": one.kind.title, "question": one.question, "rule": one.rule or None,
        "possible": made is not None, "why": one.why, "steps": made.steps if made else None,
        "tokens": one.tokens if made else None, "seconds": one.seconds,
        "from_checkpoint": made.checkpoint.id if made and made.checkpoint else None, "changes": changes, "form": one.url or None,
    }  # fmt: skip


def experiment(row: Experiment) -> ExperimentJson:
    kind = KINDS[row.kind]
    numbers = {key: value for key, value in row.numbers.items() if key != "sentence"}
    return {
        "id": row.id, "kind": row.kind, "title": kind.title, "claim": kind.claim, "question": row.question,
        "rule": row.rule or None, "verdict": row.verdict, "child": launching.what_of(row), "outcome": row.outcome,
        "sentence": str(row.numbers.get("sentence", "")), "numbers": numbers, "created_at": iso(row.created_at),
        "judged_at": maybe_iso(row.judged_at),
    }  # fmt: skip
