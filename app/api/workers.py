"""Workers: who is there, what each is doing, whether it may take new work."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response
from typing_extensions import TypedDict

from app import shapes, workers
from app.api.body import Json, JsonResponse
from app.api.deps import Db, WorkerId
from app.api.problems import problems
from app.db import Tx
from app.errors import Invalid, NotFound
from app.routing import api_router
from app.shapes import WorkerJson

router = api_router("/workers", tag="workers")


class WorkerList(TypedDict):
    workers: list[WorkerJson]


class WorkerChange(BaseModel):
    model_config = ConfigDict(extra="forbid")
    enabled: bool = Field(description="false drains it: it finishes what it holds and claims nothing new.")


@router.get("", response_model=WorkerList, summary="List workers")
def find(db: Db) -> Response:
    """Devices, versions, measured speeds, jobs they hold, when they were last heard."""
    with db.read() as tx:
        return JsonResponse({"workers": shapes.worker_list(tx, workers.list_all(tx))})


@router.patch(
    "/{worker_id}", response_model=WorkerJson, summary="Drain or enable", responses=problems(NotFound, Invalid)
)
def patch(worker_id: WorkerId, change: Annotated[WorkerChange, Json(WorkerChange)], db: Db) -> Response:
    """A drained worker finishes what it holds."""

    def apply(tx: Tx) -> WorkerJson:
        worker = workers.get(tx, worker_id)
        workers.set_enabled(tx, worker, change.enabled)
        return shapes.worker_list(tx, [worker])[0]

    return JsonResponse(db.write(apply))
