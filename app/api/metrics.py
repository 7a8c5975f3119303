"""Metrics: curves as a chart needs them, whole series as CSV, runs side by side."""

import csv
import hashlib
import io
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from sqlalchemy import select
from starlette.responses import Response, StreamingResponse
from typing_extensions import TypedDict

from app import comparison, figures, messages, runs, series
from app.api.body import JsonResponse
from app.api.deps import Db, RunId
from app.api.problems import problems
from app.contract import ids
from app.contract.metrics import KEY
from app.db import Database, Tx
from app.errors import FieldError, Invalid, NotFound
from app.tables import Run

router = APIRouter(tags=["metrics"])

MOST_RUNS = 100
MOST_KEYS = 50
WINDOW = 8192
"""Steps read at once for CSV; doubled while there are none, so that sparse steps cost little."""


class Curve(TypedDict):
    step: list[int]
    x: list[float | None]
    y: list[float | None]
    total: int
    merged: bool
    non_finite: list[dict[str, Any]]


class Chart(TypedDict):
    x: str
    cursor: int
    runs: dict[str, dict[str, Curve]]


Runs = Annotated[
    list[str], Query(min_length=1, max_length=MOST_RUNS, description="One or more runs.", examples=[["r-0001"]])
]
Bound = Annotated[float | None, Query(ge=0, le=1e30, allow_inf_nan=False, description="On the x axis.")]


@router.get("/metrics", response_model=Chart, summary="Read curves", responses=problems(NotFound, Invalid))
def chart(
    request: Request,
    db: Db,
    run: Runs,
    key: Annotated[
        list[str],
        Query(
            min_length=1,
            max_length=MOST_KEYS,
            description="Metric keys; one that ends in / stands for all below it.",
            examples=[["train/loss"]],
        ),
    ],
    x: Annotated[Literal["step", "tokens", "wall_s", "flops"], Query(description="The x axis.")] = "step",
    lo: Bound = None,
    hi: Bound = None,
    width: Annotated[int, Query(ge=50, le=4000, description="Pixels; about two points each are answered.")] = 1000,
) -> Response:
    """Down-sampled so that no spike is lost: smallest and largest value of every bucket, first and last point, every
    value that is not finite (null in `y`, named in `non_finite`). `merged` says whether points were left out.
    `cursor` is where a stream goes on (`/stream?since=`). Answers 304 to a matching If-None-Match.
    """
    wrong = [FieldError("/query/key", f"{one[:60]!r} is not a metric key") for one in key if not _is_key(one)]
    if wrong:
        raise Invalid(wrong)
    with db.read() as tx:
        shown = _runs(tx, run)
        etag = _etag(request.url.query, shown)
        headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        answer = figures.chart(tx, [one.id for one in shown], key, x, lo, hi, width)
    return JsonResponse(answer, headers=headers)


def _is_key(key: str) -> bool:
    """A metric, or all below a section: rms/."""
    return len(key) <= 200 and KEY.fullmatch(key + "x" if key.endswith("/") else key) is not None


def _runs(tx: Tx, wanted: list[str]) -> list[Run]:
    """In the order asked for, each once; two queries however many there are."""
    numbers = {one: ids.parse("run", one) for one in wanted}
    known = [number for number in numbers.values() if number is not None]
    found = {row.id: row for row in tx.session.scalars(select(Run).where(Run.id.in_(known)))}
    unknown = [one[:40] for one, number in numbers.items() if number not in found]
    if unknown:
        raise NotFound(f"There is no run {', '.join(unknown[:5])}.")
    return list({number: found[number] for number in known}.values())


def _etag(query: str, shown: list[Run]) -> str:
    """Changes whenever a batch or a change of state reaches one of the runs."""
    seen = repr((query, [(run.id, run.updated_at, run.step, run.state) for run in shown]))
    return f'"{hashlib.sha256(seen.encode()).hexdigest()[:32]}"'


@router.get("/compare", summary="Compare runs", response_model=dict[str, Any], responses=problems(NotFound, Invalid))
def compare(db: Db, run: Runs) -> Response:
    """What differs in their configurations, what makes them hard to compare (data, tokens per step, precision…), and
    one row of results each.
    """
    with db.read() as tx:
        return JsonResponse(comparison.compare(tx, _runs(tx, run)))


@router.get(
    "/runs/{run_id}/metrics.csv", response_class=Response, summary="All points as CSV",
    responses={200: {"content": {"text/csv": {"example": "step,train/loss,val/loss\n0,,8.31\n1,8.30,\n"}}}, **problems(NotFound, Invalid)},
)  # fmt: skip
def export(
    run_id: RunId,
    db: Db,
    key: Annotated[list[str] | None, Query(max_length=MOST_KEYS, description="Only these.")] = None,
) -> Response:
    """Every point, nothing left out: a row a step, a column a metric. Streamed; any length costs the same memory."""
    with db.read() as tx:
        number = runs.get(tx, run_id).id
        last = {name: summary.last_step for name, summary in series.summaries(tx.raw, number).items()}
    keys = list(last) if key is None else [one for one in dict.fromkeys(key) if one in last]
    headers = {"Content-Disposition": f'attachment; filename="{ids.show("run", number)}.csv"'}
    end = max((last[one] for one in keys), default=-1)
    return StreamingResponse(_rows(db, number, keys, end), headers=headers, media_type="text/csv; charset=utf-8")


def _rows(db: Database, run_id: int, keys: list[str], last: int) -> Iterator[str]:
    yield _line(["step", *keys])
    lo, window = 0, WINDOW
    while lo <= last:
        hi = min(last, lo + window - 1)
        with db.read() as tx:
            columns = [series.read(tx.raw, run_id, key, lo, hi) for key in keys]
        table: dict[int, list[str]] = {}
        for index, points in enumerate(columns):
            for step, value in zip(points.step.tolist(), points.value.tolist(), strict=True):
                table.setdefault(step, [""] * len(keys))[index] = _number(value)
        if table:
            yield "".join(_line([str(step), *table[step]]) for step in sorted(table))
        window = WINDOW if table else window * 2
        lo = hi + 1


def _number(value: float) -> str:
    return repr(value) if value - value == 0 else messages.name_of(value)


def _line(cells: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
