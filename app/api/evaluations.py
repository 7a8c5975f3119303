"""Evaluations: each one's validation losses, window by window."""

from typing import Annotated

from fastapi import Path
from starlette.responses import Response, StreamingResponse
from typing_extensions import TypedDict

from app import evaluations, runs, window_losses
from app.api.body import JsonResponse
from app.api.deps import Db, RunId
from app.api.problems import problems
from app.contract import ids
from app.db import Tx
from app.errors import NotFound
from app.routing import api_router

router = api_router("/runs", tag="metrics")


class ScoredJson(TypedDict):
    step: int
    windows: int
    loss: float
    se: float


class EvaluationList(TypedDict):
    evaluations: list[ScoredJson]


class EvaluationJson(ScoredJson):
    run: str
    losses: list[float]


Step = Annotated[str, Path(max_length=20, description="An evaluated step, best or last.", examples=["250"])]


@router.get(
    "/{run_id}/evaluations", response_model=EvaluationList, summary="List evaluations", responses=problems(NotFound)
)
def listing(run_id: RunId, db: Db) -> Response:
    """Those whose losses were kept, in the order of their steps: `loss` is the mean over the windows in nats per token, `se` its
    standard error. A run with more than 20,000 windows, or with nanoGPT's sampler, which draws other windows each time,
    keeps means only.
    """
    with db.read() as tx:
        found = evaluations.listing(tx.raw, runs.get(tx, run_id).id)
    return JsonResponse({"evaluations": [one._asdict() for one in found]})


@router.get(
    "/{run_id}/evaluations.csv", response_class=Response, summary="All losses per window as CSV",
    responses={200: {"content": {"text/csv": {"example": "step,window,loss\n250,0,3.21\n"}}}, **problems(NotFound)},
)  # fmt: skip
def as_csv(run_id: RunId, db: Db) -> StreamingResponse:
    """A row a window and evaluation, streamed."""
    with db.read() as tx:
        run = runs.get(tx, run_id)
    headers = {"Content-Disposition": f'attachment; filename="{ids.show("run", run.id)}-windows.csv"'}
    return StreamingResponse(window_losses.stream(db, run.id), headers=headers, media_type="text/csv; charset=utf-8")


@router.get(
    "/{run_id}/evaluations/{step}", response_model=EvaluationJson, summary="Losses per window of one evaluation",
    responses=problems(NotFound),
)  # fmt: skip
def one(run_id: RunId, step: Step, db: Db) -> Response:
    """In the order of the windows' starts: runs on equal data with equal context and number of windows have the same
    ones, so that their losses can be compared in pairs.
    """
    with db.read() as tx:
        run = runs.get(tx, run_id)
        chosen = _chosen(tx, run.id, run_id, step)
        losses = evaluations.at(tx.raw, run.id, chosen.step)
    assert losses is not None, f"step {chosen.step} was listed in the same transaction"
    return JsonResponse({"run": ids.show("run", run.id), **chosen._asdict(), "losses": losses.tolist()})


def _chosen(tx: Tx, run_id: int, shown: str, step: str) -> evaluations.Scored:
    found = evaluations.listing(tx.raw, run_id)
    if found and step == "best":
        return min(found, key=lambda one: one.loss)
    if found and step == "last":
        return found[-1]
    for one in found:
        if str(one.step) == step:
            return one
    there = ", ".join(str(one.step) for one in found[:50]) or "none"
    raise NotFound(f"{shown} keeps no losses of an evaluation at step {step}; it has those of: {there}.")
