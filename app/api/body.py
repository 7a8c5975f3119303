"""From a request's raw bytes to a validated model, with errors that say where and what.

`Annotated[Launch, Json(Launch)]` in a route's signature reads the body; app/api/reference.py finds the same
marker and writes the request body into the OpenAPI document.
"""

import re
from typing import Any, TypeVar

import orjson
from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from app.errors import BadRequest, FieldError, Invalid, UnsupportedMedia, from_pydantic

M = TypeVar("M", bound=BaseModel)
DEEPEST = 32
"""Objects in objects; a configuration has three levels, a checkpoint's manifest four."""

_CONSTANT = re.compile(r"-?(NaN|Infinity)\b")
_FIELD_BEFORE = re.compile(r'"([^"\\]{1,80})"\s*:\s*\[?\s*$')


class Reader:
    """A dependency that reads one model from the body; `model` is for the documentation."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.model = model

    async def __call__(self, request: Request) -> BaseModel:
        return parse(self.model, await read_json(request))


def Json(model: type[BaseModel]) -> Any:  # reads like the annotations it stands among
    return Depends(Reader(model))


async def read_json(request: Request) -> Any:
    """The body as plain values. Raises UnsupportedMedia, BadRequest with the position, or Invalid for NaN."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMedia("Send JSON, with the header Content-Type: application/json.")
    return loads(await request.body())


def loads(body: bytes) -> Any:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _unreadable(body, error) from None
    check_depth(value)
    return value


def parse(model: type[M], value: Any) -> M:
    if not isinstance(value, dict):
        raise Invalid([FieldError("", "The body must be a JSON object.")])
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise from_pydantic(error, model=model) from None


def _unreadable(body: bytes, error: orjson.JSONDecodeError) -> BadRequest | Invalid:
    """Names the constants that JSON lacks; otherwise says where reading stopped."""
    text = body.decode("utf-8", "replace")
    found = _CONSTANT.match(text, error.pos)
    if found:
        field = _FIELD_BEFORE.search(text, max(0, error.pos - 120), error.pos)
        pointer = f"/{field[1]}" if field else ""
        return Invalid([FieldError(pointer, f"{found[0]} is not a JSON number; give a finite one")])
    if not body.strip():
        return BadRequest("The body is empty; send a JSON object.")
    return BadRequest(f"The body is not JSON: {error.msg}, line {error.lineno}, column {error.colno}.")


def check_depth(value: Any) -> None:
    """Raises Invalid for what could be read but neither stored nor shown: JSON encoders give up at some depth."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST + 1:
            raise Invalid([FieldError("", f"The body nests more than {DEEPEST} levels deep.")])
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below.extend(one.values())
            elif isinstance(one, list):
                below.extend(one)
        level = below


class JsonResponse(Response):
    """Bytes from orjson: forty times as fast as the framework's encoder, and non-finite numbers become null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
