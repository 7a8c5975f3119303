"""Forks: a new run from another run's checkpoint."""

from typing import Annotated

from starlette.responses import Response

from app import forks, runs, shapes
from app.api.body import Json, JsonResponse
from app.api.deps import BodySha256, Db, IdempotencyKey, Now, RunId
from app.api.problems import problems
from app.db import Tx
from app.errors import Conflict, Invalid, NotFound
from app.forks import Fork
from app.routing import api_router
from app.shapes import RunJson

router = api_router("/runs", tag="runs")


@router.post(
    "/{run_id}/fork",
    status_code=201,
    response_model=RunJson,
    summary="Fork a run",
    responses={
        200: {"description": "The run that this Idempotency-Key made before."},
        **problems(NotFound, Conflict, Invalid),
    },
    openapi_extra={"x-body": {"at": "best", "config": {"optim": {"weight_decay": 0.3}}, "cooldown": {"share": 0.1}}},
)
def fork(
    run_id: RunId,
    fork: Annotated[Fork, Json(Fork)],
    body_sha256: BodySha256,
    db: Db,
    now: Now,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """A new run that starts from one of this run's checkpoints: its weights, moments, random state and step. `config`
    is what differs; every field really applies, the network alone stays. `cooldown` brings the learning rate to
    zero from there on. The checkpoint is brought to the server first, so that the fork may wait while its parent
    trains on, and so that any worker can take it.
    """

    def create(tx: Tx) -> tuple[RunJson, bool]:
        run, new = forks.create(tx, runs.get(tx, run_id), fork, key=idempotency_key, body_sha256=body_sha256, now=now)
        return shapes.run(tx, run), new

    shown, new = db.write(create)
    return JsonResponse(shown, 201 if new else 200, headers={"Location": f"/api/v1/runs/{shown['id']}"})
