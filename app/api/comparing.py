"""Runs side by side: what differs and what that means, groups with their bands, settings against results."""

from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response

from app import comparison, grouping, landscape, runs
from app.api.body import JsonResponse
from app.api.deps import Db
from app.api.metrics import Runs, is_key, runs_of
from app.api.problems import problems
from app.axes import Axis
from app.errors import FieldError, Invalid, NotFound
from app.grouping import Band
from app.routing import api_router

router = api_router("/compare", tag="metrics")


@router.get("", summary="Compare runs", response_model=dict[str, Any], responses=problems(NotFound, Invalid))
def compare(db: Db, run: Runs) -> Response:
    """What differs in their configurations, what makes them hard to compare (data, tokens per step, precision…), and
    one row of results each.
    """
    with db.read() as tx:
        return JsonResponse(comparison.compare(tx, runs_of(tx, run)))


@router.get(
    "/groups", summary="Group runs by a setting", response_model=dict[str, Any], responses=problems(NotFound, Invalid)
)
def groups(
    db: Db,
    run: Runs,
    by: Annotated[
        str, Query(max_length=60, description="A setting, optim.weight_decay; empty: each run by itself.")
    ] = "",
    key: Annotated[str, Query(max_length=200, description="A metric.")] = "val/loss",
    x: Annotated[Axis, Query(description="The x axis.")] = "tokens",
    band: Annotated[
        Band, Query(description="ci95 of the mean (Student's t), its standard error, std of the runs, or their range.")
    ] = "ci95",
    minus: Annotated[
        str, Query(max_length=40, description="Each curve less this run's at the same x.", examples=["r-0001"])
    ] = "",
) -> Response:
    """The mean of each group's curves where all of its runs have points, with the band, and at the last such x all four
    bands in numbers. A group of one run has no band: one run says nothing about another.
    """
    if not is_key(key) or key.endswith("/"):
        raise Invalid([FieldError("/query/key", f"{key[:60]!r} is not a metric key")])
    with db.read() as tx:
        shown, reference = runs_of(tx, run), runs.get(tx, minus) if minus else None
        return JsonResponse(grouping.groups(tx, shown, by=by, key=key, axis=x, band=band, minus=reference))


@router.get(
    "/table", summary="Settings against results", response_model=dict[str, Any], responses=problems(NotFound, Invalid)
)
def table(db: Db, run: Runs) -> Response:
    """A row a run: the settings in which they differ and the newest value of every metric; `best/val_loss` is the best."""
    with db.read() as tx:
        return JsonResponse(landscape.table(tx, runs_of(tx, run)))
