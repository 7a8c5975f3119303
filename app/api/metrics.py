"""Metrics: curves as a chart needs them, whole series as CSV, runs side by side."""

import hashlib
from typing import Annotated, Any, NotRequired

from fastapi import Query, Request
from sqlalchemy import select
from starlette.responses import Response, StreamingResponse
from typing_extensions import TypedDict

from app import export, figures, interactive
from app.api.body import JsonResponse
from app.api.deps import Db, RunId
from app.api.problems import problems
from app.axes import Axis
from app.contract import ids
from app.contract.metrics import KEY
from app.db import Database, Tx
from app.errors import FieldError, Invalid, NotFound
from app.routing import api_router
from app.tables import Run

router = api_router(tag="metrics")

MOST_RUNS = 100
MOST_KEYS = 50


class Means(TypedDict):
    step: list[int]
    y: list[float]


class Curve(TypedDict):
    step: list[int]
    x: NotRequired[list[float | None]]  #: on the axis of steps it is `step` itself
    y: list[float | None]
    total: int
    merged: bool
    non_finite: list[dict[str, Any]]
    mean: NotRequired[Means]


class Chart(TypedDict):
    x: str
    cursor: int
    runs: dict[str, dict[str, Curve]]


Runs = Annotated[
    list[str], Query(min_length=1, max_length=MOST_RUNS, description="One or more runs.", examples=[["r-0001"]])
]
XAxis = Annotated[
    Axis,
    Query(
        description="The x axis. wall_s: seconds of training since the first step. clock: Unix time. "
        "epochs: tokens over the dataset's training tokens."
    ),
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
    x: XAxis = "step",
    lo: Bound = None,
    hi: Bound = None,
    width: Annotated[int, Query(ge=50, le=4000, description="About so many points a curve are answered.")] = 1000,
    mean: Annotated[
        list[str] | None,
        Query(max_length=MOST_KEYS, description="Keys whose merged curves also come with the means of their buckets."),
    ] = None,
) -> Response:
    """Down-sampled so that no spike is lost: smallest and largest value of every bucket, first and last point, every
    value that is not finite (null in `y`, named in `non_finite`). `x` is there on every axis but that of steps. `merged` says whether points were left out, `total`
    how many the window holds; give two points a pixel, and each spike has a pixel of its own.
    `cursor` is where a stream goes on (`/stream?since=`). Answers 304 to a matching If-None-Match.
    """
    wrong = [FieldError("/query/key", f"{one[:60]!r} is not a metric key") for one in key if not is_key(one)]
    if lo is not None and hi is not None and hi < lo:
        wrong.append(FieldError("/query/hi", f"{hi:g} lies before lo = {lo:g}; give the smaller one as lo"))
    if wrong:
        raise Invalid(wrong)
    with db.read() as tx:
        shown = runs_of(tx, run)
        etag = _etag(request.url.query, shown)
        headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        answer = figures.chart(tx, [one.id for one in shown], key, x, lo, hi, width, mean or ())
    return JsonResponse(answer, headers=headers)


def is_key(key: str) -> bool:
    """A metric, or all below a section: rms/."""
    return len(key) <= 200 and KEY.fullmatch(key + "x" if key.endswith("/") else key) is not None


def runs_of(tx: Tx, wanted: list[str]) -> list[Run]:
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


def _file(
    db: Database, wanted: list[str], key: list[str] | None, form: export.Format, *, several: bool
) -> StreamingResponse:
    """All points of these runs; `several`: with a first column that names the run."""
    if wrong := [FieldError("/query/key", f"{one[:60]!r} is not a metric key") for one in key or () if not is_key(one)]:
        raise Invalid(wrong)
    with db.read() as tx:
        numbers = [run.id for run in runs_of(tx, wanted)]
        sources = [export.source(tx, number, figures.expanded(tx, number, key or ("",))) for number in numbers]
    name = "metrics" if several else ids.show("run", numbers[0])
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form}"'}
    content = export.stream(db, sources, form, name_runs=several)
    return StreamingResponse(content, headers=headers, media_type=export.MEDIA_TYPES[form])


Keys = Annotated[list[str] | None, Query(max_length=MOST_KEYS, description="Only these; one that ends in / stands for all below it.")]  # fmt: skip
PLAIN: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {"example": "step,train/loss,val/loss\n0,,8.31\n1,8.30,\n"}}}
}
PARQUET: dict[int | str, dict[str, Any]] = {200: {"content": {"application/vnd.apache.parquet": {}}}}
ARROW: dict[int | str, dict[str, Any]] = {200: {"content": {"application/vnd.apache.arrow.stream": {}}}}
WRONG = problems(NotFound, Invalid)


@router.get(
    "/metrics.csv", response_class=Response, summary="All points of several runs as CSV", responses={**PLAIN, **WRONG}
)
def several_as_csv(run: Runs, db: Db, key: Keys = None) -> Response:
    """As a run's own CSV, one run after the other, with the run's id in the first column."""
    return _file(db, run, key, "csv", several=True)


@router.get(
    "/metrics.parquet",
    response_class=Response,
    summary="All points of several runs as Parquet",
    responses={**PARQUET, **WRONG},
)
def several_as_parquet(run: Runs, db: Db, key: Keys = None) -> Response:
    """As the CSV, typed: `run` text, `step` int64, each metric float64."""
    return _file(db, run, key, "parquet", several=True)


@router.get(
    "/metrics.html",
    response_class=Response,
    summary="Curves as an interactive file",
    responses={200: {"content": {"text/html": {}}}, **WRONG},
)
def several_as_html(run: Runs, db: Db, key: Keys = None, x: XAxis = "step") -> Response:
    """One HTML file to send or to keep: it opens in any browser, without a server or a network, and can be zoomed and read value by value.
    A chart for each key (without one: the losses), all on one x axis, with about 4,000 points a curve that keep every spike."""
    wanted = key or ["train/loss", "val/loss"]
    if wrong := [FieldError("/query/key", f"{one[:60]!r} is not a metric key") for one in wanted if not is_key(one)]:
        raise Invalid(wrong)
    with db.read() as tx:
        shown = runs_of(tx, run)
        curves = figures.chart(tx, [one.id for one in shown], wanted, x, None, None, 4000)["runs"]
        names = {ids.show("run", one.id): one.name for one in shown}
    name = next(iter(names)) if len(names) == 1 else "metrics"
    headers = {"Content-Disposition": f'attachment; filename="{name}.html"'}
    return Response(interactive.page(curves, names, x), headers=headers, media_type="text/html")


@router.get(
    "/runs/{run_id}/metrics.csv", response_class=Response, summary="All points as CSV", responses={**PLAIN, **WRONG}
)
def as_csv(run_id: RunId, db: Db, key: Keys = None) -> Response:
    """Every point, nothing left out: a row a step, a column a metric. Streamed; any length costs the same memory."""
    return _file(db, [run_id], key, "csv", several=False)


@router.get(
    "/runs/{run_id}/metrics.parquet",
    response_class=Response,
    summary="All points as Parquet",
    responses={**PARQUET, **WRONG},
)
def as_parquet(run_id: RunId, db: Db, key: Keys = None) -> Response:
    """As the CSV, typed: `step` int64, each metric float64, null where it has no point."""
    return _file(db, [run_id], key, "parquet", several=False)


@router.get(
    "/runs/{run_id}/metrics.arrow",
    response_class=Response,
    summary="All points as an Arrow stream",
    responses={**ARROW, **WRONG},
)
def as_arrow(run_id: RunId, db: Db, key: Keys = None) -> Response:
    """As the Parquet file, readable batch by batch while it arrives."""
    return _file(db, [run_id], key, "arrow", several=False)
