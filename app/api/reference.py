"""The OpenAPI document: FastAPI's, plus what our own body reader and error handler know, and an outline for /docs."""

import json
from typing import Any, NamedTuple

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema
from starlette.responses import Response

from app.api.body import JsonResponse, Reader
from app.api.problems import Problem, problems
from app.errors import Invalid
from app.routing import Documented

URL = "/api/v1/openapi.json"
VERSION = "1"
ABOUT = """Launch GPT training runs, follow them live, compare them.

Every request carries `Authorization: Bearer <token>`; on the server's machine the token is in `client.json` of
Plateau's home folder, and `POST /tokens` makes more. Times are ISO 8601 in UTC. Errors are problem+json (RFC 9457):
`errors` names the fields, with JSON pointers into the body. Lists are paged by `offset` and `limit`.
Unknown fields in a body are refused, never ignored."""
TAGS = {
    "runs": "A run is one training: what was asked for (its configuration), where it stands, and what can be done to it.",
    "sweeps": "Experiments of many runs: factors × seeds, their cost, their steering and what they say together.",
    "diagnosis": "Why a run's loss is as it is: findings with their evidence, a forecast, and the experiments that would tell.",
    "metrics": "Curves of runs: down-sampled for charts without losing a spike, or whole as CSV.",
    "live": "One stream of server-sent events for everything that changes.",
    "launching": "Presets, the configuration's fields, and numbers to look at before a launch.",
    "datasets": "Text made into tokens by a worker, split into train and validation by a hash of each document.",
    "checkpoints": "Saved states of runs. They stay with the worker that made them until someone asks.",
    "samples": "Text written from a run's checkpoints, or by a run while it trains; it can be followed while it is written.",
    "workers": "The machines that train and prepare.",
    "alerts": "Webhooks that are told of verdicts, ends, NaN and thresholds, with retries, signatures and a history.",
    "artifacts": "Files that the other side needs, known by their SHA-256: resumable in both directions.",
    "worker protocol": "What a worker and the server say to each other; also open to a client that feeds an external run.",
    "access": "Tokens for programs, sign-in links for browsers.",
}

router = APIRouter(include_in_schema=False)


@router.get(URL)
def document(request: Request) -> Response:
    return JsonResponse(request.app.openapi())


def describe(app: FastAPI) -> None:
    """Makes app.openapi() answer our document, built at the first call."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    tags = [{"name": name, "description": text} for name, text in TAGS.items()]
    schema = get_openapi(title="Plateau", version=VERSION, description=ABOUT, routes=app.routes, tags=tags)
    components = schema.setdefault("components", {}).setdefault("schemas", {})
    models: set[type[BaseModel]] = set()
    answered: list[tuple[dict[str, Any], Any]] = []  # where the schema of an answer goes, and what it is of
    for route in app.routes:
        if not isinstance(route, APIRoute):
            continue
        for method in route.methods or ():
            operation = schema["paths"].get(route.path_format, {}).get(method.lower())
            if operation is None:
                continue
            for one in route.dependant.dependencies:
                if isinstance(one.call, Reader):
                    models.add(one.call.model)
                    operation["requestBody"] = _request_body(one.call.model, operation.pop("x-body", None))
            _answers(operation)
            if isinstance(route, Documented) and route.answer_model is not None:
                answer = operation["responses"][str(route.status_code or 200)]
                answered.append((answer.setdefault("content", {}), route.answer_model))
    reference = "#/components/schemas/{model}"
    shapes, definitions = TypeAdapter.json_schemas(
        [(place, "serialization", TypeAdapter(model)) for place, (_, model) in enumerate(answered)],
        ref_template=reference,
    )
    components.update(definitions.get("$defs", {}))
    for place, (content, _) in enumerate(answered):
        content["application/json"] = {"schema": shapes[place, "serialization"]}
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=reference)
    components.update(definitions.get("$defs", {}))
    components["Problem"] = TypeAdapter(Problem).json_schema(ref_template=reference)
    components.update(components["Problem"].pop("$defs", {}))
    for unused in ("HTTPValidationError", "ValidationError"):
        components.pop(unused, None)
    schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    schema["security"] = [{"token": []}]
    return schema


def _request_body(model: type[BaseModel], example: Any) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
    if example is not None:
        content["example"] = example
    return {"required": True, "content": {"application/json": content}}


def _answers(operation: dict[str, Any]) -> None:
    """422 in our shape where there is anything to get wrong, 401 everywhere."""
    ours = problems(Invalid)
    answers = operation["responses"]
    answers["401"] = ours[401]
    if "422" in answers or operation.get("requestBody") or operation.get("parameters"):
        answers["422"] = ours[422]


Prose = list[list[tuple[str, bool]]]
"""Paragraphs of (text, is it code)."""


def prose(text: str) -> Prose:
    """Paragraphs at blank lines, code between backticks; line breaks within a paragraph mean nothing."""
    paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
    return [[(piece, bool(index % 2)) for index, piece in enumerate(part.split("`"))] for part in paragraphs if part]


class Operation(NamedTuple):
    """One route as the /docs page shows it."""

    method: str
    path: str
    summary: str
    description: Prose
    parameters: list[dict[str, Any]]
    body: str
    answers: list[tuple[str, str]]
    curl: str


def outline(schema: dict[str, Any], origin: str) -> list[tuple[str, str, list[Operation]]]:
    """(tag, what it is about, its operations), in the order of TAGS."""
    groups: dict[str, list[Operation]] = {name: [] for name in TAGS}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            groups[operation["tags"][0]].append(_operation(method.upper(), path, operation, origin))
    return [(name, TAGS[name], found) for name, found in groups.items() if found]


def _operation(method: str, path: str, operation: dict[str, Any], origin: str) -> Operation:
    content = operation.get("requestBody", {}).get("content", {})
    example = content.get("application/json", {}).get("example")
    parameters = [
        {
            "name": one["name"],
            "where": one["in"],
            "required": one.get("required", False),
            "description": one.get("description", ""),
            "default": one["schema"].get("default"),
        }
        for one in operation.get("parameters", ())
    ]
    return Operation(
        method,
        path,
        operation["summary"],
        prose(operation.get("description", "")),
        parameters,
        json.dumps(example, ensure_ascii=False, indent=2) if example is not None else "",
        [(status, answer.get("description", "")) for status, answer in sorted(operation["responses"].items())],
        _curl(method, path, operation, example, origin),
    )


def _curl(method: str, path: str, operation: dict[str, Any], example: Any, origin: str) -> str:
    """A line to paste into a shell, with examples in place of the parameters that must be given."""
    query = []
    for one in operation.get("parameters", ()):
        value = one["schema"].get("examples", [None])[0] or (one.get("examples") or [None])[0]
        value = value[0] if isinstance(value, list) else value
        if one["in"] == "path":
            path = path.replace("{" + one["name"] + "}", str(value or "…"))
        elif one["in"] == "query" and one.get("required"):
            query.append(f"{one['name']}={value or '…'}")
    address = origin + path + ("?" + "&".join(query) if query else "")
    lines = [
        f"curl {'' if method == 'GET' else f'-X {method} '}'{address}'",
        '-H "Authorization: Bearer $PLATEAU_TOKEN"',
    ]
    if example is not None:
        compact = json.dumps(example, ensure_ascii=False).replace("'", "'\\''")
        lines += ["-H 'Content-Type: application/json'", f"-d '{compact}'"]
    return " \\\n  ".join(lines)
