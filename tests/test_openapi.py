"""The API's reference: complete, true and readable."""

from collections.abc import Iterator
from typing import Any

import pytest
from website import Site

from app.api import reference
from app.settings import Settings


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(Settings(home=tmp_path_factory.mktemp("openapi") / "home")) as started:
        yield started


@pytest.fixture(scope="module")
def schema(site: Site) -> dict[str, Any]:
    return dict(site.api.get("/api/v1/openapi.json").json())


def operations(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", one)
        for path, methods in schema["paths"].items()
        for method, one in methods.items()
    ]


def test_every_route_is_described(schema: dict[str, Any]) -> None:
    assert len(operations(schema)) > 35
    for name, operation in operations(schema):
        assert operation["summary"], name
        assert operation["description"].strip(), name
        assert operation["tags"][0] in reference.TAGS, name
        for field in operation.get("parameters", ()):
            assert field["description"] or field["in"] == "header", f"{name}: {field['name']}"


def test_every_tag_is_used_and_explained(schema: dict[str, Any]) -> None:
    used = {operation["tags"][0] for _, operation in operations(schema)}
    assert used == set(reference.TAGS) == {tag["name"] for tag in schema["tags"]}


def test_every_error_is_a_problem(schema: dict[str, Any]) -> None:
    for name, operation in operations(schema):
        errors = {status: answer for status, answer in operation["responses"].items() if status.startswith(("4", "5"))}
        assert "401" in errors, name
        for status, answer in errors.items():
            assert list(answer["content"]) == ["application/problem+json"], f"{name} {status}"


def test_every_body_is_documented(schema: dict[str, Any]) -> None:
    bodies = {name for name, operation in operations(schema) if "requestBody" in operation}
    assert {
        "POST /api/v1/runs",
        "PATCH /api/v1/runs/{run_id}",
        "POST /api/v1/jobs/claim",
        "POST /api/v1/datasets",
    } <= bodies
    launch = schema["components"]["schemas"]["Launch"]["properties"]
    assert {"preset", "config", "tags", "source"} <= set(launch)


def test_every_reference_leads_somewhere(schema: dict[str, Any]) -> None:
    known = {f"#/components/schemas/{name}" for name in schema["components"]["schemas"]}

    def walk(here: Any) -> Iterator[str]:
        if isinstance(here, dict):
            if isinstance(here.get("$ref"), str):
                yield here["$ref"]
            for below in here.values():
                yield from walk(below)
        elif isinstance(here, list):
            for below in here:
                yield from walk(below)

    assert set(walk(schema)) <= known


def test_the_examples_work(site: Site, schema: dict[str, Any]) -> None:
    for path in ("/api/v1/runs", "/api/v1/preflight", "/api/v1/nanogpt", "/api/v1/tokens", "/api/v1/datasets"):
        example = schema["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
        answer = site.api.post(path, json=example)
        assert answer.status_code in (200, 201), f"{path}: {answer.text}"


def test_the_page_shows_every_route_with_a_line_for_the_shell_and_needs_no_script(
    site: Site, schema: dict[str, Any]
) -> None:
    page = site.api.get("/docs")
    assert page.status_code == 200
    for name, operation in operations(schema):
        assert name.split(" ")[1] in page.text, name
        assert operation["summary"].replace("'", "&#39;") in page.text, name
    assert page.text.count("curl ") >= len(operations(schema))
    assert "https://cdn" not in page.text
    assert "$PLATEAU_TOKEN" in page.text
