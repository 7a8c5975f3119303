"""Runs: launch, list, look at, tell what to do."""

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from starlette.responses import Response
from typing_extensions import TypedDict

from app import checkpoints, events, extension, jobs, runs, shapes
from app.api.body import Json, JsonResponse
from app.api.deps import BodySha256, Config, Db, IdempotencyKey, Limit, Now, Offset, RunId
from app.api.problems import problems
from app.contract import ids
from app.contract.states import RunState
from app.db import Tx
from app.errors import Conflict, Invalid, NotFound
from app.extension import Extension
from app.routing import api_router
from app.run_query import Place
from app.runs import Labels, Launch, RunQuery
from app.shapes import CheckpointJson, EventJson, RunJson
from app.tables import Event, Run

router = api_router("/runs", tag="runs")


class RunList(TypedDict):
    runs: list[RunJson]
    total: int
    counts: dict[str, int]
    offset: int
    limit: int


class EventList(TypedDict):
    events: list[EventJson]


class CheckpointList(TypedDict):
    checkpoints: list[CheckpointJson]


class Note(BaseModel):
    """A remark at a step of a run."""

    model_config = ConfigDict(extra="forbid")
    text: str = Field(min_length=1, max_length=2000)
    step: int | None = Field(None, ge=0, le=2**53)


@router.post(
    "",
    status_code=201,
    response_model=RunJson,
    summary="Launch a run",
    responses={200: {"description": "The run that this Idempotency-Key made before."}, **problems(Invalid)},
    openapi_extra={
        "x-body": {"preset": "tiny", "name": "λ = 0.1", "config": {"optim": {"weight_decay": 0.1}}, "tags": ["demo"]}
    },
)
def launch(
    launch: Annotated[Launch, Json(Launch)],
    body_sha256: BodySha256,
    db: Db,
    config: Config,
    now: Now,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """`config` is any part of a run's configuration, merged over the preset's (or the defaults). Every field is
    checked; an unknown one is refused. A worker claims the run as soon as its dataset is ready.
    With `source: external` no worker takes it: the answer holds the claim with which a client posts batches itself.
    """

    def create(tx: Tx) -> tuple[RunJson | dict[str, Any], bool]:
        run, new = runs.create(tx, launch, key=idempotency_key, body_sha256=body_sha256, now=now)
        job = jobs.current_job(tx, run.id) if run.source == "external" else None
        shown = shapes.run(tx, run)
        if job is None or job.claim_id is None:
            return shown, new
        claim = {
            "job": ids.show("job", job.id),
            "claim_id": job.claim_id,
            "attempt": job.attempt,
            "lease_s": config.lease_s,
        }
        return {**shown, "claim": claim}, new

    shown, new = db.write(create)
    return JsonResponse(shown, 201 if new else 200, headers={"Location": f"/api/v1/runs/{shown['id']}"})


@router.get("", response_model=RunList, summary="List runs", responses=problems(Invalid))
def find(
    db: Db,
    q: Annotated[
        str, Query(max_length=500, description="Words, and terms such as `status=running wd=0.1 val/loss<3.2 tag:x`.")
    ] = "",
    state: Annotated[list[RunState] | None, Query(description="Only runs in these states.")] = None,
    sort: Annotated[
        str, Query(max_length=40, description="A column; `-` in front turns the order round.")
    ] = "-created",
    offset: Offset = 0,
    limit: Limit = 50,
    place: Annotated[Place, Query(description="The archive or the trash instead.")] = "list",
) -> Response:
    """One page of the runs that match, newest first; `counts` says how many match in each state."""
    states = tuple(one.value for one in state or ())
    query = RunQuery(text=q, states=states, sort=sort, offset=offset, limit=limit, place=place)
    with db.read() as tx:
        page = runs.find(tx, query)
        shown: RunList = {
            "runs": shapes.run_list(tx, page.rows),
            "total": page.total,
            "counts": page.counts,
            "offset": offset,
            "limit": limit,
        }
    return JsonResponse(shown)


@router.get("/{run_id}", response_model=RunJson, summary="Look at a run", responses=problems(NotFound))
def look(run_id: RunId, db: Db) -> Response:
    """Everything about one run but its curves: configuration, state with reason, newest numbers, legal actions."""
    with db.read() as tx:
        return JsonResponse(shapes.run(tx, runs.get(tx, run_id)))


@router.patch(
    "/{run_id}", response_model=RunJson, summary="Rename, tag, annotate", responses=problems(NotFound, Invalid)
)
def patch(run_id: RunId, labels: Annotated[Labels, Json(Labels)], db: Db) -> Response:
    """Only the fields given change."""

    def change(tx: Tx) -> RunJson:
        run = runs.get(tx, run_id)
        runs.patch(tx, run, name=labels.name, tags=labels.tags, notes=labels.notes)
        return shapes.run(tx, run)

    return JsonResponse(db.write(change))


@router.delete("/{run_id}", response_model=RunJson, summary="Move to the trash", responses=problems(NotFound, Conflict))
def trash(run_id: RunId, db: Db, now: Now) -> Response:
    """Nothing is deleted; `restore` brings it back. A run that trains must be stopped first."""
    return _act(db, run_id, lambda tx, run: runs.trash(tx, run, now=now))


@router.post("/{run_id}/stop", response_model=RunJson, summary="Stop", responses=problems(NotFound, Conflict))
def stop(run_id: RunId, db: Db, now: Now) -> Response:
    """Finish the step, save a checkpoint, end. A queued run stops at once; a second stop terminates, a third kills."""
    return _act(db, run_id, lambda tx, run: runs.stop(tx, run, now=now))


@router.post("/{run_id}/terminate", response_model=RunJson, summary="Terminate", responses=problems(NotFound, Conflict))
def terminate(run_id: RunId, db: Db, now: Now) -> Response:
    """End the process at once; it is given the time to save."""
    return _act(db, run_id, lambda tx, run: runs.terminate(tx, run, now=now))


@router.post("/{run_id}/kill", response_model=RunJson, summary="Kill", responses=problems(NotFound, Conflict))
def kill(run_id: RunId, db: Db, now: Now) -> Response:
    """End the process without letting it save."""
    return _act(db, run_id, lambda tx, run: runs.kill(tx, run, now=now))


@router.post("/{run_id}/pause", response_model=RunJson, summary="Pause", responses=problems(NotFound, Conflict))
def pause(run_id: RunId, db: Db, now: Now) -> Response:
    """Save a checkpoint, end the process, free the device."""
    return _act(db, run_id, lambda tx, run: runs.pause(tx, run, now=now))


@router.post("/{run_id}/resume", response_model=RunJson, summary="Resume", responses=problems(NotFound, Conflict))
def resume(run_id: RunId, db: Db, now: Now) -> Response:
    """Queue a paused, stopped or failed run again; it goes on from its newest checkpoint."""
    return _act(db, run_id, lambda tx, run: runs.resume(tx, run, now=now))


@router.post(
    "/{run_id}/save", response_model=RunJson, summary="Save a checkpoint", responses=problems(NotFound, Conflict)
)
def save(run_id: RunId, db: Db, now: Now) -> Response:
    """Write a checkpoint after the step under way and go on training."""
    return _act(db, run_id, lambda tx, run: runs.save(tx, run, now=now))


@router.post(
    "/{run_id}/evaluate", response_model=RunJson, summary="Evaluate now", responses=problems(NotFound, Conflict)
)
def evaluate(run_id: RunId, db: Db, now: Now) -> Response:
    """Evaluate after the step under way and go on training."""
    return _act(db, run_id, lambda tx, run: runs.evaluate(tx, run, now=now))


@router.post(
    "/{run_id}/extend", response_model=RunJson, summary="Train longer", responses=problems(NotFound, Conflict, Invalid),
    openapi_extra={"x-body": {"steps": 2000}},
)  # fmt: skip
def extend(run_id: RunId, asked: Annotated[Extension, Json(Extension)], db: Db, now: Now) -> Response:
    """More steps for a finished, stopped or paused run: its schedule is stretched to the new last step, and it is
    queued to go on from its newest checkpoint.
    """
    return _act(db, run_id, lambda tx, run: extension.extend(tx, run, asked, now=now))


@router.post(
    "/{run_id}/restore", response_model=RunJson, summary="Restore from the trash", responses=problems(NotFound)
)
def restore(run_id: RunId, db: Db) -> Response:
    """Back on the list, as it was."""
    return _act(db, run_id, runs.restore)


@router.post("/{run_id}/baseline", response_model=RunJson, summary="Pin as baseline", responses=problems(NotFound))
def pin(run_id: RunId, db: Db) -> Response:
    """The run that others are compared with; there is one at a time."""
    return _act(db, run_id, runs.pin_baseline)


@router.delete("/{run_id}/baseline", response_model=RunJson, summary="Unpin the baseline", responses=problems(NotFound))
def unpin(run_id: RunId, db: Db) -> Response:
    """Nothing happens when another run is the baseline."""

    def forget(tx: Tx, run: Run) -> None:
        pinned = runs.baseline(tx)
        if pinned is not None and pinned.id == run.id:
            runs.pin_baseline(tx, None)

    return _act(db, run_id, forget)


def _act(db: Db, run_id: str, act: Any) -> Response:
    """Do it and answer the run as it is then."""

    def perform(tx: Tx) -> RunJson:
        run = runs.get(tx, run_id)
        act(tx, run)
        tx.session.flush()
        return shapes.run(tx, run)

    return JsonResponse(db.write(perform))


After = Annotated[int, Query(ge=0, le=2**62, description="Only those after this number.")]


@router.get("/{run_id}/events", response_model=EventList, summary="List events", responses=problems(NotFound))
def list_events(run_id: RunId, db: Db, after: After = 0, limit: Limit = 200) -> Response:
    """State changes with their reasons, attempts, resumes, checkpoints, notes: oldest first."""
    with db.read() as tx:
        query = select(Event).where(Event.run_id == runs.get(tx, run_id).id, Event.id > after)
        rows = list(tx.session.scalars(_page(query, Event.id, after, limit)))
        shown = [shapes.event(row) for row in sorted(rows, key=lambda row: row.id)]
    return JsonResponse({"events": shown})


def _page(query: Any, number: Any, after: int, limit: int) -> Any:
    """From the front when the reader goes on from somewhere, else the newest."""
    return query.order_by(number if after else number.desc()).limit(limit)


@router.post(
    "/{run_id}/events", status_code=201, response_model=EventJson, summary="Add a note", responses=problems(NotFound, Invalid),
    openapi_extra={"x-body": {"text": "raised the learning rate here", "step": 400}},
)  # fmt: skip
def note(run_id: RunId, note: Annotated[Note, Json(Note)], db: Db, now: Now) -> Response:
    """A remark, at a step or not; it appears among the events and in the charts."""

    def record(tx: Tx) -> EventJson:
        run = runs.get(tx, run_id)
        number = events.record(tx, run.id, "note", note.text, at=now, step=note.step)
        return shapes.event(tx.session.get_one(Event, number))

    return JsonResponse(db.write(record), 201)


@router.get(
    "/{run_id}/checkpoints", response_model=CheckpointList, summary="List checkpoints", responses=problems(NotFound)
)
def list_checkpoints(run_id: RunId, db: Db) -> Response:
    """Saved states that still exist, newest first. They stay on the worker until someone asks for them."""
    with db.read() as tx:
        shown = [shapes.checkpoint(row) for row in checkpoints.listing(tx, runs.get(tx, run_id).id)]
    return JsonResponse({"checkpoints": shown})
