"""The one gate in front of every route. What is not on its short public list needs a token or a signed-in browser.

In this order: request id, Host, body size, who is asking, where an unsafe request comes from, what the asker's
scope covers; around it all the security headers. Pure ASGI, so that streams pass through untouched.
"""

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Forbidden, InternalError, PlateauError, TooLarge, Unauthorized, UnsupportedMedia
from app.security import headers as security_headers
from app.security.limits import BodyMeter, body_limit
from app.security.origins import check_host, check_origin
from app.security.sessions import Sessions, cookie_of
from app.security.tokens import Identity, Keyring

PUBLIC = ("/healthz", "/readyz", "/login")
PUBLIC_BELOW = ("/static/", "/share/")
WORKER_BELOW = ("/api/v1/jobs/", "/api/v1/artifacts/")

Answer = Callable[[Request, PlateauError], Awaitable[Response]]
log = structlog.get_logger("plateau.gate")


def is_public(path: str) -> bool:
    return path in PUBLIC or (path.startswith(PUBLIC_BELOW) and ".." not in path)


def is_api(path: str) -> bool:
    return path.startswith("/api/") or path == "/api"


class Gate:
    """`answer` turns an error into problem+json or a page, whichever fits the path."""

    def __init__(
        self, app: ASGIApp, *, hosts: frozenset[str], keyring: Keyring, sessions: Sessions, answer: Answer
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._keyring = keyring
        self._sessions = sessions
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no WebSocket route exists: nothing to open
            await send({"type": "websocket.close", "code": 1008})
            return
        await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        request_id, nonce = secrets.token_hex(8), security_headers.make_nonce()
        scope.setdefault("state", {}).update(request_id=request_id, nonce=nonce, identity=None)
        meter = BodyMeter(receive, body_limit(scope["method"], scope["path"]))
        status = 0

        async def guarded_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                fields = security_headers.harden(list(message["headers"]), nonce=nonce, request_id=request_id)
                message = {**message, "headers": fields}
            await send(message)

        async def uncut_send(message: Message) -> None:
            if not meter.exceeded or status:  # a route may have turned the meter's error into its own
                await guarded_send(message)

        request = Request(scope, receive)
        try:
            refusal = await self._refusal(scope)
            if refusal is not None:
                await refusal(scope, receive, guarded_send)
                return
            await self._app(scope, meter, uncut_send)
            if meter.exceeded and not status:
                raise meter.error()
        except ClientDisconnect:
            return
        except PlateauError as error:
            if status:
                raise
            response = await self._answer(request, error)
            await response(scope, receive, guarded_send)
        except Exception:  # the last place before the client: it gets an id, the log gets the traceback
            log.exception("unexpected error", request_id=request_id, method=scope["method"], path=scope["path"])
            if status:
                raise
            response = await self._answer(request, InternalError(f"Look for {request_id} in the server's log."))
            await response(scope, receive, guarded_send)
        finally:
            took_ms = round((time.perf_counter() - began) * 1000, 1)
            log.debug("request", request_id=request_id, method=scope["method"], path=scope["path"], status=status, took_ms=took_ms)  # fmt: skip

    async def _refusal(self, scope: Scope) -> Response | None:
        """Raises what is wrong with the request, or says where to sign in; None lets it through."""
        method, path, fields = scope["method"], scope["path"], _fields(scope["headers"])
        check_host(scope["headers"], self._hosts)
        _check_body(fields, body_limit(method, path))
        if is_public(path):
            check_origin(method, fields, by_cookie=True)
            return None
        identity = await self._identify(fields)
        scope["state"]["identity"] = identity
        if identity is None:
            if is_api(path):
                raise Unauthorized("Send 'Authorization: Bearer <token>'; `plateau link` prints a sign-in link.")
            back = path + ("?" + scope["query_string"].decode("latin-1") if scope["query_string"] else "")
            target = f"/login?next={quote(back, safe='/')}" if method in ("GET", "HEAD") and path != "/" else "/login"
            return RedirectResponse(target, 303)
        check_origin(method, fields, by_cookie=identity.token_id is None)
        if identity.scope == "worker" and not path.startswith(WORKER_BELOW):
            raise Forbidden("A worker's token may claim jobs and move artifacts, nothing else.")
        return None

    async def _identify(self, fields: Mapping[str, str]) -> Identity | None:
        """Who sends this. With an Authorization header the cookie does not count."""
        authorization = fields.get("authorization")
        if authorization is not None:
            scheme, _, secret = authorization.partition(" ")
            if scheme.lower() != "bearer" or not secret:
                raise Unauthorized("The Authorization header must read 'Bearer <token>'.")
            secret = secret.strip()
            found = self._keyring.remembered(secret) or await run_in_threadpool(self._keyring.verify, secret)
            if found is None:
                raise Unauthorized("This token is unknown, expired or revoked.")
            self._keyring.note_use(found)
            return found
        cookie = cookie_of(fields.get("cookie", ""))
        if cookie and (self._sessions.remembered(cookie) or await run_in_threadpool(self._sessions.verify, cookie)):
            return Identity("api")
        return None


def _fields(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """By lower-case name; of repeated ones the first, as the framework reads them."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(headers)}


def _check_body(fields: Mapping[str, str], limit: int) -> None:
    length = fields.get("content-length")
    if length is not None and length.isdecimal() and int(length[:20]) > limit:
        raise TooLarge(f"At most {limit:,} bytes are taken here.")
    if fields.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
        raise UnsupportedMedia("Send the body as it is, without Content-Encoding.")
