"""Checkpoints: bring one from the worker that holds it to the server."""

from starlette.responses import Response
from typing_extensions import TypedDict

from app import checkpoints, shapes
from app.api.body import JsonResponse
from app.api.deps import CheckpointId, Db, Now
from app.api.problems import problems
from app.contract import ids
from app.db import Tx
from app.errors import Conflict, NotFound
from app.routing import api_router
from app.shapes import CheckpointJson

router = api_router("/checkpoints", tag="checkpoints")


class Sending(TypedDict):
    checkpoint: CheckpointJson
    job: str | None
    on_server: bool


@router.post(
    "/{checkpoint_id}/send",
    status_code=202,
    response_model=Sending,
    summary="Bring to the server",
    responses=problems(NotFound, Conflict),
)
def send(checkpoint_id: CheckpointId, db: Db, now: Now) -> Response:
    """Queues a job for the worker that holds the files; 200 when they are here already. Then each file of the
    manifest can be fetched as an artifact, and any worker can go on from it.
    """

    def ask(tx: Tx) -> Sending:
        checkpoint = checkpoints.get(tx, checkpoint_id)
        job = checkpoints.request_send(tx, checkpoint, now=now)
        shown = shapes.checkpoint(checkpoint)
        return {"checkpoint": shown, "job": ids.show("job", job.id) if job else None, "on_server": job is None}

    sending = db.write(ask)
    return JsonResponse(sending, 200 if sending["on_server"] else 202)
