"""Two probes without content: is the process alive, can it do its work."""

import shutil
from concurrent.futures import TimeoutError as TooLate

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from app.db import Database
from app.errors import PlateauError

router = APIRouter(include_in_schema=False)

LEAST_FREE = 0.01
BEAT_S = 30.0
PATIENCE_S = 2.0


@router.get("/healthz")
async def alive() -> Response:
    """The process answers; the database is not asked."""
    return PlainTextResponse("ok\n")


@router.get("/readyz")
def ready(request: Request) -> Response:
    """The database takes a write (its schema was checked when it was opened), there is room on the disk, and the
    sweeper has come round.
    """
    state = request.app.state
    db: Database = state.db
    disk = shutil.disk_usage(state.settings.home)
    if disk.free < LEAST_FREE * disk.total:
        return _not_ready("the disk is full")
    if abs(state.clock() - state.sweeper.beat) > BEAT_S:
        return _not_ready("the sweeper has stopped")
    try:
        db.submit(lambda tx: None).result(PATIENCE_S)
    except (TooLate, PlateauError):
        return _not_ready("the database takes no writes")
    return PlainTextResponse("ready\n")


def _not_ready(why: str) -> Response:
    return PlainTextResponse(f"{why}\n", 503, headers={"Retry-After": "5"})
