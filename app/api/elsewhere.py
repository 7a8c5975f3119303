"""Logs of runs from elsewhere: import one, follow one, supply what nobody has told."""

from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app import foreign_runs, multipart, runs, shapes
from app.api.body import Json, JsonResponse, Reader, parse, read_json
from app.api.deps import Config, Db, Now, RunId
from app.api.problems import problems
from app.contract.elsewhere import FactsChange, LogImport, RunFacts
from app.db import Tx
from app.errors import Conflict, Invalid, NotFound, TooLarge
from app.foreign.log import NotALog
from app.routing import api_router
from app.shapes import RunJson
from app.tables import Run

router = api_router(tag="runs")
FIELDS = ("name", "config", "args")


class Sent(NamedTuple):
    asked: LogImport
    data: bytes | None  #: the log itself, where the body is it or has it as a part


class _AnyBody(Reader):
    """JSON; or the log itself as text or bytes, the rest in the query; or a form with a part `log`."""

    async def __call__(self, request: Request) -> Any:
        kind = request.headers.get("content-type", "")
        if (mark := multipart.boundary(kind)) is not None:
            return _form(multipart.parts(await request.body(), mark))
        if kind.partition(";")[0].strip().lower() in ("text/plain", "text/csv", "application/octet-stream"):
            given: dict[str, Any] = {key: value for key, value in request.query_params.items() if key in FIELDS}
            facts = {key: value for key, value in request.query_params.items() if key in RunFacts.model_fields}
            asked = parse(LogImport, given | {"facts": facts})
            assert isinstance(asked, LogImport)
            return Sent(asked, await request.body())
        read = parse(LogImport, await read_json(request))
        return Sent(read, None)


def _form(found: list[multipart.Part]) -> Sent:
    texts = {part.name: part.data.decode("utf-8", "replace") for part in found if part.name != "log"}
    log = next((part for part in found if part.name in ("log", "file")), None)
    facts = {key: texts[key] for key in RunFacts.model_fields if texts.get(key)}
    given: dict[str, Any] = {key: texts[key] for key in FIELDS if texts.get(key)}
    if log is not None and log.filename:
        given.setdefault("name", log.filename[:200])
    asked: BaseModel = parse(LogImport, given | {"facts": facts})
    assert isinstance(asked, LogImport)
    return Sent(asked, log.data if log else None)


@router.post(
    "/import", status_code=201, response_model=RunJson, summary="Import a log", responses=problems(Invalid, TooLarge, NotALog),
    openapi_extra={"x-body": {"text": "step 0: train loss 10.87, val loss 10.88", "args": "python train.py --max_iters=20000", "facts": {"train_tokens": 700_000_000}}},
)  # fmt: skip
async def take_in(sent: Annotated[Any, Depends(_AnyBody(LogImport))], request: Request, config: Config) -> Response:
    """nanoGPT's output of any version, llm.c's main.log, CSV, TensorBoard's event files and W&B's CSV become a run of
    source `imported`, with curves and a diagnosis. Instead of JSON the body may be the log itself (text/plain,
    text/csv or application/octet-stream, with name, config, args and facts in the query) or a form
    (multipart/form-data) with a part `log`. A file of more than 16 MiB is uploaded first (PUT /artifacts/{sha256}),
    at most 4 GiB; its run is `starting` while it is read.

    With `live` the run is external and the answer holds the claim with which a client posts what is new in the log.
    """
    state = request.app.state

    def work() -> RunJson | dict[str, Any]:
        number = foreign_runs.take_in(
            state.db, config.store, sent.asked, data=sent.data, clock=state.clock, behind=state.behind
        )
        with state.db.read() as tx:
            run = tx.session.get_one(Run, number)
            shown = shapes.run(tx, run)
            claim = foreign_runs.claim(tx, run, config.lease_s)
        return {**shown, "claim": claim} if claim else shown

    shown = await run_in_threadpool(work)
    return JsonResponse(shown, 201, headers={"Location": f"/api/v1/runs/{shown['id']}"})


@router.patch(
    "/runs/{run_id}/facts", response_model=RunJson, summary="Supply facts", responses=problems(NotFound, Invalid, Conflict),
    openapi_extra={"x-body": {"facts": {"train_tokens": 700_000_000, "device": "NVIDIA GeForce RTX 4070"}}},
)  # fmt: skip
def supply(run_id: RunId, change: Annotated[FactsChange, Json(FactsChange)], db: Db, now: Now) -> Response:
    """What neither the log nor its config told; `telemetry.imported.asks` names it. Only the fields given change, null
    takes one back. The diagnosis is made anew.
    """

    def work(tx: Tx) -> RunJson:
        run = runs.get(tx, run_id)
        foreign_runs.supply(tx, run, change, now=now)
        return shapes.run(tx, run)

    return JsonResponse(db.write(work))
