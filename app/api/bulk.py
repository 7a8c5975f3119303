"""Many runs at once, by their ids or by the filter that shows them; and one run into and out of the archive."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import Response
from typing_extensions import TypedDict

from app import filing, runs, shapes
from app.api.body import Json, JsonResponse
from app.api.deps import Db, Now, RunId
from app.api.problems import problems
from app.contract import ids
from app.contract.setting import refuse
from app.contract.states import RunState
from app.db import Tx
from app.errors import Conflict, Invalid, NotFound
from app.filing import Action
from app.routing import api_router
from app.run_query import Place, RunQuery
from app.shapes import RunJson

router = api_router("/runs", tag="runs")


class Bulk(BaseModel):
    """What to do to which runs: `runs`, or all that `q`, `state` and `place` list."""

    model_config = ConfigDict(extra="forbid")
    action: Action
    runs: list[Annotated[str, Field(max_length=40)]] | None = Field(None, max_length=filing.MOST_RUNS)
    q: str | None = Field(None, max_length=500, description="As in the list; empty: every run.")
    state: list[RunState] = Field(default_factory=list, max_length=20)
    place: Place = "list"
    tag: str = Field("", max_length=200, description="For tag and untag.")

    @model_validator(mode="after")
    def _which(self) -> "Bulk":
        if (self.runs is None) == (self.q is None):
            raise refuse("which_runs", "Give either runs, a list of ids, or q, a filter.")
        return self


class PassedJson(TypedDict):
    run: str
    why: str


class FiledJson(TypedDict):
    changed: list[str]
    passed_over: list[PassedJson]


@router.post(
    "/bulk", response_model=FiledJson, summary="Act on many runs", responses=problems(Invalid),
    openapi_extra={"x-body": {"action": "tag", "q": "wd=0.1", "tag": "study"}},
)  # fmt: skip
def bulk(body: Annotated[Bulk, Json(Bulk)], db: Db, now: Now) -> Response:
    """Stop, archive, unarchive, trash, restore, tag or untag. What cannot be done to a run passes it over, with the reason;
    the opposite action on `changed` undoes it (a stop cannot be undone)."""

    strangers: list[filing.Passed] = []
    if body.runs is None:
        states = tuple(one.value for one in body.state)
        with db.read() as tx:
            chosen = filing.matching(tx, RunQuery(text=body.q or "", states=states, place=body.place))
    else:
        numbers = {text_id: ids.parse("run", text_id) for text_id in body.runs}
        chosen = [number for number in numbers.values() if number is not None]
        strangers = [filing.Passed(one, "there is no such run") for one, number in numbers.items() if number is None]
    filed = filing.act(db, chosen, body.action, tag=body.tag, now=now)
    passed: list[PassedJson] = [{"run": one.run, "why": one.why} for one in (*strangers, *filed.passed)]
    shown: FiledJson = {"changed": filed.changed, "passed_over": passed}
    return JsonResponse(shown)


def _one(db: Any, run_id: str, act: Any, now: float) -> Response:
    def work(tx: Tx) -> RunJson:
        run = runs.get(tx, run_id)
        act(tx, run, now=now)
        tx.session.flush()
        return shapes.run(tx, run)

    return JsonResponse(db.write(work))


@router.post(
    "/{run_id}/archive", response_model=RunJson, summary="Put into the archive", responses=problems(NotFound, Conflict)
)
def archive(run_id: RunId, db: Db, now: Now) -> Response:
    """Out of the list, with everything kept: it is read and compared as before."""
    return _one(db, run_id, filing.archive, now)


@router.post(
    "/{run_id}/unarchive",
    response_model=RunJson,
    summary="Back from the archive",
    responses=problems(NotFound, Conflict),
)
def unarchive(run_id: RunId, db: Db, now: Now) -> Response:
    """Back on the list."""
    return _one(db, run_id, filing.unarchive, now)
