"""Everything that can go wrong for a client, as classes whose docstring is the message.

Domain code raises them; app/main.py turns each into problem+json (RFC 9457) under /api and into a page
elsewhere. `status` is the HTTP status, `kind` the last part of the problem's type, `detail` what happened
this time, `extra` further members of the problem, `headers` go on the response.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_MOST_ERRORS = 50
_LONGEST_ECHO = 40
_LONGEST_NAME = 80


class FieldError(NamedTuple):
    """What is wrong with one field: a JSON pointer into the request's body, and a sentence for people."""

    pointer: str
    message: str


class PlateauError(Exception):
    """The request could not be carried out."""

    status: int = 400
    kind: str = "error"
    errors: tuple[FieldError, ...] = ()

    def __init__(
        self, detail: str = "", *, extra: dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra: dict[str, Any] = extra or {}
        self.headers: dict[str, str] = headers or {}

    @property
    def title(self) -> str:
        return (type(self).__doc__ or "").strip().splitlines()[0]

    def __str__(self) -> str:
        return self.detail or self.title

    def problem(self, request_id: str = "") -> dict[str, Any]:
        """The body of the problem+json response."""
        body: dict[str, Any] = {
            "type": f"/problems/{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": _printable(self.detail),
        }
        if self.errors:
            body["errors"] = [
                {"pointer": _printable(error.pointer), "message": _printable(error.message)} for error in self.errors
            ]
        if request_id:
            body["request_id"] = request_id
        return body | self.extra


class BadRequest(PlateauError):
    """The request could not be understood."""

    status, kind = 400, "bad-request"


class WrongHost(PlateauError):
    """This server does not answer to that host name."""

    status, kind = 400, "wrong-host"


class Unauthorized(PlateauError):
    """Sign in first, or send a token."""

    status, kind = 401, "unauthorized"

    def __init__(
        self, detail: str = "", *, extra: dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail, extra=extra, headers={"WWW-Authenticate": "Bearer"} | (headers or {}))


class Forbidden(PlateauError):
    """That is not allowed."""

    status, kind = 403, "forbidden"


class NotFound(PlateauError):
    """There is no such thing here."""

    status, kind = 404, "not-found"


class MethodNotAllowed(PlateauError):
    """This address does not take that method."""

    status, kind = 405, "method-not-allowed"


class Conflict(PlateauError):
    """That is not possible in the present state."""

    status, kind = 409, "conflict"


class Fenced(Conflict):
    """Another claim has taken this job over; stop working on it."""

    kind = "fenced"


class SeqGap(Conflict):
    """A batch is missing before this one; send again from the one after acked_seq."""

    kind = "seq-gap"

    def __init__(self, acked_seq: int, detail: str = "") -> None:
        super().__init__(detail or f"The last batch received is number {acked_seq}.", extra={"acked_seq": acked_seq})
        self.acked_seq = acked_seq


class TooLarge(PlateauError):
    """The request is too large."""

    status, kind = 413, "too-large"


class UnsupportedMedia(PlateauError):
    """The body has a content type that this address does not take."""

    status, kind = 415, "unsupported-media"


class RangeNotSatisfiable(PlateauError):
    """The range lies outside the file."""

    status, kind = 416, "range-not-satisfiable"


class Invalid(PlateauError):
    """Some fields need another value."""

    status, kind = 422, "invalid"

    def __init__(self, errors: Iterable[FieldError], detail: str = "") -> None:
        self.errors = tuple(errors)[:_MOST_ERRORS]
        super().__init__(detail or "; ".join(f"{error.pointer} {error.message}".strip() for error in self.errors[:3]))


def beyond_storage() -> Invalid:
    """For the OverflowError of a whole number past SQLite's 64 bits, in a field that has no bound of its own."""
    return Invalid([FieldError("", "has a number beyond what can be stored (2^63)")])


class UnsupportedProtocol(PlateauError):
    """Worker and server speak different protocol versions; upgrade the older one."""

    status, kind = 426, "unsupported-protocol"


class TooMany(PlateauError):
    """Too many requests; wait a little."""

    status, kind = 429, "too-many"


class InternalError(PlateauError):
    """Something went wrong in the server; its log says more under this request id."""

    status, kind = 500, "internal"


class Overloaded(PlateauError):
    """The server is busy; try again in a moment."""

    status, kind = 503, "overloaded"

    def __init__(self, detail: str = "", *, retry_after_s: int = 2) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)})


class StorageFull(PlateauError):
    """The server's disk is full; nothing was written."""

    status, kind = 507, "storage-full"


def pointer_of(location: Iterable[str | int], prefix: str = "") -> str:
    """("schedule", "lr") below "/config" -> "/config/schedule/lr" (RFC 6901)."""
    parts = (str(part)[:_LONGEST_NAME].replace("~", "~0").replace("/", "~1") for part in location)
    return "/".join((prefix, *parts))


def from_pydantic(error: ValidationError, prefix: str = "", model: type[BaseModel] | None = None) -> Invalid:
    """Pydantic's findings as plain sentences. With `model`, an unknown field gets a suggestion."""
    found = error.errors(include_url=False)[:_MOST_ERRORS]
    return Invalid([FieldError(pointer_of(_place(one), prefix), _sentence(one, model)) for one in found])


def _place(one: ErrorDetails) -> tuple[str | int, ...]:
    """Where a finding belongs: a check between sections (app.contract.setting.refuse) names its field in `at`."""
    at = (one.get("ctx") or {}).get("at")
    return (*one["loc"], at) if isinstance(at, str) else one["loc"]


def from_request(findings: Iterable[Any]) -> Invalid:
    """The framework's findings about a query, path or header parameter; pointers read /query/width."""
    found: list[ErrorDetails] = list(findings)[:_MOST_ERRORS]
    return Invalid([FieldError(pointer_of(one["loc"]), _sentence(one, None)) for one in found])


def echo(value: object) -> str:
    """' (got 5000)' for short, printable, finite scalars; nothing for anything else."""
    match value:
        case bool():
            shown = "true" if value else "false"
        case int() if abs(value) < 10**20:
            shown = str(value)
        case float() if math.isfinite(value):
            shown = repr(value)
        case str() if 0 < len(value) <= _LONGEST_ECHO and value.isprintable():
            shown = f"'{value}'"
        case None:
            shown = "nothing"
        case _:
            return ""
    return f" (got {shown})"


_WANTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "an object",
    "model": "an object",
    "model_attributes": "an object",
    "none": "empty",
}


def _sentence(one: ErrorDetails, model: type[BaseModel] | None) -> str:
    """One of pydantic's findings in plain words; a validator's own sentence stays as it is."""
    kind, value = one["type"], one.get("input")
    limits: Mapping[str, Any] = one.get("ctx") or {}
    got = echo(value)
    match kind:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return _unknown_field(one["loc"], model)
        case "greater_than_equal":
            return f"must be at least {limits['ge']}{got}"
        case "greater_than":
            return f"must be above {limits['gt']}{got}"
        case "less_than_equal":
            return f"must be at most {limits['le']}{got}"
        case "less_than":
            return f"must be below {limits['lt']}{got}"
        case "finite_number":
            return "must be a finite number"
        case "int_from_float" | "int_parsing_size":
            return f"must be a whole number{got}"
        case "literal_error" | "enum":
            return f"must be {limits['expected']}{got}"
        case "string_too_short" if limits["min_length"] == 1:
            return "must not be empty"
        case "string_too_short":
            return f"must have at least {limits['min_length']} characters"
        case "string_too_long":
            return f"must have at most {limits['max_length']} characters"
        case "too_short":
            return f"must have at least {limits['min_length']} entries"
        case "too_long":
            return f"must have at most {limits['max_length']} entries"
        case "string_pattern_mismatch":
            return f"does not have the form {limits['pattern']}{got}"
        case "value_error":
            return str(limits["error"])
        case _:
            wanted = _WANTED.get(kind.removesuffix("_type").removesuffix("_parsing"))
            return f"must be {wanted}{got}" if wanted else one["msg"]


def _unknown_field(location: tuple[str | int, ...], model: type[BaseModel] | None) -> str:
    name = str(location[-1])[:_LONGEST_NAME]
    holder = _model_at(model, location[:-1])
    if holder is None:
        return "is not a field here"
    known = list(holder.model_fields)
    near = difflib.get_close_matches(name, known, n=1)
    # a shortened name (warmup for warmup_steps) is closer to what was meant than its spelling says
    near = near or [field for field in known if name and (field.startswith(name) or field.endswith(name))][:1]
    if near:
        return f"is not a field here; did you mean {near[0]}?"
    return f"is not a field here; the fields are {', '.join(known)}"


def _model_at(model: type[BaseModel] | None, location: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The model that `location` leads to, looking through lists and optional fields."""
    here: Any = model
    for part in location:
        if isinstance(part, int):
            continue
        field = cast("type[BaseModel]", here).model_fields.get(part) if here is not None else None
        here = _first_model(field.annotation) if field else None
    return cast("type[BaseModel] | None", here)


def _first_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _first_model(part))), None)


def _printable(text: str) -> str:
    """Without lone surrogates, which no JSON body can carry."""
    return text.encode("utf-8", "replace").decode()
