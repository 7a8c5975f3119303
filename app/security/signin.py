"""Signing in: a one-time code becomes a session cookie; signing out forgets it."""

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from app import pages
from app.errors import PlateauError, TooMany, Unauthorized
from app.security import sessions, tokens
from app.security.limits import FailureLimiter

router = APIRouter(include_in_schema=False)
_CODE_CHARS = 200


@router.get("/login")
def login(request: Request, code: Annotated[str, Query(max_length=_CODE_CHARS)] = "", next: str = "") -> Response:
    """The sign-in page; with a code (the link that the server printed) straight through."""
    if code:
        return _sign_in(request, code, next)
    cookie = request.cookies.get(sessions.COOKIE)
    if cookie and request.app.state.sessions.verify(cookie):
        return RedirectResponse(local_path(next), 303)
    return pages.render_login(request, None)


@router.post("/login")
async def submit(request: Request, next: str = "") -> Response:
    """A pasted code, whole link or token."""
    fields = dict(parse_qsl((await request.body()).decode("utf-8", "replace"), max_num_fields=20))
    code = fields.get("code", "").strip()
    if "code=" in code:  # the whole link was pasted
        code = code.partition("code=")[2].partition("&")[0]
    return await run_in_threadpool(_sign_in, request, code[:_CODE_CHARS], fields.get("next") or next)


@router.post("/logout")
def logout(request: Request) -> Response:
    cookie = request.cookies.get(sessions.COOKIE)
    if cookie:
        request.app.state.db.write(lambda tx: sessions.end(tx, cookie))
        request.app.state.sessions.forget()
    response = RedirectResponse("/login", 303)
    response.delete_cookie(sessions.COOKIE)
    return response


def _sign_in(request: Request, code: str, next: str) -> Response:
    state, address = request.app.state, request.client.host if request.client else ""
    limiter: FailureLimiter = state.failures
    now = state.clock()
    try:
        limiter.check(address)
        if not state.db.write(lambda tx: tokens.redeem(tx, code, now=now)):
            limiter.failed(address)
            raise Unauthorized("This code is unknown, used or too old; `plateau link` prints a new one.")
    except (TooMany, Unauthorized) as error:
        return _refused(request, error)
    secret = state.db.write(lambda tx: sessions.start(tx, now=now))
    response = RedirectResponse(local_path(next), 303)
    response.set_cookie(
        sessions.COOKIE, secret, max_age=int(sessions.LIFETIME_S), httponly=True, samesite="lax",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return response


def _refused(request: Request, error: PlateauError) -> Response:
    response = pages.render_login(request, error.detail)
    response.status_code = error.status
    for name, value in error.headers.items():
        response.headers[name] = value
    return response


def local_path(target: str) -> str:
    """`target` when it is a path on this server, else the start page: no open redirect."""
    plain = target.isprintable() and target.isascii() and "\\" not in target
    return target if plain and target.startswith("/") and not target.startswith("//") else "/"
