"""The log of a run: searched, paged, downloaded, by API, page and command line."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner
from website import Feeder, Site

from app import console
from app.cli import commands
from app.settings import Settings

RUNS = "/api/v1/runs"
LINES = 1200


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(Settings(home=tmp_path_factory.mktemp("console") / "home")) as started:
        yield started


@pytest.fixture(scope="module")
def run(site: Site) -> str:
    """1,200 lines; each 100th a warning about 5 % of a share, one an error with markup in it."""
    feeder = Feeder(site)
    lines: list[dict[str, Any]] = [
        {"at": 1e9 + n, "text": f"line {n}"} | ({"level": "warn", "text": f"line {n}: 5% Lost"} if n % 100 == 0 else {})
        for n in range(LINES)
    ]
    lines[700] = {"at": 1e9 + 700, "level": "error", "text": "</div><script>alert(1)</script> 100_000 lost"}
    for first in range(0, LINES, 400):
        feeder.post(log=lines[first : first + 400])
    Feeder(site).post(log=[{"at": 1.0, "text": "another run's line 5"}])
    return feeder.id


def texts(site: Site, run: str, **params: Any) -> list[str]:
    answer = site.api.get(f"{RUNS}/{run}/log", params={"limit": 500, **params})
    assert answer.status_code == 200, answer.text
    return [line["text"] for line in answer.json()["lines"]]


def test_a_search_takes_the_text_as_it_stands_in_either_case(site: Site, run: str) -> None:
    assert texts(site, run, q="5% lost") == [f"line {n}: 5% Lost" for n in range(0, LINES, 100) if n != 700]
    assert texts(site, run, q="100_000") == texts(site, run, level="error")
    assert texts(site, run, q="line_1") == [], "an underscore is no wildcard"
    assert len(texts(site, run, level="warn")) == 12


def test_earlier_lines_come_page_by_page_without_gap_or_repeat(site: Site, run: str) -> None:
    pages, before = [], 0
    while found := site.api.get(f"{RUNS}/{run}/log", params={"limit": 500, "before": before}).json()["lines"]:
        pages.append([line["text"] for line in found])
        before = found[0]["id"]
    assert [len(each) for each in pages] == [500, 500, 200]
    whole = [text for each in reversed(pages) for text in each]
    assert whole[:2] == ["line 0: 5% Lost", "line 1"]
    assert len(set(whole)) == LINES


def test_the_download_holds_every_line_in_order_with_its_time(
    site: Site, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "AT_ONCE", 500)
    answer = site.api.get(f"{RUNS}/{run}/log.txt")
    assert answer.headers["content-disposition"] == f'attachment; filename="{run}.log"'
    lines = answer.text.splitlines()
    assert len(lines) == LINES
    assert lines[1] == "2001-09-09T01:46:41.000000Z 1 info  line 1"
    assert lines[100] == "2001-09-09T01:48:20.000000Z 1 warn  line 100: 5% Lost"
    assert len(site.api.get(f"{RUNS}/{run}/log.txt", params={"level": "error"}).text.splitlines()) == 1


@pytest.mark.parametrize("params", [{"level": "loud"}, {"before": -1}, {"after": 2**63}, {"q": "x" * 201}])
def test_what_cannot_be_asked_is_refused_by_name(site: Site, run: str, params: dict[str, Any]) -> None:
    answer = site.api.get(f"{RUNS}/{run}/log", params=params)
    assert answer.status_code == 422
    assert next(iter(params)) in answer.json()["errors"][0]["pointer"]
    assert site.api.get(f"{RUNS}/r-0999/log.txt").status_code == 404


def test_the_page_searches_pages_back_and_escapes(site: Site, run: str) -> None:
    with site.signed_in() as reader:
        newest = reader.get(f"/runs/{run}/log").text
        assert "line 1199" in newest
        assert "line 698<" not in newest
        earlier = re.search(r'href="(\?before=\d+)"', newest)
        assert earlier
        before = reader.get(f"/runs/{run}/log{earlier[1]}").text
        assert "line 699<" in before
        assert "line 701<" not in before
        found = reader.get(f"/runs/{run}/log", params={"level": "error"}).text
        assert "&lt;script&gt;alert(1)" in found
        assert "<script>alert" not in found
        assert f"/api/v1/runs/{run}/log.txt?level=error" in found
        odd = reader.get(f"/runs/{run}/log", params={"level": "loud", "before": "²", "q": "y" * 999})
        assert odd.status_code == 200


def test_the_command_line_shows_the_last_lines_or_all_that_match(site: Site, run: str) -> None:
    def shown(*arguments: str) -> list[str]:
        done = CliRunner().invoke(commands.app, ["log", run, "--url", site.url, "--token", site.token, *arguments])
        assert done.exit_code == 0, done.output
        return done.output.splitlines()

    assert [line.split()[-1] for line in shown("-n", "3")] == ["1197", "1198", "1199"]
    assert len(shown("--all")) == LINES
    assert len(shown("--all", "--search", "LOST", "--level", "warn")) == 12
