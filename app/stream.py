"""One SSE stream a page: GET /api/v1/stream. Replays from the database, then follows what is committed.

A stream holds a cursor, never a database session: after each wake-up it takes what lies after the cursor,
writes it when the socket accepts it, and only then looks again. A slow reader costs its own cursor falling
behind, nothing else.
"""

import asyncio
from typing import Annotated

from fastapi import Header, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app import runs
from app.db import Database
from app.errors import FieldError, Invalid
from app.live import ALL, Hub, Place, Topic
from app.messages import encode
from app.routing import api_router

PING_S = 15.0
SEND_TIMEOUT_S = 30.0
RETRY_MS = 1000
MOST_RUNS = 100

router = api_router(tag="live")


@router.get(
    "/stream",
    summary="Follow runs live",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {"example": 'event: hello\ndata: {"cursor":812}\nid: 812\n\n'}}}},
)
async def stream(
    request: Request,
    run: Annotated[
        list[str] | None, Query(max_length=MOST_RUNS, description="Runs to follow; none: the states of all.")
    ] = None,
    since: Annotated[int | None, Query(ge=0, le=2**62, description="Cursor of what the page shows already.")] = None,
    last_event_id: Annotated[
        str | None, Header(max_length=40, description="Sent by browsers when they reconnect.")
    ] = None,
) -> Response:
    """Server-sent events: `hello` {cursor}, `points`, `truncate`, `state`, `log`, `event`, `sample` (texts as far as written), and `resync` when the
    page has missed more than can be replayed. `id:` is the server-wide event number: reconnect with
    Last-Event-ID (browsers do) or `since=` and nothing is missing. A comment comes every 15 s.
    """
    hub: Hub = request.app.state.hub
    topics = await run_in_threadpool(_topics, request.app.state.db, run) if run else (ALL,)
    return EventStream(hub, topics, _cursor(last_event_id, since))


def _topics(db: Database, run_ids: list[str]) -> tuple[Topic, ...]:
    with db.read() as tx:
        return tuple(dict.fromkeys(runs.get(tx, one).id for one in run_ids))


def _cursor(last_event_id: str | None, since: int | None) -> int | None:
    if not last_event_id:
        return since
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 19):
        raise Invalid([FieldError("/Last-Event-ID", "must be the number of the last event received")])
    return int(last_event_id)


class EventStream(Response):
    """Writes until the reader leaves, the server stops, or the socket accepts nothing for SEND_TIMEOUT_S."""

    def __init__(self, hub: Hub, topics: tuple[Topic, ...], cursor: int | None) -> None:
        super().__init__(
            media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        del self.headers["content-length"]
        self._hub = hub
        self._topics = topics
        self._cursor = cursor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._hub.watch(self._topics)
        writer = asyncio.ensure_future(self._write(send))
        gone = asyncio.ensure_future(_until_gone(receive))
        try:
            await asyncio.wait((writer, gone), return_when=asyncio.FIRST_COMPLETED)
            if writer.done():
                writer.result()
        finally:
            self._hub.unwatch(self._topics)
            for task in (writer, gone):
                task.cancel()
            await asyncio.gather(writer, gone, return_exceptions=True)

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

        async def write(body: bytes, more: bool = True) -> None:
            message = {"type": "http.response.body", "body": body, "more_body": more}
            await asyncio.wait_for(send(message), SEND_TIMEOUT_S)

        place = await self._catch_up(write_first := [f"retry: {RETRY_MS}\n\n".encode()], self._cursor)
        await write(b"".join(write_first))
        loop = asyncio.get_running_loop()
        last_write = loop.time()
        while not self._hub.closing:
            told = self._hub.after(place, self._topics)
            if told is None:
                chunks: list[bytes] = []
                place = await self._catch_up(chunks, place.cursor)
                body = b"".join(chunks)
            else:
                body, place = told[0] and told[0][:-1] + _id(told[1]), told[1]
            if body:
                await write(body)
                last_write = loop.time()
                continue
            wait_s = last_write + PING_S - loop.time()
            if wait_s <= 0:
                await write(b": still here\n" + _id(place))
                last_write = loop.time()
                continue
            await self._hub.news(wait_s)
        await write(b": the server is stopping\n\n", more=False)

    async def _catch_up(self, chunks: list[bytes], cursor: int | None) -> Place:
        replay = await self._hub.replay(cursor, self._topics)
        messages = encode("resync", {}) + b"\n" if replay.lost else replay.messages
        greeting = encode("hello", {"cursor": replay.place.cursor}) + b"\n"
        chunks.append((greeting + messages)[:-1] + _id(replay.place))
        return replay.place


def _id(place: Place) -> bytes:
    return f"id: {place.cursor}\n\n".encode()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
