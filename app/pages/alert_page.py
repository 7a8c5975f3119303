"""The alerts' page: those there are with test, switch and delete, a form for one, and what was sent."""

import time
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError

from app.alerts import addresses, book
from app.contract import ids
from app.contract.alerts import MEANINGS, AlertSpec
from app.db import Database, Tx
from app.errors import FieldError, Invalid, NotFound, from_pydantic
from app.i18n import N_
from app.pages.forms import Form, Posted
from app.pages.rendering import now, page
from app.pages.view import Look
from app.tables import Alert, AlertDelivery

router = APIRouter(include_in_schema=False)
SHOWN = 50
TEST_S = 3.0
LOOKS: dict[str, Look] = {
    "waiting": Look("t2", "queue", N_("Waiting")),
    "sent": Look("ok", "ok", N_("Sent")),
    "failed": Look("bad", "bad", N_("Failed")),
}
KINDS = {**MEANINGS, "test": N_("A test")}


@router.get("/alerts")
def alerts(request: Request) -> HTMLResponse:
    return _page(request, {}, [])


@router.get("/alerts/{text_id}")
def edit(request: Request, text_id: str) -> HTMLResponse:
    """The page with the form filled in; the address stays unseen unless another is typed."""
    with request.app.state.db.read() as tx:
        typed = book.spec_of(book.get(tx, text_id)) | {"url": "", "id": text_id}
    return _page(request, typed, [])


@router.post("/alerts")
def create(request: Request, posted: Posted) -> Response:
    moment, typed = now(request), read(posted)
    text_id = posted.one("id")
    allowed = addresses.hosts(request.app.state.settings.alert_hosts)

    def work(tx: Tx) -> str | None:
        """The new secret, where one was made."""
        if not text_id:
            return book.create(tx, AlertSpec.model_validate(typed), allowed=allowed, now=moment).secret
        alert = book.get(tx, text_id)
        kept = {key: value for key, value in book.spec_of(alert).items() if key not in typed}
        book.change(tx, alert, AlertSpec.model_validate(kept | typed), allowed=allowed, now=moment)
        return None

    try:
        secret = request.app.state.db.write(work)
    except ValidationError as error:
        return _page(request, typed | {"id": text_id}, list(from_pydantic(error, model=AlertSpec).errors))
    except Invalid as error:
        return _page(request, typed | {"id": text_id}, list(error.errors))
    if secret is None or typed["shape"] != "json":
        return RedirectResponse("/alerts", 303)
    return _page(request, {}, [], secret=secret)  # shown this once, hence no redirect


@router.post("/alerts/{text_id}/{verb}")
def act(request: Request, text_id: str, verb: str) -> Response:
    moment = now(request)

    def work(tx: Tx) -> int | None:
        """The message of a test."""
        alert = book.get(tx, text_id)
        match verb:
            case "test":
                return book.test(tx, alert, now=moment).id
            case "enable" | "disable":
                spec = AlertSpec.model_validate(book.spec_of(alert) | {"enabled": verb == "enable"})
                book.change(tx, alert, spec, allowed=frozenset({_host(alert)}), now=moment)
            case "delete":
                book.delete(tx, alert)
            case _:
                raise NotFound(f"An alert cannot be told to {verb[:40]}.")
        return None

    db: Database = request.app.state.db
    if (number := db.write(work)) is not None:
        _wait_for(db, number)
    return RedirectResponse("/alerts", 303)


def _wait_for(db: Database, number: int) -> None:
    """Whoever sends a test wants to see what came of it; it is usually there within a second or two."""
    until = time.monotonic() + TEST_S
    while time.monotonic() < until:
        with db.read() as tx:
            one = tx.session.get(AlertDelivery, number)
            if one is None or one.tries:
                return
        time.sleep(0.05)


def _host(alert: Alert) -> str:
    """Switching is no new address: what it may reach is asked when something is sent."""
    return (urlsplit(alert.url).hostname or "").rstrip(".").lower()


def read(posted: Form) -> dict[str, Any]:
    """What was typed as an AlertSpec takes it; what is empty is left out."""
    typed: dict[str, Any] = {
        "on": [kind for kind in MEANINGS if kind in posted.all("on")],
        "shape": posted.one("shape") or "json",
    }
    typed["verdicts"] = [one.strip() for one in posted.one("verdicts").split(",") if one.strip()]
    typed |= {key: posted.one(key) for key in ("name", "url", "direction", "secret") if posted.one(key)}
    typed |= {
        "metric": posted.one("metric") or None,
        "tag": posted.one("tag"),
        "enabled": posted.one("enabled") != "no",
    }
    if value := posted.one("value"):
        typed["value"] = value.replace(",", ".")
    typed["times"] = posted.one("times") or 1
    return typed


def _page(request: Request, typed: dict[str, Any], wrong: list[FieldError], secret: str = "") -> HTMLResponse:
    with request.app.state.db.read() as tx:
        found = book.listing(tx)
        rows = [{"row": one, "id": ids.show("alert", one.id), "place": book.place(one.url)} for one in found]
        names = {one.id: one.name for one in found}
        history = [
            {
                "row": one, "look": LOOKS[one.state], "alert": names.get(one.alert_id, ""),
                "run": ids.show("run", one.run_id) if one.run_id is not None else None,
            }
            for one in book.deliveries(tx, limit=SHOWN)
        ]  # fmt: skip
    messages = [f"{pointer.strip('/')} {message}".strip() for pointer, message in wrong]
    return page(
        request, "alerts.html", 422 if wrong else 200, alerts=rows, history=history, typed=typed, wrong=messages, kinds=KINDS,
        meanings=MEANINGS, secret=secret, allowed=request.app.state.settings.alert_hosts,
    )  # fmt: skip
