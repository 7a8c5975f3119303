"""The diagnosis on a run's page: the verdict first, then what it stands on, what would change it, and what to try next."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import select

from app import diagnoses, diagnosis_json, runs
from app.contract import ids
from app.contract.elsewhere import RunFacts
from app.db import Tx
from app.experiments import launching
from app.experiments.offers import Offer, offers
from app.experiments.plans import UNTOLD
from app.i18n import MINUS, N_, Speech
from app.pages.diagnosis_drawing import gauge
from app.pages.rendering import now, page, speech_of
from app.tables import Diagnosis, Experiment, Run

router = APIRouter(include_in_schema=False)
SHOWN, FIRST_OFFERS = 6, 4
"""Findings and offers that are shown unfolded."""
SLOPE_UNIT = "nats per e-fold of tokens"


class Word(NamedTuple):
    """A verdict as a page says it: a colour class, a symbol, the few words of a badge, the words above the card."""

    tone: str
    shape: str
    badge: str
    words: str


VERDICTS: dict[tuple[str, str], Word] = {
    ("D01", "improving"): Word("ok", "falling", N_("improving"), N_("Improving, not a plateau")),
    ("D01", "plateau"): Word("warn", "flat", N_("plateau"), N_("A plateau")),
    ("D01", "worsening"): Word("bad", "rising", N_("worsening"), N_("Getting worse")),
    ("D01", "inconclusive"): Word("t2", "unsure", N_("inconclusive"), N_("Cannot be told yet")),
    ("D01", "not enough data"): Word("t3", "queue", N_("not enough data"), N_("Not enough data yet")),
    ("D10", "unstable"): Word("bad", "bad", N_("unstable"), N_("Unstable: a jump that did not come back")),
    ("D11", "unstable"): Word("bad", "bad", N_("unstable"), N_("Unstable: the gradient norm jumped")),
    ("D12", "unstable"): Word("bad", "bad", N_("unstable"), N_("Unstable: the loss scale fell away")),
    ("D13", "not finite"): Word("bad", "bad", N_("not finite"), N_("Not finite any more")),
    ("D03", "over-fitting"): Word("warn", "parting", N_("over-fitting"), N_("Over-fitting")),
}
NOTHING = VERDICTS["D01", "not enough data"]
PENDING = NOTHING._replace(words=N_("Being diagnosed"))
LEVELS = {
    "critical": ("bad", "alert"), "warn": ("warn", "alert"), "info": ("t2", "info"), "ok": ("ok", "check"), "unknown": ("t3", "info"),
}  # fmt: skip
OUTCOMES = {
    "supported": ("ok", "ok", N_("supported")),
    "refuted": ("t2", "refuted", N_("refuted")),
    "open": ("t2", "queue", N_("still open")),
}
CONFIDENCE = {"high": N_("high confidence"), "medium": N_("medium confidence"), "low": N_("low confidence")}


class EvidenceView(NamedTuple):
    name: str
    value: str
    interval: str
    limit: str


class FindingView(NamedTuple):
    rule: str
    tone: str
    icon: str
    subject: str
    verdict: str
    sentence: str
    number: str
    evidence: tuple[EvidenceView, ...]
    confidence: str
    because: str
    would_change: str
    advice: str
    needs: str


class OfferView(NamedTuple):
    kind: str
    title: str
    question: str
    cost: str
    why: str
    url: str
    start: str  #: what it starts from
    asked: bool


class ExperimentView(NamedTuple):
    tone: str
    shape: str
    word: str
    title: str
    child: str
    url: str
    sentence: str
    question: str
    compare: str  #: the page where a run and its parent stand side by side


def word_of(rule: str, verdict: str, level: str) -> Word:
    """How a stored verdict looks; one that has no look of its own by its level."""
    found = VERDICTS.get((rule, verdict))
    if found is None:
        broken = level == "critical"
        found = Word("bad" if broken else "t2", "bad" if broken else "unsure", verdict, verdict)
    return found


def badges(tx: Tx, numbers: Sequence[int], speech: Speech) -> dict[str, tuple[Word, str]]:
    """Run id → how its verdict looks and its sentence, for the list."""
    rows = tx.session.execute(
        select(Diagnosis.run_id, Diagnosis.rule, Diagnosis.verdict, Diagnosis.level, Diagnosis.headline).where(
            Diagnosis.run_id.in_(numbers), Diagnosis.level != "unknown"
        )
    )
    found = {}
    for number, rule, verdict, level, headline in rows:
        word = word_of(rule, verdict, level)
        found[ids.show("run", number)] = (word._replace(badge=speech(word.badge)), headline)
    return found


@router.get("/runs/{text_id}/fragments/diagnosis")
def fragment(request: Request, text_id: str) -> HTMLResponse:
    speech, db = speech_of(request), request.app.state.db
    with db.read() as tx:
        number = runs.get(tx, text_id).id
    row = diagnoses.of(db, number, now=now(request))
    with db.read() as tx:
        context = card(tx, runs.get(tx, text_id), speech, row)
    return page(request, "_run_diagnosis.html", **context)


def stored(tx: Tx, run: Run) -> Diagnosis | None:
    """For the first paint: what is there, however old. The live page asks for a fresh one at once."""
    return tx.session.get(Diagnosis, run.id)


def card(tx: Tx, run: Run, speech: Speech, row: Diagnosis | None) -> dict[str, Any]:
    """What _run_diagnosis.html shows."""
    findings = row.findings if row else []
    views = [_finding(one, speech) for one in findings]
    head = next((view for one, view in zip(findings, views, strict=True) if row and one["rule"] == row.rule), None)
    known = [view for view in views if view.tone != "t3" and view is not head]
    shown = [view for view in known if view.icon != "check" or view.rule == "D03"]
    healthy = [view for view in known if view not in shown]
    waiting = [
        view
        for one, view in zip(findings, views, strict=True)
        if one["level"] == "unknown" and view is not head and one["rule"] != "D02"
    ]
    pending = row is None and run.best_val is not None
    word = word_of(row.rule, row.verdict, row.level) if row and row.rule else PENDING if pending else NOTHING
    possible = offers(tx, run, findings, row.verdict) if row else []
    offered = [_offer(one, speech) for one in possible]
    tried = launching.listing(tx, run)
    first = [one for one in offered if one.asked and one.url and one.kind not in {row.kind for row in tried}]
    rest = [one for one in offered if one not in first]
    if not first:
        first, rest = (
            [one for one in rest if one.url][:2],
            [one for one in rest if not one.url] + [one for one in rest if one.url][2:],
        )
    band = row.forecast if row else None
    # whether it over-fits is what people ask first; the forecast's numbers stand above already
    shown.sort(key=lambda view: (view.icon != "alert", view.rule != "D03", view.rule == "D02"))
    return {
        "run_url": f"/runs/{ids.show('run', run.id)}",
        "diagnosis": row,
        "pending": pending,
        "word": word._replace(words=_words(word, head, speech)),
        "head": head,
        "findings": shown[:SHOWN],
        "more_findings": shown[SHOWN:],
        "healthy": healthy,
        "waiting": waiting,
        "asks": _asks(run, findings, speech),
        "gauge": _gauge(findings, speech),
        "refused": next((one["sentence"] for one in findings if one["rule"] == "D02" and one["level"] == "unknown"), ""),
        "gain": _gain(findings, band, speech) if not run.ended_at else None,
        "offers": first[:FIRST_OFFERS],
        "untold": speech(UNTOLD) if not first and any(one.why == UNTOLD for one in possible) else "",
        "more_offers": [*first[FIRST_OFFERS:], *rest],
        "experiments": [_experiment(one, speech) for one in tried],
        "experiment_of": _is_experiment(tx, run, speech),
        "diagnosis_data": data(row),
    }  # fmt: skip


def _words(word: Word, head: FindingView | None, speech: Speech) -> str:
    if head is not None and word.words == word.badge:
        return f"{head.subject}: {head.verdict}"
    return speech(word.words)


def data(row: Diagnosis | None) -> dict[str, Any]:
    """What the loss chart draws of it: the band to come, and where the evidence is."""
    if row is None:
        return {"forecast": None, "evidence": []}
    marks = [
        {"first": mark["first_step"], "last": mark["last_step"], "text": mark["text"], "level": one["level"], "rule": one["rule"]}
        for one in row.findings
        if one["level"] in ("critical", "warn") or one["rule"] == row.rule
        for mark in one["marks"]
    ]  # fmt: skip
    return {"forecast": row.forecast, "evidence": marks[:12]}


def _finding(one: Mapping[str, Any], speech: Speech) -> FindingView:
    tone, icon = LEVELS[one["level"]]
    evidence = tuple(_evidence(row, speech) for row in one["evidence"])
    number = evidence[0].value if evidence and one["level"] in ("critical", "warn", "info") else ""
    return FindingView(
        one["rule"], tone, icon, speech(one["subject"]), speech(one["verdict"]), one["sentence"], number, evidence,
        speech(CONFIDENCE.get(one["confidence"], one["confidence"])), one["because"], one["would_change"], one["advice"],
        one["needs"],
    )  # fmt: skip


def _evidence(row: Mapping[str, Any], speech: Speech) -> EvidenceView:
    low, high = row["low"], row["high"]
    interval = f"{quantity(low, speech)} … {quantity(high, speech)}" if low is not None and high is not None else ""
    unit = f" {row['unit']}" if row["unit"] and len(row["unit"]) <= 8 else ""
    name = row["name"] + (f", {row['unit']}" if row["unit"] and not unit else "")
    return EvidenceView(name, quantity(row["value"], speech) + unit, interval, row["limit"])


def quantity(value: float | None, speech: Speech) -> str:
    """Three significant digits, whole numbers whole, small ones with an exponent."""
    if value is None:
        return "–"
    if value == round(value) and abs(value) < 1e7:
        return speech.number(value)
    if abs(value) >= 1e4:
        return speech.short(value)
    if abs(value) < 1e-3:
        return speech.rate(value).replace("-", MINUS, 1) if value < 0 else speech.rate(value)
    return speech.number(value, max(0, min(4, 2 - math.floor(math.log10(abs(value))))))


def _gauge(findings: Sequence[Mapping[str, Any]], speech: Speech) -> str:
    rows = [row for one in findings if one["rule"] == "D01" for row in one["evidence"] if row["unit"] == SLOPE_UNIT]
    if not rows or rows[0]["low"] is None or rows[0]["high"] is None:
        return ""
    first = rows[0]
    verdict = next(one["verdict"] for one in findings if one["rule"] == "D01")
    tone = {"ok": "var(--ok)", "warn": "var(--warn)", "bad": "var(--bad)"}.get(
        word_of("D01", verdict, "").tone, "var(--text-2)"
    )
    words = (speech("improving"), speech("plateau zone"), speech("worse"))
    number = quantity(first["value"], speech)
    label = speech(
        "Slope %(value)s nats per e-fold of tokens, 90 %% %(low)s to %(high)s", value=number,
        low=quantity(first["low"], speech), high=quantity(first["high"], speech),
    )  # fmt: skip
    return gauge(first["value"], first["low"], first["high"], number, tone, words, label)


def _gain(findings: Sequence[Mapping[str, Any]], band: dict[str, Any] | None, speech: Speech) -> dict[str, str] | None:
    found = diagnosis_json.gain([dict(one) for one in findings], band)
    if found is None or band is None:
        return None
    return {
        "end": speech.number(band["mean"][-1], 3),
        "low": speech.number(band["low"][-1], 3),
        "high": speech.number(band["high"][-1], 3),
        "nats": speech.number(max(0.0, found["nats"]), 3),
        "cost": f"{speech.number(found['low'], 3)} … {speech.number(found['high'], 3)}",
        "per_hour": speech.number(found["per_hour"], 3) if found["per_hour"] else "",
    }


def _offer(one: Offer, speech: Speech) -> OfferView:
    made, start = one.plan, ""
    cost = (
        speech.duration(one.seconds) if one.seconds is not None else speech("%(n)s tokens", n=speech.short(one.tokens))
    )
    if made is not None and made.checkpoint is not None:
        start = speech("from step %(step)s", step=speech.number(made.checkpoint.step))
    return OfferView(
        one.kind.key, speech(one.kind.title), one.question if one.rule else speech(one.kind.claim), cost if made else "",
        speech(one.why) if one.why else "", one.url, start, bool(one.rule),
    )  # fmt: skip


def _experiment(row: Experiment, speech: Speech) -> ExperimentView:
    shown = diagnosis_json.experiment(row)
    tone, shape, word = OUTCOMES.get(row.outcome or "", ("run", "start", N_("under way")))
    url = f"/{'runs' if row.child_id else 'sweeps'}/{shown['child']}"
    parent = ids.show("run", row.run_id)
    compare = f"/compare?run={parent}&run={shown['child']}" if row.child_id else ""
    return ExperimentView(
        tone, shape, speech(word), speech(shown["title"]), shown["child"], url, shown["sentence"], shown["question"], compare
    )  # fmt: skip


def _is_experiment(tx: Tx, run: Run, speech: Speech) -> dict[str, str] | None:
    """The diagnosis that this run is an experiment of."""
    row = launching.of_child(tx, run)
    if row is None:
        return None
    shown = diagnosis_json.experiment(row)
    return {"run": ids.show("run", row.run_id), "title": speech(shown["title"]), "question": row.question,
            "sentence": shown["sentence"], "word": speech(OUTCOMES[row.outcome][2]) if row.outcome else ""}  # fmt: skip


def _asks(run: Run, findings: Sequence[Mapping[str, Any]], speech: Speech) -> list[str]:
    """Titles of the facts that somebody could still supply, first those that a verdict waits for."""
    imported = run.telemetry.get("imported") or {}
    wanted = [name for one in findings for name in one["missing"]]
    titles = {name: str(info.title) for name, info in RunFacts.model_fields.items()}
    titles["config"] = N_("Config file or command line")  # where every other fact stands
    names = [*wanted, *imported.get("asks", ())] if imported else []
    return list(dict.fromkeys(speech(titles.get(name, titles["config"])) for name in names))
