"""Samples: text from a run's checkpoints, or from a run while it trains."""

from typing import Annotated

from fastapi import Path
from starlette.responses import Response
from typing_extensions import TypedDict

from app import runs, samples
from app.api.body import Json, JsonResponse
from app.api.deps import LONGEST_ID, Config, Db, Limit, Now, Offset, RunId
from app.api.problems import problems
from app.contract.sampling import Asked
from app.db import Tx
from app.errors import Conflict, Invalid, NotFound
from app.routing import api_router
from app.sample_json import SampleJson, sample

router = api_router("/runs/{run_id}/samples", tag="samples")
SampleId = Annotated[str, Path(max_length=LONGEST_ID, description="The sample's id.", examples=["s-0001"])]


class SampleList(TypedDict):
    samples: list[SampleJson]
    total: int
    offset: int
    limit: int


@router.post(
    "", status_code=201, response_model=SampleJson, summary="Write text", responses=problems(NotFound, Conflict, Invalid),
    openapi_extra={"x-body": {"at": "best", "prompt": "def ", "temperature": 0.8, "top_k": 200, "samples": 3, "tokens": 200}},
)  # fmt: skip
def ask(run_id: RunId, asked: Annotated[Asked, Json(Asked)], db: Db, config: Config, now: Now) -> Response:
    """Queues the work and answers at once. Follow it by the stream, whose `sample` messages hold the texts as far as
    they are written, or by asking again. `at` says which weights write: `last` (the newest checkpoint), `best`, a
    step, a checkpoint's id, or `now` for a run that trains. Equal settings over equal weights give equal text.
    """

    def write(tx: Tx) -> SampleJson:
        return sample(samples.ask(tx, runs.get(tx, run_id), asked, now=now, quiet_s=config.lease_s))

    return JsonResponse(db.write(write), 201)


@router.get("", response_model=SampleList, summary="List samples", responses=problems(NotFound))
def listing(run_id: RunId, db: Db, offset: Offset = 0, limit: Limit = 50) -> Response:
    """Newest first, with their texts. Those with `checkpoint` null were written by the run itself, at `step`."""
    with db.read() as tx:
        run = runs.get(tx, run_id)
        found = samples.listing(tx, run.id, offset=offset, limit=limit)
        shown: SampleList = {
            "samples": [sample(row) for row in found],
            "total": samples.count(tx, run.id),
            "offset": offset,
            "limit": limit,
        }
    return JsonResponse(shown)


@router.get("/{sample_id}", response_model=SampleJson, summary="Look at a sample", responses=problems(NotFound))
def look(run_id: RunId, sample_id: SampleId, db: Db) -> Response:
    """Its settings, its state (queued, writing, done, failed, stopped) and its texts as far as they are written."""
    with db.read() as tx:
        return JsonResponse(sample(samples.get(tx, runs.get(tx, run_id).id, sample_id)))


@router.post(
    "/{sample_id}/stop", response_model=SampleJson, summary="Stop writing", responses=problems(NotFound, Conflict)
)
def stop(run_id: RunId, sample_id: SampleId, db: Db, now: Now) -> Response:
    """What is written stays."""

    def work(tx: Tx) -> SampleJson:
        one = samples.get(tx, runs.get(tx, run_id).id, sample_id)
        samples.stop(tx, one, now=now)
        tx.session.flush()
        return sample(one)

    return JsonResponse(db.write(work))
