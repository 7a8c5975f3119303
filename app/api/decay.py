"""Weight decay of a run: what it has done so far, by group of tensors, and what is to come."""

from typing import Any

from starlette.responses import Response

from app import run_decay, runs
from app.api.body import JsonResponse
from app.api.deps import Db, RunId
from app.api.problems import problems
from app.errors import NotFound
from app.routing import api_router

router = api_router(tag="runs")


@router.get(
    "/runs/{run_id}/decay", response_model=dict[str, Any], summary="A run's weight decay", responses=problems(NotFound)
)
def standing(run_id: RunId, db: Db) -> Response:
    """Which tensors decay; effective decay, half-life and timescale in steps, tokens and epochs at the newest step; Λ and the
    share of the starting weights left, so far and at the end; and for each group λ, lr, and the newest RMS, update ratio,
    rotation and decay share beside the equilibria of noisy AdamW updates (references for normalised matrices, not targets).
    """
    with db.read() as tx:
        return JsonResponse(run_decay.standing(tx, runs.get(tx, run_id)))
