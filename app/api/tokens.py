"""Tokens for scripts and workers, and one-time sign-in links."""

from typing import Annotated, Literal

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response
from typing_extensions import TypedDict

from app import shapes
from app.api.body import Json, JsonResponse
from app.api.deps import Db, Now, TokenId
from app.api.problems import problems
from app.db import Tx
from app.errors import Invalid, NotFound
from app.routing import api_router
from app.security import tokens
from app.shapes import TokenJson

router = api_router(tag="access")


class NewToken(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=200, description="What it is for.")
    scope: Literal["api", "worker"] = Field("api", description="api: everything. worker: claim jobs, move artifacts.")
    days: float | None = Field(
        None, gt=0, le=3650, allow_inf_nan=False, description="Valid for so long; null: until revoked."
    )


class TokenMade(TokenJson):
    secret: str


class TokenList(TypedDict):
    tokens: list[TokenJson]


class SignInLink(TypedDict):
    url: str
    expires_at: str


@router.get("/tokens", response_model=TokenList, summary="List tokens")
def find(db: Db) -> Response:
    """Without their secrets, which are not stored."""
    with db.read() as tx:
        return JsonResponse({"tokens": [shapes.token(row) for row in tokens.listed(tx)]})


@router.post(
    "/tokens", status_code=201, response_model=TokenMade, summary="Make a token", responses=problems(Invalid),
    openapi_extra={"x-body": {"name": "the machine under my desk", "scope": "worker"}},
)  # fmt: skip
def create(new: Annotated[NewToken, Json(NewToken)], db: Db, now: Now) -> Response:
    """The answer's `secret` is shown this once."""

    def make(tx: Tx) -> TokenMade:
        lifetime_s = None if new.days is None else new.days * 86_400
        token, secret = tokens.make(tx, new.name, new.scope, now=now, lifetime_s=lifetime_s)
        return {**shapes.token(token), "secret": secret}

    return JsonResponse(db.write(make), 201)


@router.delete("/tokens/{token_id}", response_model=TokenJson, summary="Revoke a token", responses=problems(NotFound))
def revoke(token_id: TokenId, request: Request, db: Db, now: Now) -> Response:
    """It stops working at once."""
    shown = db.write(lambda tx: shapes.token(tokens.revoke(tx, token_id, now=now)))
    request.app.state.keyring.forget()
    return JsonResponse(shown)


@router.post("/sign-in-links", status_code=201, response_model=SignInLink, summary="Make a sign-in link")
def link(request: Request, db: Db, now: Now) -> Response:
    """Signs one browser in, once, within ten minutes."""
    code = tokens.sign_in_code(db, now=now)
    url = request.url.replace(path="/login", query=f"code={code}")
    return JsonResponse({"url": str(url), "expires_at": shapes.iso(now + tokens.LINK_LIFETIME_S)}, 201)
