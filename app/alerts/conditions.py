"""What has happened since the last look, held against every alert: state changes, verdicts, NaN, thresholds."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from app import series
from app.alerts import book
from app.chunks import SEALED
from app.contract import ids
from app.contract.states import ENDED, RunState
from app.db import Tx
from app.tables import Alert, Event, Run

STATES = {"finished": RunState.finished, "failed": RunState.failed, "lost": RunState.lost}
LOSSES = ("train/loss", "val/loss", "eval/train_loss")
MOST_EVENTS = 1000
MOST_FIRING = 1000
"""Runs remembered as told; the oldest are forgotten."""


def look(tx: Tx, changed: set[int], *, base_url: str, now: float) -> bool:
    """Queue what there is to tell; `changed`: runs with new points. True where events are left for another look."""
    alerts = list(tx.session.scalars(select(Alert).where(Alert.enabled)))
    if not alerts:
        return False
    after = min(alert.seen_event for alert in alerts)
    query = select(Event).where(Event.id > after).order_by(Event.id).limit(MOST_EVENTS)
    events = tx.session.scalars(query).all()
    runs = {run.id: run for run in _runs(tx, changed | {event.run_id for event in events})}
    for alert in alerts:
        for event in events:
            if event.id > alert.seen_event and (run := runs.get(event.run_id)) is not None and _concerns(alert, run):
                _event(tx, alert, run, event, base_url=base_url, now=now)
        if events and events[-1].id > alert.seen_event:
            alert.seen_event = events[-1].id
        for number in sorted(changed):
            if (run := runs.get(number)) is not None and _concerns(alert, run):
                _points(tx, alert, run, base_url=base_url, now=now)
    return len(events) == MOST_EVENTS


def _runs(tx: Tx, numbers: set[int]) -> Sequence[Run]:
    return tx.session.scalars(select(Run).where(Run.id.in_(numbers), Run.deleted_at.is_(None))).all()


def _concerns(alert: Alert, run: Run) -> bool:
    """An imported log is past: whoever imports it looks at it."""
    tag = alert.conditions.get("tag")
    return run.source != "imported" and (not tag or tag in run.tags)


def _event(tx: Tx, alert: Alert, run: Run, event: Event, *, base_url: str, now: float) -> None:
    on = alert.conditions["on"]
    if event.kind == "verdict" and "verdict" in on:
        verdict, wanted = event.data.get("to"), alert.conditions["verdicts"]
        if not wanted or verdict in wanted:
            tell(tx, alert, run, "verdict", event.text, base_url=base_url, now=now, step=event.step, data=event.data)
    elif event.kind == "state":
        to, reason = event.data.get("to"), event.data.get("reason")
        kinds = [kind for kind, state in STATES.items() if kind in on and to == state]
        if to == RunState.failed and reason == "non_finite" and "nan" in on and _fires(alert, f"nan {run.id}", True):
            kinds = ["nan"]  # one message is enough
        for kind in kinds:
            tell(
                tx,
                alert,
                run,
                kind,
                f"{to}: {event.text}",
                base_url=base_url,
                now=now,
                step=event.step,
                data={"reason": reason},
            )
        if to in ENDED:
            _forget(alert, run.id)


def _points(tx: Tx, alert: Alert, run: Run, *, base_url: str, now: float) -> None:
    conditions = alert.conditions
    if "nan" in conditions["on"]:
        bad = tx.raw.execute(
            "SELECT key, last_step FROM series WHERE run_id = ? AND key IN (?, ?, ?) AND last_value IS NULL AND count > 0",
            (run.id, *LOSSES),
        ).fetchone()
        if _fires(alert, f"nan {run.id}", bad is not None):
            text = f"{bad[0]} is not a number at step {bad[1]:,}"
            tell(tx, alert, run, "nan", text, base_url=base_url, now=now, step=bad[1], data={"metric": bad[0]})
    if "metric" in conditions["on"]:
        key, times, value = conditions["metric"], conditions["times"], conditions["value"]
        found = _last(tx.raw, run.id, key, times)
        over = conditions["direction"] == "over"
        beyond = [(one > value if over else one < value) for one in found.value.tolist()]
        if len(beyond) < times:
            return
        # it is over when one value is back, so that a curve that touches the line tells once for each time it stays
        if all(beyond) and _fires(alert, f"metric {run.id}", True):
            often = f", {times} in a row" if times > 1 else ""
            text = f"{key} is {conditions['direction']} {value:g}: {found.value[-1]:.6g} at step {int(found.step[-1]):,}{often}"
            told = {"metric": key, "value": float(found.value[-1]), "limit": value}
            tell(tx, alert, run, "metric", text, base_url=base_url, now=now, step=int(found.step[-1]), data=told)
        elif not beyond[-1]:
            _fires(alert, f"metric {run.id}", False)


def _last(raw: sqlite3.Connection, run_id: int, key: str, count: int) -> series.Points:
    """The newest `count` points, or as many as there are, from the chunks that hold them."""
    query = """
        SELECT chunks.first_step FROM chunks JOIN series ON series.id = chunks.series_id
        WHERE series.run_id = ? AND series.key = ? ORDER BY chunks.number DESC LIMIT ?"""
    firsts = raw.execute(query, (run_id, key, 2 + 2 * count // SEALED)).fetchall()
    found = series.read(raw, run_id, key, lo=firsts[-1][0] if firsts else 0)
    return found._replace(step=found.step[-count:], value=found.value[-count:])


def _fires(alert: Alert, what: str, is_so: bool) -> bool:
    """Whether this is news; remembers it."""
    if is_so == (what in alert.firing):
        return False
    kept = {key: True for key in alert.firing if key != what}
    alert.firing = dict(list((kept | {what: True}).items())[-MOST_FIRING:]) if is_so else kept
    return is_so


def _forget(alert: Alert, run_id: int) -> None:
    left = {key: True for key in alert.firing if not (key.startswith("metric ") and key.endswith(f" {run_id}"))}
    if len(left) != len(alert.firing):
        alert.firing = left


def tell(
    tx: Tx,
    alert: Alert,
    run: Run,
    kind: str,
    text: str,
    *,
    base_url: str,
    now: float,
    step: int | None,
    data: dict[str, Any],
) -> None:
    shown = ids.show("run", run.id)
    about = {
        "id": shown, "name": run.name, "url": f"{base_url}/runs/{shown}", "state": run.state, "step": run.step, "steps": run.steps,
        "best_val": run.best_val, "tags": run.tags,
    }  # fmt: skip
    book.deliver(tx, alert, kind, text[:1000], run=about, run_id=run.id, now=now, data=data | {"step": step})
