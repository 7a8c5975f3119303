"""The worker protocol: claim a job, post batches, report the end. Version 1 of app/contract/protocol.py."""

import re
from typing import Annotated, Any

import orjson
from fastapi import Request
from starlette.datastructures import State
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app import ingest, lifecycle
from app.api.body import Json, JsonResponse, check_depth
from app.api.deps import Config, Db, JobId, Now
from app.api.problems import problems
from app.contract import ids
from app.contract.protocol import BATCH_MAX_BYTES, Ack, Claim, ClaimRequest, Finish
from app.db import Database
from app.errors import Fenced, Invalid, NotFound, Overloaded, StorageFull, TooLarge, UnsupportedProtocol
from app.routing import api_router
from app.settings import Settings

router = api_router("/jobs", tag="worker protocol")


def _number(job_id: str) -> int:
    number = ids.parse("job", job_id)
    if number is None:
        raise NotFound(f"There is no job {job_id[:40]}.")
    return number


@router.post(
    "/claim", response_model=Claim, summary="Claim a job",
    responses={204: {"description": "Nothing to do; ask again in a moment."}, **problems(Invalid, UnsupportedProtocol)},
)  # fmt: skip
def claim(request: Annotated[ClaimRequest, Json(ClaimRequest)], db: Db, config: Config, now: Now) -> Response:
    """The oldest job this worker may take. The same `idempotency_key` within the lease gives the same claim, so
    that a lost answer strands nothing.
    """
    found = db.write(lambda tx: lifecycle.claim(tx, request, now=now, settings=config))
    return Response(status_code=204) if found is None else JsonResponse(found.model_dump(mode="json"))


_BATCH = {
    "claim_id": "6f0e…", "attempt": 1, "seq": 7,
    "columns": {"train/loss": {"step": [41, 42], "value": [3.21, "NaN"]}},
    "log": [{"at": 1760000000.0, "level": "info", "text": "step 42"}], "events": [], "telemetry": {},
}  # fmt: skip


@router.post(
    "/{job_id}/batches", response_model=Ack, summary="Post a batch",
    responses=problems(NotFound, Fenced, Invalid, TooLarge, Overloaded, StorageFull),
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}, "example": _BATCH}}}},
)  # fmt: skip
async def batch(job_id: JobId, request: Request) -> Response:
    """Points as columns, log lines, events, telemetry; at most 1 MiB and 10,000 points. An empty batch every quarter
    of the lease is the heartbeat. Answered once it is on disk. The same `seq` again gives the same answer; a gap
    is 409 with `acked_seq`; a stale claim is 409 of type fenced. Non-finite values travel as "NaN", "Infinity",
    "-Infinity".
    """
    # For the OpenAPI document, and for ids that are none: BatchLane takes the others.
    return JsonResponse(await _acknowledged(request.app.state, job_id, await request.body()))


async def _acknowledged(state: State, job_id: str, body: bytes) -> dict[str, Any]:
    """The answer to a batch, once that is on disk."""
    number = _number(job_id)
    if len(body) > BATCH_MAX_BYTES:
        raise TooLarge(f"A batch has at most {BATCH_MAX_BYTES:,} bytes.")
    parsed = ingest.parse_batch(body)
    check_depth([parsed.telemetry, [event.data for event in parsed.events]])
    db: Database = state.db
    settings: Settings = state.settings
    now = float(state.clock())
    ack = await db.written(lambda tx: ingest.accept(tx, number, parsed, now=now, lease_s=settings.lease_s))
    return {"acked_seq": ack.acked_seq, "lease_s": ack.lease_s, "commands": ack.commands}


class BatchLane:
    """Takes batches to their route past the framework's search for one, which costs more than all that a batch does.

    ASGI, for the inside of the gate, which checks who asks and answers for errors. Everything else goes to `app`.
    """

    _PATH = re.compile(r"/api/v1/jobs/([^/]{1,40})/batches")

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._PATH.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        answer = orjson.dumps(await _acknowledged(scope["app"].state, found[1], body))
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


@router.post(
    "/{job_id}/finish", status_code=204, response_class=Response, summary="Report the end",
    responses=problems(NotFound, Fenced, Invalid),
)  # fmt: skip
def finish(job_id: JobId, finish: Annotated[Finish, Json(Finish)], db: Db, now: Now) -> Response:
    """Accepted only when everything up to `final_seq` has arrived, so that finished means a complete curve."""
    number = _number(job_id)
    db.write(lambda tx: lifecycle.finish(tx, number, finish, now=now))
    return Response(status_code=204)
