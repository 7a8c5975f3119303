"""The newest diagnosis of each run: made anew when there is a new evaluation or the run has ended, kept for the list's badge.

Nobody who reports waits for it. Whoever reads a stale one has it made at once; a thread of the server looks every few
seconds which runs have new evaluations, and does nothing when nothing was written. scipy is loaded by the first of them.
"""

import contextlib
import logging
import time
from typing import Any, NamedTuple

from app import events, feed, observing
from app.contract import ids
from app.contract.states import ENDED
from app.db import Database, Tx
from app.diagnosis import forecast, rules
from app.diagnosis.findings import Level, called, headline
from app.errors import Overloaded
from app.experiments import launching
from app.tables import Dataset, Diagnosis, Experiment, Run

VERSION = 1
"""Of the rules: another one makes every stored diagnosis stale."""
SETTLED_S = 30.0
"""While only steps were added, no evaluation, an answer this old is still given."""
LOOK_S = 5.0
MOST_ROWS = 5000
"""Of the feed since the last look; after more of them all runs are looked at."""
AT_ONCE = 4
"""Runs that one look at the database brings up to date, the newest first, so that other work has its turn between."""

_log = logging.getLogger(__name__)
_STALE = """
    SELECT runs.id FROM runs
    LEFT JOIN series ON series.run_id = runs.id AND series.key = 'val/loss'
    LEFT JOIN datasets ON datasets.id = runs.dataset_id
    LEFT JOIN diagnoses ON diagnoses.run_id = runs.id
    WHERE runs.deleted_at IS NULL{touched}
      AND (series.id IS NOT NULL OR runs.step > 0 AND runs.ended_at IS NOT NULL)
      AND (diagnoses.run_id IS NULL OR diagnoses.signature != {signature})
    ORDER BY runs.id DESC LIMIT ?"""


class Diagnosed(NamedTuple):
    """What was found, as it is kept."""

    signature: str
    step: int
    rule: str
    verdict: str
    level: str
    headline: str
    findings: list[dict[str, Any]]
    forecast: dict[str, Any] | None


def diagnose(tx: Tx, run: Run) -> Diagnosed:
    """Look at the run now. Reads only; under 150 ms for a run of a million steps."""
    o = observing.observe(tx, run)
    found = rules.diagnose(o)
    head = headline(found)
    band = forecast.forecast(o) if any(one.rule == "D02" and one.verdict != "refused" for one in found) else None
    ahead: dict[str, Any] | None = None
    if isinstance(band, forecast.Forecast):
        ahead = {name: [round(float(v), 5) for v in getattr(band, name)] for name in ("mean", "low", "high")}
        ahead |= {"step": [int(step) for step in band.step], "now": band.now, "law": band.law}
    return Diagnosed(
        signature(tx, run), run.step, head.rule if head else "", called(head),
        head.level.value if head else Level.unknown.value, head.sentence if head else "", [one.as_json() for one in found], ahead,
    )  # fmt: skip


def signature(tx: Tx, run: Run) -> str:
    """What a diagnosis depends on: the last evaluation, whether the run is over, what is known of its data, the rules themselves."""
    row = tx.raw.execute("SELECT last_step FROM series WHERE run_id = ? AND key = 'val/loss'", (run.id,)).fetchone()
    facts = int(run.updated_at) if run.source == "imported" else 0  # somebody may supply more of them
    dataset = tx.session.get(Dataset, run.dataset_id) if run.dataset_id else None
    reported = int((dataset.report or {}).get("made_at") or 0) if dataset else 0  # stays while a new one is being made
    return f"{VERSION} {row[0] if row else -1} {run.state if run.state in ENDED else 'on'} {facts} {reported}"


def _signature_sql() -> str:
    over = ", ".join(f"'{state.value}'" for state in ENDED)
    state = f"CASE WHEN runs.state IN ({over}) THEN runs.state ELSE 'on' END"
    facts = "CASE WHEN runs.source = 'imported' THEN CAST(runs.updated_at AS INTEGER) ELSE 0 END"
    reported = "coalesce(CAST(json_extract(datasets.report, '$.made_at') AS INTEGER), 0)"
    return f"'{VERSION} ' || coalesce(series.last_step, -1) || ' ' || {state} || ' ' || {facts} || ' ' || {reported}"


def of(db: Database, number: int, *, now: float) -> Diagnosis:
    """A run's diagnosis, made anew where it is stale. It is kept behind the reader's back."""
    with db.read() as tx:
        run = tx.session.get_one(Run, number)
        kept = tx.session.get(Diagnosis, number)
        fresh = kept is not None and kept.signature == signature(tx, run)
        if kept is not None and fresh and (kept.step == run.step or now - kept.at < SETTLED_S):
            return kept
        made = diagnose(tx, run)
    with contextlib.suppress(Overloaded):  # then the watch keeps it, or the next reader
        db.submit(lambda tx: keep(tx, number, made, now=now))
    return Diagnosis(run_id=number, at=now, **made._asdict())


def keep(tx: Tx, number: int, made: Diagnosed, *, now: float) -> None:
    """Store it; another verdict than before is news, for the run's events and for whoever wants to be told."""
    run = tx.session.get(Run, number)
    if run is None:
        return
    row = tx.session.get(Diagnosis, number)
    before = row.verdict if row else None
    if row is None or row.signature != made.signature:
        feed.post(tx, "run", number, "state")
    tx.session.merge(Diagnosis(run_id=number, at=now, **made._asdict()))
    if before == made.verdict or not made.rule or made.level == Level.unknown:
        return
    text = f"{before} → {made.verdict}" if before else made.verdict
    data = {"from": before, "to": made.verdict, "rule": made.rule, "level": made.level}
    events.record(tx, number, "verdict", f"{text}. {made.headline}"[:1000], at=now, step=made.step, data=data)


class Watch:
    """Brings diagnoses up to date; called every few seconds by a thread of the server."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._seen = -1
        self._broken: set[int] = set()

    def look(self, now: float) -> None:
        """One look: nothing at all where nothing was written since the last one."""
        with self._db.read() as tx:
            head = feed.head(tx.raw)
            if head == self._seen:
                return
            query = _STALE.format(signature=_signature_sql(), touched=self._touched(tx))
            stale = [row[0] for row in tx.raw.execute(query, (AT_ONCE + len(self._broken),))]
        stale = [number for number in stale if number not in self._broken]
        for number in stale:
            began = time.perf_counter()
            try:
                with self._db.read() as tx:
                    made = diagnose(tx, tx.session.get_one(Run, number))
            except Exception:  # one run that cannot be read must not keep the others from their diagnosis
                _log.exception("%s could not be diagnosed", ids.show("run", number))
                self._broken.add(number)
                continue
            self._db.write(lambda tx, number=number, made=made: keep(tx, number, made, now=now))  # type: ignore[misc]
            took = 1e3 * (time.perf_counter() - began)
            _log.debug("diagnosed %s in %.0f ms", ids.show("run", number), took)
        with self._db.read() as tx:
            rows = (tx.session.get_one(Experiment, number) for number in launching.due(tx))
            over = [row.id for row in rows if launching.judged(tx, row) is not None]
        for number in over:
            self._db.write(lambda tx, number=number: launching.settle(tx, number, now=now))  # type: ignore[misc]
        if len(stale) < AT_ONCE:
            self._seen = head

    def _touched(self, tx: Tx) -> str:
        """SQL for the runs that something was written about since the last look that found nothing left to do."""
        if self._seen < 0 or feed.oldest(tx.raw) > self._seen + 1:
            return ""
        rows = feed.after(tx.raw, self._seen)
        if len(rows) >= MOST_ROWS:
            return ""
        touched = {noun: ", ".join(str(one) for one in sorted({row.noun_id for row in rows if row.noun == noun})) for noun in ("run", "dataset")}  # fmt: skip
        return f" AND (runs.id IN ({touched['run']}) OR runs.dataset_id IN ({touched['dataset']}))"
