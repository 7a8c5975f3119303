"""Named views of the runs list."""

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response
from typing_extensions import TypedDict

from app import saved_views
from app.api.body import Json, JsonResponse
from app.api.deps import Db
from app.api.problems import problems
from app.db import Tx
from app.errors import Invalid, NotFound
from app.routing import api_router

router = api_router("/views", tag="runs")


class ViewJson(TypedDict):
    name: str
    query: str


class ViewList(TypedDict):
    views: list[ViewJson]


class View(BaseModel):
    """A name for an address of the runs list."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=200)
    query: str = Field(
        "", max_length=4000, description="What stands behind /runs? in the address: q, tab, place, sort, col, differs."
    )


@router.get("", response_model=ViewList, summary="List views of the runs list")
def listing(db: Db) -> Response:
    """By name."""
    with db.read() as tx:
        views: list[ViewJson] = [{"name": name, "query": query} for name, query in saved_views.listing(tx).items()]
    return JsonResponse({"views": views})


@router.post(
    "", status_code=201, response_model=ViewJson, summary="Save a view of the runs list", responses=problems(Invalid),
    openapi_extra={"x-body": {"name": "λ study", "query": "q=tag%3Astudy&sort=best_val"}},
)  # fmt: skip
def save(view: Annotated[View, Json(View)], db: Db) -> Response:
    """Instead of the view that had this name."""

    def work(tx: Tx) -> ViewJson:
        name = saved_views.save(tx, view.name, view.query)
        return {"name": name, "query": saved_views.listing(tx)[name]}

    return JsonResponse(db.write(work), 201)


@router.delete("", status_code=204, summary="Delete a view of the runs list", responses=problems(NotFound))
def delete(
    db: Db, name: Annotated[str, Query(max_length=200, description="As it was saved.", examples=["λ study"])]
) -> Response:
    """The runs it shows stay as they are."""
    if not db.write(lambda tx: saved_views.delete(tx, name)):
        raise NotFound(f"There is no view named {name[:60]!r}.")
    return Response(status_code=204)
