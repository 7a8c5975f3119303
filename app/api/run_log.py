"""What a run's process printed: read it, search it, follow it, take it as a file."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response, StreamingResponse
from typing_extensions import TypedDict

from app import console, runs, shapes
from app.api.body import JsonResponse
from app.api.deps import Db, Limit, RunId
from app.api.problems import problems
from app.console import Severity
from app.contract import ids
from app.errors import NotFound
from app.routing import api_router
from app.shapes import LineJson

router = api_router("/runs", tag="runs")


class LineList(TypedDict):
    lines: list[LineJson]


After = Annotated[int, Query(ge=0, le=2**62, description="Only lines behind this number: the first of them.")]
Before = Annotated[int, Query(ge=0, le=2**62, description="Only lines in front of this number: the last of them.")]
Text = Annotated[str, Query(max_length=200, description="Only lines that hold this text, in upper or lower case.")]
Level = Annotated[Severity, Query(description="The least severe level shown.")]


@router.get("/{run_id}/log", response_model=LineList, summary="Read the log", responses=problems(NotFound))
def log(
    run_id: RunId,
    db: Db,
    after: After = 0,
    before: Before = 0,
    q: Text = "",
    level: Level = "debug",
    limit: Limit = 200,
) -> Response:
    """What the training process printed, oldest first: the newest lines, those behind `after` (to follow it), or those in
    front of `before` (to page back). `after` is looked at first."""
    with db.read() as tx:
        run = runs.get(tx, run_id)
        if after:
            rows = console.following(tx, run.id, after, text=q, level=level, limit=limit)
        else:
            rows = console.newest(tx, run.id, text=q, level=level, before=before, limit=limit)
        return JsonResponse({"lines": [shapes.line(row) for row in rows]})


@router.get(
    "/{run_id}/log.txt",
    summary="Download the log",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/plain": {}}}, **problems(NotFound)},
)
def download(run_id: RunId, db: Db, q: Text = "", level: Level = "debug") -> StreamingResponse:
    """Every line, or every one that matches: time (UTC), attempt, level, text."""
    with db.read() as tx:
        run = runs.get(tx, run_id).id
    name = f"{ids.show('run', run)}.log"
    return StreamingResponse(
        console.as_text(db, run, text=q, level=level),
        media_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
