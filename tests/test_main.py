"""The application as a whole: one shape of errors, pages for people, probes, and nothing a client can do to get a 500."""

from collections.abc import Iterator

import pytest
from website import Site

from app.settings import Settings


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(Settings(home=tmp_path_factory.mktemp("main") / "home")) as started:
        yield started


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/nothing", "/api/v1", "/api/v1/runs/r-0001/nothing"])
def test_an_unknown_address_of_the_api_is_a_problem(site: Site, path: str) -> None:
    answer = site.api.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_an_unknown_page_is_a_page(site: Site) -> None:
    answer = site.api.get("/nothing")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/api/v1/runs"), ("DELETE", "/api/v1/presets"), ("GET", "/api/v1/jobs/claim")]
)
def test_another_method_is_405_and_says_which_it_takes(site: Site, method: str, path: str) -> None:
    answer = site.api.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"]
    assert answer.headers["allow"].split(",")[0].strip() in answer.json()["detail"]


def test_an_unexpected_error_says_its_request_id_and_nothing_else(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("app.shapes.run_list", broken)
    answer = site.api.get("/api/v1/runs")
    assert answer.status_code == 500
    body = answer.json()
    assert body["type"] == "/problems/internal"
    assert body["request_id"] in body["detail"]
    assert "secret detail" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert site.api.get("/api/v1/presets").status_code == 200, "the next request is served"


def test_the_probes_say_whether_it_lives_and_whether_it_can_work(site: Site) -> None:
    with site.client() as stranger:
        assert stranger.get("/healthz").text == "ok\n"
        assert stranger.get("/readyz").status_code == 200
        site.app.state.sweeper.beat -= 60
        assert stranger.get("/readyz").status_code == 503
        site.app.state.sweeper.beat += 60


def test_the_first_page_leads_to_the_runs(site: Site) -> None:
    with site.client() as stranger:
        assert stranger.get("/").headers["location"] == "/login"
        assert stranger.get("/runs?q=a&sort=name").headers["location"] == "/login?next=/runs%3Fq%3Da%26sort%3Dname"
    with site.signed_in() as browser:
        assert browser.get("/").status_code in (303, 307)
        assert browser.get("/").headers["location"] == "/runs"


NASTY = [
    "'",
    '"',
    "<script>",
    "%00",
    "%0d%0aX: y",
    "${jndi}",
    "{{7*7}}",
    "' OR 1=1 --",
    "\\",
    "💥" * 100,
    "a" * 2000,
    "-1",
    "1e309",
    "[]",
]


@pytest.mark.parametrize("nasty", NASTY)
def test_no_query_makes_a_server_error(site: Site, nasty: str) -> None:
    names = (
        "q",
        "sort",
        "state",
        "offset",
        "limit",
        "trash",
        "run",
        "key",
        "x",
        "lo",
        "hi",
        "width",
        "since",
        "after",
        "name",
        "code",
        "next",
    )
    query = dict.fromkeys(names, nasty)
    for path in ("/api/v1/runs", "/api/v1/metrics", "/api/v1/compare", "/api/v1/datasets", "/login", "/runs", "/compare", "/datasets", "/workers",
                 "/runs/new", "/runs/r-0001", "/docs", "/static/x"):  # fmt: skip
        for params in (query, *({name: nasty} for name in names)):
            status = site.api.get(path, params=params).status_code
            assert status < 500, f"{path}?{params}"
