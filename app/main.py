"""Puts the web application together: the gate, the API, the stream, the pages, and one handler for all errors."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from app import diagnoses, feed, foreign_runs, lifecycle, messages, pages, stream
from app.alerts import addresses
from app.alerts.sender import Sender
from app.api import (
    alerts,
    artifacts,
    bulk,
    checkpoints,
    comparing,
    datasets,
    decay,
    diagnosis,
    elsewhere,
    evaluations,
    exchange,
    forks,
    health,
    jobs,
    launching,
    metrics,
    ready_made,
    reference,
    run_log,
    runs,
    samples,
    sweeps,
    tokens,
    views,
    workers,
)
from app.db import Database, Tx
from app.errors import (
    BadRequest,
    Forbidden,
    MethodNotAllowed,
    NotFound,
    PlateauError,
    beyond_storage,
    from_request,
)
from app.live import Hub
from app.pages import rendering
from app.routing import enter
from app.security import sessions, signin
from app.security.gate import Gate, is_api
from app.security.limits import FailureLimiter
from app.security.origins import allowed_hosts
from app.security.sessions import Sessions
from app.security.tokens import Keyring, purge_codes
from app.settings import Settings
from app.sweeper import Sweeper

NOUNS = (
    runs,
    decay,
    bulk,
    run_log,
    diagnosis,
    forks,
    samples,
    sweeps,
    ready_made,
    metrics,
    comparing,
    evaluations,
    views,
    launching,
    datasets,
    workers,
    checkpoints,
    exchange,
    elsewhere,
    alerts,
    jobs,
    artifacts,
    tokens,
)


class _Plateau(FastAPI):
    """The gate stands in front of everything, in the place of the framework's own answer to unexpected errors; behind it
    batches turn off first."""

    def build_middleware_stack(self) -> ASGIApp:
        state = self.state
        outermost = super().build_middleware_stack()
        assert isinstance(outermost, ServerErrorMiddleware)
        return Gate(
            jobs.BatchLane(outermost.app),
            hosts=allowed_hosts(state.settings),
            keyring=state.keyring,
            sessions=state.sessions,
            answer=answer_error,
        )


def create_app(settings: Settings, db: Database, *, clock: Callable[[], float] = time.time) -> FastAPI:
    """Everything it uses is handed in; the caller closes the database after the app's lifespan has ended."""
    hub = Hub(db, messages.compose)
    started_at = clock()

    def sweep(now: float) -> None:
        db.write(lambda tx: lifecycle.sweep(tx, now=now, started_at=started_at, settings=settings))

    def tidy(now: float) -> None:
        def forget(tx: Tx) -> None:
            feed.prune(tx)
            sessions.purge(tx, now=now)
            purge_codes(tx, now=now)

        db.write(forget)

    sweeper = Sweeper(clock, sweep=sweep, tidy=tidy)
    watch = diagnoses.Watch(db)
    diagnostician = Sweeper(clock, sweep=watch.look, every_s=diagnoses.LOOK_S, name="plateau-diagnoses")

    sender = Sender(
        db, clock, base_url=f"http://{settings.host}:{settings.port}", allowed=addresses.hosts(settings.alert_hosts)
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(db.write, lambda tx: foreign_runs.interrupted(tx, now=clock()))
        await hub.start()
        sweeper.start()
        diagnostician.start()
        sender.start()
        yield
        await hub.stop()
        await asyncio.to_thread(sender.stop)
        await asyncio.to_thread(app.state.behind.stop)
        await asyncio.to_thread(diagnostician.stop)
        await asyncio.to_thread(sweeper.stop)

    app = _Plateau(
        title="Plateau", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # it would look into the environment at every request
    )  # fmt: skip
    app.state.settings, app.state.db, app.state.clock = settings, db, clock
    app.state.hub, app.state.sweeper = hub, sweeper
    app.state.sender = sender
    app.state.behind = foreign_runs.Behind(db, clock)
    app.state.keyring, app.state.sessions = Keyring(db, clock), Sessions(db, clock)
    app.state.failures = FailureLimiter(clock)

    enter(app, (part.router for part in (*NOUNS, stream, health, reference, signin, pages)))
    pages.setup(app)
    app.add_api_route("/docs", docs, include_in_schema=False)
    reference.describe(app)

    app.add_exception_handler(PlateauError, _plateau_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _request_error)
    app.add_exception_handler(OverflowError, _overflow)
    return app


def docs(request: Request) -> Response:
    """The API's reference page, rendered from the OpenAPI document."""
    origin = f"{request.url.scheme}://{request.url.netloc}"
    groups = reference.outline(request.app.openapi(), origin)
    return rendering.page(
        request, "api.html", groups=groups, about=reference.prose(reference.ABOUT), schema_url=reference.URL
    )


async def answer_error(request: Request, error: PlateauError) -> Response:
    """problem+json under /api, a page elsewhere."""
    if not is_api(request.url.path):
        response = pages.render_error(request, error)
        response.status_code = error.status
        response.headers.update(error.headers)
        return response
    problem = error.problem(request.state.request_id)
    return Response(
        orjson.dumps(problem), error.status, headers=error.headers, media_type="application/problem+json"
    )  # fmt: skip


async def _plateau_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PlateauError)
    return await answer_error(request, error)


async def _http_error(request: Request, error: Exception) -> Response:
    """What the framework raises by itself: no such route, another method."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    match error.status_code:
        case 404:
            return await answer_error(request, NotFound(f"Nothing is at {request.url.path[:200]}.", headers=headers))
        case 405:
            allowed = headers.get("Allow") or headers.get("allow") or "another method"
            return await answer_error(request, MethodNotAllowed(f"It takes {allowed}.", headers=headers))
        case 403:
            return await answer_error(request, Forbidden(str(error.detail), headers=headers))
        case _:
            return await answer_error(request, BadRequest(str(error.detail), headers=headers))


async def _request_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return await answer_error(request, from_request(error.errors()))


async def _overflow(request: Request, _error: Exception) -> Response:
    return await answer_error(request, beyond_storage())
