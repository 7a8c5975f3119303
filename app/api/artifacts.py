"""Artifacts: files known by their SHA-256, sent in resumable pieces and fetched by ranges."""

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from typing_extensions import TypedDict

from app import artifacts, leftovers
from app.api.deps import Config, Db, Now, Sha256Path
from app.api.problems import problems
from app.artifacts import Progress
from app.db import Database
from app.errors import Conflict, FieldError, Invalid, NotFound, RangeNotSatisfiable, StorageFull
from app.routing import api_router

router = api_router("/artifacts", tag="artifacts")

PIECE = 4 << 20
"""Bytes gathered before they are written and fsynced; what an upload costs in memory."""
LARGEST = 1 << 40

_CONTENT_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})")
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
Kind = Literal["upload", "shard", "tokenizer", "checkpoint"]
KindOf = Annotated[Kind, Query(description="What the file is.")]
Bytes = Annotated[int | None, Query(ge=0, le=LARGEST, description="The whole file's size.")]


class LeftoversJson(TypedDict):
    """Files of the server's store that nothing referred to."""

    files: int
    bytes: int


@router.post("/clean", response_model=LeftoversJson, summary="Delete what nothing refers to")
def clean(
    db: Db,
    config: Config,
    now: Now,
    older_than_h: Annotated[float, Query(ge=0, le=87600, description="Hours; younger files are left.")] = leftovers.KEPT_S / 3600,
) -> LeftoversJson:  # fmt: skip
    """Uploads that never became a dataset, pieces of uploads that broke off, token files and checkpoints whose dataset or
    run is gone: deleted from the server's disk, with what that gave back.
    """
    found = leftovers.clean(db, config.store, now=now, older_than_s=older_than_h * 3600)
    return {"files": found.files, "bytes": found.bytes}


@router.head(
    "/{sha256}",
    summary="How much is here",
    responses={202: {"description": "A part; `Upload-Offset` says how much."}, **problems(NotFound)},
)
def offset(
    sha256: Sha256Path, db: Db, config: Config, now: Now, bytes: Bytes = None, kind: KindOf = "upload"
) -> Response:
    """200 when the file is complete, 202 with `Upload-Offset` when a part has arrived, 404 when nothing has.
    A hard link that a worker on the same disk left in the store's incoming folder is checked and adopted.
    """
    total = bytes
    if total is None:
        with db.read() as tx:
            total = artifacts.on_server(tx.raw, sha256)
        if total is None:
            raise NotFound("The server does not hold this file.")
    progress = artifacts.begin(config.store, sha256, total)
    if progress.complete:
        db.write(lambda tx: artifacts.complete(tx, config.store, sha256, kind=kind, now=now))
    elif progress.offset == 0:
        raise NotFound("Nothing of this file has arrived.")
    return _received(sha256, progress)


@router.put(
    "/{sha256}", status_code=200, response_class=Response, summary="Send a file, or the next piece of it",
    responses={202: {"description": "Taken; `Upload-Offset` says where to go on."}, **problems(Invalid, Conflict, StorageFull)},
    openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
)  # fmt: skip
async def send(
    sha256: Sha256Path, request: Request, kind: KindOf, bytes: Bytes = None
) -> Response:  # fmt: skip
    """With `Content-Range: bytes first-last/total`, or without it for a whole file. Pieces go in order; a piece that
    starts elsewhere is 409 with the `offset` to go on from. The last piece is followed by the check of the hash.
    """
    state = request.app.state
    db: Database = state.db
    store, now = state.settings.store, float(state.clock())
    start, end, total = _announced(request, bytes)
    progress = await run_in_threadpool(artifacts.begin, store, sha256, total)
    pending = bytearray()
    position = start
    if not progress.complete:
        async for chunk in request.stream():
            pending += chunk
            if position + len(pending) > end:
                raise Invalid([FieldError("/Content-Range", f"announces {end - start} bytes, but more have come")])
            if len(pending) >= PIECE:
                progress = await _append(state.settings.store, sha256, position, total, pending)
                position += len(pending)
                pending.clear()
        if pending or total == 0:
            progress = await _append(store, sha256, position, total, pending)
            position += len(pending)
        if position != end and not progress.complete:
            raise Invalid(
                [FieldError("/Content-Range", f"announces {end - start} bytes, {position - start} have come")]
            )
    if progress.complete:
        await run_in_threadpool(
            db.write, lambda tx: artifacts.complete(tx, store, sha256, kind=kind, now=now)
        )  # fmt: skip
    return _received(sha256, progress)


async def _append(store: Path, sha256: str, start: int, total: int, data: bytearray) -> Progress:
    piece = bytes(data)
    return await run_in_threadpool(lambda: artifacts.append_range(store, sha256, start=start, total=total, data=piece))


def _announced(request: Request, total: int | None) -> tuple[int, int, int]:
    """First byte, end (exclusive) and the whole file's size."""
    given = request.headers.get("content-range")
    if given is None:
        length = request.headers.get("content-length", "")
        if not length.isdecimal() or len(length) > 15:
            raise Invalid([FieldError("/Content-Range", "is missing, and so is Content-Length")])
        size = int(length)
        if total is not None and total != size:
            raise Invalid([FieldError("/Content-Range", f"is missing, but the body is {size} of {total} bytes")])
        return 0, size, size
    match = _CONTENT_RANGE.fullmatch(given.strip())
    if match is None:
        raise Invalid([FieldError("/Content-Range", "must read 'bytes first-last/total'")])
    first, last, size = (int(part) for part in match.groups())
    if not first <= last < size <= LARGEST or (total is not None and total != size):
        raise Invalid([FieldError("/Content-Range", "does not fit the file's size")])
    return first, last + 1, size


def _received(sha256: str, progress: Progress) -> Response:
    headers = {"Upload-Offset": str(progress.offset)}
    if progress.complete:
        headers["ETag"] = f'"{sha256}"'
    return Response(status_code=200 if progress.complete else 202, headers=headers)


@router.get(
    "/{sha256}",
    response_class=Response,
    summary="Fetch a file",
    responses={206: {"description": "The range asked for."}, **problems(NotFound, RangeNotSatisfiable)},
)
def fetch(
    sha256: Sha256Path, request: Request, db: Db, config: Config,
    name: Annotated[str, Query(max_length=200, description="The name to save it under.")] = "",
) -> Response:  # fmt: skip
    """Whole, or one range (`Range: bytes=first-last`). Its ETag is its hash: what you have never changes."""
    with db.read() as tx:
        if artifacts.on_server(tx.raw, sha256) is None:
            raise NotFound("The server does not hold this file.")
    etag = f'"{sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name or sha256[:16], safe='')}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "private, no-cache",
    }
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    wanted = _RANGE.fullmatch(request.headers.get("range", ""))
    whole = wanted is None or request.headers.get("if-range", etag) != etag or wanted[0] == "bytes=-"
    first, end = (0, None) if whole or wanted is None else _bounds(wanted, config, sha256)
    found = artifacts.open_range(config.store, sha256, first, end)
    headers["Content-Length"] = str(found.end - found.start)
    if not whole:
        headers["Content-Range"] = f"bytes {found.start}-{found.end - 1}/{found.total}"
    return StreamingResponse(found.pieces, 200 if whole else 206, headers, "application/octet-stream")


def _bounds(wanted: re.Match[str], config: Config, sha256: str) -> tuple[int, int | None]:
    """First byte and end (exclusive) of 'bytes=a-b', 'bytes=a-' or 'bytes=-n'."""
    first, last = wanted[1], wanted[2]
    total = artifacts.path(config.store, sha256).stat().st_size
    if not first:
        return max(0, total - int(last)), None
    if last and int(last) < int(first):
        raise RangeNotSatisfiable(f"The file has {total} bytes.", headers={"Content-Range": f"bytes */{total}"})
    return int(first), int(last) + 1 if last else None
