"""The alerts there are, what people do with them, and their deliveries."""

import ipaddress
import secrets
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import func, select

from app.alerts import addresses
from app.contract import ids
from app.contract.alerts import AlertSpec
from app.db import Tx
from app.errors import FieldError, Invalid, NotFound
from app.tables import Alert, AlertDelivery, Event

MOST_ALERTS = 100
KEPT_DELIVERIES = 1000
"""Of an alert; older ones are forgotten."""
CONDITIONS = ("on", "verdicts", "metric", "direction", "value", "times", "tag")


def get(tx: Tx, text_id: str) -> Alert:
    number = ids.parse("alert", text_id)
    alert = tx.session.get(Alert, number) if number is not None else None
    if alert is None:
        raise NotFound(f"There is no alert {text_id[:40]}.")
    return alert


def listing(tx: Tx) -> Sequence[Alert]:
    return tx.session.scalars(select(Alert).order_by(Alert.id)).all()


def create(tx: Tx, spec: AlertSpec, *, allowed: frozenset[str], now: float) -> Alert:
    """Tells only what happens from now on. Raises Invalid."""
    _check_address(spec.url, allowed)
    if (tx.session.scalar(select(func.count()).select_from(Alert)) or 0) >= MOST_ALERTS:
        raise Invalid([FieldError("", f"There are {MOST_ALERTS} alerts already; delete one first.")])
    alert = Alert(
        name=spec.name, enabled=spec.enabled, conditions=_conditions(spec), url=spec.url, shape=spec.shape,
        secret=spec.secret or f"plateau_{secrets.token_urlsafe(32)}", seen_event=newest_event(tx), firing={},
        created_at=now, updated_at=now,
    )  # fmt: skip
    tx.session.add(alert)
    tx.session.flush()
    return alert


def change(tx: Tx, alert: Alert, spec: AlertSpec, *, allowed: frozenset[str], now: float) -> None:
    """All of it, but for a secret that is not given. One that was off tells nothing of the time it was. Raises Invalid."""
    _check_address(spec.url, allowed)
    if spec.enabled and not alert.enabled:
        alert.seen_event, alert.firing = newest_event(tx), {}
    if _conditions(spec) != alert.conditions:
        alert.firing = {}
    alert.name, alert.enabled, alert.conditions, alert.updated_at = spec.name, spec.enabled, _conditions(spec), now
    alert.url, alert.shape, alert.secret = spec.url, spec.shape, spec.secret or alert.secret


def spec_of(alert: Alert) -> dict[str, Any]:
    """What an AlertSpec is made of again, but for the secret."""
    return {"name": alert.name, "enabled": alert.enabled, "url": alert.url, "shape": alert.shape, **alert.conditions}


def delete(tx: Tx, alert: Alert) -> None:
    """With its deliveries; what waits is not sent any more."""
    tx.session.flush()
    tx.raw.execute("DELETE FROM alert_deliveries WHERE alert_id = ?", (alert.id,))
    tx.session.delete(alert)


def deliver(
    tx: Tx, alert: Alert, kind: str, text: str, *, now: float, run: dict[str, Any] | None = None, run_id: int | None = None,
    data: dict[str, Any] | None = None,
) -> AlertDelivery:  # fmt: skip
    """Queue a message; the sender takes it as soon as this is committed."""
    one = AlertDelivery(
        alert_id=alert.id,
        run_id=run_id,
        kind=kind,
        message={},
        state="waiting",
        tries=0,
        answer="",
        created_at=now,
        due_at=now,
    )
    tx.session.add(one)
    tx.session.flush()
    one.message = {
        "id": ids.show("delivery", one.id), "alert": alert.name, "kind": kind, "at": now, "text": text,
        **({"run": run} if run else {}), "data": data or {},
    }  # fmt: skip
    tx.session.flush()
    tx.raw.execute(
        "DELETE FROM alert_deliveries WHERE alert_id = ? AND state != 'waiting' AND id <= ?",
        (alert.id, one.id - KEPT_DELIVERIES),
    )
    return one


def test(tx: Tx, alert: Alert, *, now: float) -> AlertDelivery:
    return deliver(tx, alert, "test", "This is a test: alerts of this kind arrive here.", now=now)


def deliveries(tx: Tx, alert_id: int | None = None, *, limit: int = 50, offset: int = 0) -> Sequence[AlertDelivery]:
    """Newest first."""
    query = select(AlertDelivery).order_by(AlertDelivery.id.desc()).limit(limit).offset(offset)
    return tx.session.scalars(query if alert_id is None else query.where(AlertDelivery.alert_id == alert_id)).all()


def place(url: str) -> str:
    """Where it goes, without what may be a secret in the path: "https://hooks.slack.com/…"."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/" + ("…" if len(parts.path) > 1 or parts.query else "")


def newest_event(tx: Tx) -> int:
    return tx.session.scalar(select(func.max(Event.id))) or 0


def _conditions(spec: AlertSpec) -> dict[str, Any]:
    return {name: value for name, value in spec.model_dump(mode="json").items() if name in CONDITIONS}


def _check_address(url: str, allowed: frozenset[str]) -> None:
    """An address that is written as a number needs no name server to be refused."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        inner = host == "localhost" or host.endswith(".localhost")
    else:
        inner = not addresses.is_public(host)
    if inner and host not in allowed:
        raise Invalid(
            [FieldError("/url", f"is an inner address ({host}); the server's PLATEAU_ALERT_HOSTS has to name it")]
        )
