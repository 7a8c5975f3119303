"""Ready-made experiments: questions, most about weight decay, each with the sweep that answers it."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Path
from starlette.responses import Response
from typing_extensions import TypedDict

from app import ready_made
from app.api.body import JsonResponse
from app.api.deps import Db, IdempotencyKey, Now
from app.api.problems import problems
from app.db import Tx
from app.errors import Invalid, NotFound
from app.ready_made import ReadyMade
from app.routing import api_router
from app.sweeps import launching, shapes

Key = Annotated[str, Path(max_length=40, description="The experiment's key.", examples=["inert"])]
router = api_router("/ready-made", tag="sweeps")


class ReadyMadeJson(TypedDict):
    key: str
    name: str
    question: str
    why: str
    look_at: str
    claims: list[str]
    minutes: int
    spec: dict[str, Any]


class ReadyMadeList(TypedDict):
    experiments: list[ReadyMadeJson]


@router.get("", response_model=ReadyMadeList, summary="List ready-made experiments")
def find() -> Response:
    """What each asks and why it is open, what to look at in the result, minutes on two idle CPU cores, and its sweep as the
    body of POST /sweeps (or of POST /sweeps/cost, for the cost on the machines that are here).
    """
    return JsonResponse({"experiments": [asdict(one) for one in ready_made.READY_MADE.values()]})


@router.get("/{key}", response_model=ReadyMadeJson, summary="Look at a ready-made experiment", responses=problems(NotFound))  # fmt: skip
def look(key: Key) -> Response:
    """One of the list."""
    return JsonResponse(asdict(ready_made.get(key)))


@router.post(
    "/{key}", status_code=201, response_model=dict[str, Any], summary="Start a ready-made experiment",
    responses={200: {"description": "The sweep that this Idempotency-Key made before."}, **problems(NotFound, Invalid)},
)  # fmt: skip
def start(key: Key, db: Db, now: Now, idempotency_key: IdempotencyKey = None) -> Response:
    """As POST /sweeps with its specification; the answer is the sweep."""
    chosen: ReadyMade = ready_made.get(key)

    def create(tx: Tx) -> tuple[dict[str, Any], bool]:
        made, new = launching.create(tx, chosen.sweep(), key=idempotency_key, body_sha256=f"ready-made-{key}", now=now)
        tx.session.flush()
        return shapes.sweep(tx, made), new

    shown, new = db.write(create)
    return JsonResponse(shown, 201 if new else 200, headers={"Location": f"/api/v1/sweeps/{shown['id']}"})
