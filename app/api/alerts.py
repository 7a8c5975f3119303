"""Alerts: webhooks that are told what happens to runs, and the history of what they were told."""

from typing import Annotated, Any

from fastapi import Path
from pydantic import ValidationError
from starlette.responses import Response
from typing_extensions import TypedDict

from app.alerts import addresses, book
from app.api.body import Json, JsonResponse
from app.api.deps import LONGEST_ID, Config, Db, Limit, Now, Offset
from app.api.problems import problems
from app.contract import ids
from app.contract.alerts import AlertPatch, AlertSpec
from app.db import Tx
from app.errors import Invalid, NotFound, from_pydantic
from app.routing import api_router
from app.settings import Settings
from app.shapes import iso, maybe_iso
from app.tables import Alert, AlertDelivery

router = api_router("/alerts", tag="alerts")
AlertId = Annotated[str, Path(max_length=LONGEST_ID, description="The alert's id.", examples=["a-0001"])]


class AlertJson(TypedDict):
    """An alert; of its webhook only the place, of its secret nothing."""

    id: str
    name: str
    enabled: bool
    on: list[str]
    verdicts: list[str]
    metric: str | None
    direction: str
    value: float | None
    times: int
    tag: str
    place: str
    shape: str
    created_at: str
    updated_at: str


class DeliveryJson(TypedDict):
    """One message: `state` is waiting, sent or failed, `answer` what the last try came to."""

    id: str
    alert: str
    run: str | None
    kind: str
    text: str
    state: str
    tries: int
    answer: str
    created_at: str
    due_at: str | None
    ended_at: str | None


class AlertList(TypedDict):
    alerts: list[AlertJson]


class DeliveryList(TypedDict):
    deliveries: list[DeliveryJson]


@router.get("", response_model=AlertList, summary="List alerts")
def listing(db: Db) -> Response:
    """All of them, oldest first."""
    with db.read() as tx:
        return JsonResponse({"alerts": [shown(one) for one in book.listing(tx)]})


_EXAMPLE = {
    "name": "stuck or broken", "on": ["verdict", "failed", "nan"], "verdicts": ["plateau"],
    "url": "https://hooks.slack.com/services/T0/B0/x", "shape": "slack",
}  # fmt: skip


@router.post("", status_code=201, response_model=AlertJson, summary="Add an alert", responses=problems(Invalid), openapi_extra={"x-body": _EXAMPLE})  # fmt: skip
def create(spec: Annotated[AlertSpec, Json(AlertSpec)], db: Db, config: Config, now: Now) -> Response:
    """It tells what happens from now on. The answer of a `json` alert has the `secret` of its signatures, this once:
    `X-Plateau-Signature: v1=` and the hex HMAC-SHA256 of `<X-Plateau-Timestamp>.<body>`. Inner addresses (private,
    loopback, link-local) are refused unless the server's PLATEAU_ALERT_HOSTS names the host; redirects are not followed.
    """
    allowed = addresses.hosts(config.alert_hosts)

    def work(tx: Tx) -> dict[str, Any]:
        alert = book.create(tx, spec, allowed=allowed, now=now)
        return {**shown(alert), "secret": alert.secret if spec.shape == "json" else None}

    made = db.write(work)
    return JsonResponse(made, 201, headers={"Location": f"/api/v1/alerts/{made['id']}"})


@router.get("/deliveries", response_model=DeliveryList, summary="List deliveries of all alerts")
def all_deliveries(db: Db, offset: Offset = 0, limit: Limit = 50) -> Response:
    """Newest first."""
    with db.read() as tx:
        return JsonResponse({"deliveries": [delivery(one) for one in book.deliveries(tx, limit=limit, offset=offset)]})


@router.get("/{alert_id}", response_model=AlertJson, summary="Look at an alert", responses=problems(NotFound))
def look(alert_id: AlertId, db: Db) -> Response:
    """Its conditions and where it goes."""
    with db.read() as tx:
        return JsonResponse(shown(book.get(tx, alert_id)))


@router.patch(
    "/{alert_id}", response_model=AlertJson, summary="Change an alert", responses=problems(NotFound, Invalid),
    openapi_extra={"x-body": {"enabled": False}},
)  # fmt: skip
def change(
    alert_id: AlertId, patch: Annotated[AlertPatch, Json(AlertPatch)], db: Db, config: Config, now: Now
) -> Response:
    """Only the fields given change. One that is enabled again tells nothing of the time it was off."""

    def work(tx: Tx) -> AlertJson:
        alert = book.get(tx, alert_id)
        book.change(tx, alert, changed(alert, patch.model_dump(exclude_unset=True)), allowed=_allowed(config), now=now)
        tx.session.flush()
        return shown(alert)

    return JsonResponse(db.write(work))


def _allowed(config: Settings) -> frozenset[str]:
    return addresses.hosts(config.alert_hosts)


def changed(alert: Alert, given: dict[str, Any]) -> AlertSpec:
    """The alert with what is given over it. Raises Invalid."""
    try:
        return AlertSpec.model_validate(book.spec_of(alert) | given)
    except ValidationError as error:
        raise from_pydantic(error, model=AlertSpec) from None


@router.delete(
    "/{alert_id}", status_code=204, response_class=Response, summary="Delete an alert", responses=problems(NotFound)
)
def delete(alert_id: AlertId, db: Db) -> Response:
    """With its history; what waits to be sent is not sent."""
    db.write(lambda tx: book.delete(tx, book.get(tx, alert_id)))
    return Response(status_code=204)


@router.post(
    "/{alert_id}/test",
    status_code=202,
    response_model=DeliveryJson,
    summary="Send a test",
    responses=problems(NotFound),
)
def test(alert_id: AlertId, db: Db, now: Now) -> Response:
    """A message goes out at once, whether the alert is enabled or not; its delivery says what came of it."""
    return JsonResponse(db.write(lambda tx: delivery(book.test(tx, book.get(tx, alert_id), now=now))), 202)


@router.get(
    "/{alert_id}/deliveries", response_model=DeliveryList, summary="List deliveries", responses=problems(NotFound)
)
def deliveries(alert_id: AlertId, db: Db, offset: Offset = 0, limit: Limit = 50) -> Response:
    """Newest first: waiting (with the time of the next try), sent, failed."""
    with db.read() as tx:
        found = book.deliveries(tx, book.get(tx, alert_id).id, limit=limit, offset=offset)
        return JsonResponse({"deliveries": [delivery(one) for one in found]})


def shown(alert: Alert) -> AlertJson:
    told = alert.conditions
    return {
        "id": ids.show("alert", alert.id), "name": alert.name, "enabled": alert.enabled, "on": told["on"], "verdicts": told["verdicts"],
        "metric": told["metric"], "direction": told["direction"], "value": told["value"], "times": told["times"], "tag": told["tag"],
        "place": book.place(alert.url), "shape": alert.shape, "created_at": iso(alert.created_at), "updated_at": iso(alert.updated_at),
    }  # fmt: skip


def delivery(one: AlertDelivery) -> DeliveryJson:
    return {
        "id": ids.show("delivery", one.id), "alert": ids.show("alert", one.alert_id),
        "run": ids.show("run", one.run_id) if one.run_id is not None else None, "kind": one.kind, "text": one.message.get("text", ""),
        "state": one.state, "tries": one.tries, "answer": one.answer, "created_at": iso(one.created_at),
        "due_at": iso(one.due_at) if one.state == "waiting" else None, "ended_at": maybe_iso(one.ended_at),
    }  # fmt: skip
