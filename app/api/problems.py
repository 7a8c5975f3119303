"""The error answers, as the OpenAPI document shows them."""

from typing import Any

from typing_extensions import TypedDict

from app import errors


class FieldProblem(TypedDict):
    pointer: str
    message: str


class Problem(TypedDict, total=False):
    """An error (RFC 9457, application/problem+json): `errors` names the fields, with JSON pointers into the body."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem]
    request_id: str


def problems(*kinds: type[errors.PlateauError]) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route for these errors; 401 is everywhere."""
    shown: list[type[errors.PlateauError]] = [*kinds, errors.Unauthorized]
    return {kind.status: _shown(kind) for kind in shown}


def _shown(kind: type[errors.PlateauError]) -> dict[str, Any]:
    title = (kind.__doc__ or "").strip()
    example = {
        "type": f"/problems/{kind.kind}",
        "title": title,
        "status": kind.status,
        "detail": "",
        "request_id": "9f2c",
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": title, "content": {"application/problem+json": {"schema": schema, "example": example}}}
