"""The samples' routes and the run page's card, without a worker: rows are put where a worker's words would put them."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from website import Site, events

from app import feed
from app.settings import Settings
from app.tables import Sample

HOSTILE = 'def </script><script>alert("x")</script> <b>&amp; é'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(Settings(home=tmp_path_factory.mktemp("samples") / "home")) as started:
        yield started


@pytest.fixture
def run(site: Site) -> str:
    return str(site.launch()["id"])


def written(site: Site, run: str, **fields: Any) -> str:
    number = int(run.removeprefix("r-"))
    row: dict[str, Any] = {
        "run_id": number, "checkpoint_id": None, "step": 10, "state": "done", "settings": {"prompt": "def ", "seed": 1},
        "texts": [HOSTILE], "created_at": 1.0, "ended_at": 2.0, "detail": "",
    }  # fmt: skip

    def put(tx: Any) -> int:
        made = Sample(**row | fields)
        tx.session.add(made)
        tx.session.flush()
        feed.post(tx, "run", number, "sample", made.id)
        return int(made.id)

    return f"s-{site.db.write(put):04d}"


def test_a_run_without_a_checkpoint_says_so(site: Site, run: str) -> None:
    answer = site.api.post(f"/api/v1/runs/{run}/samples", json={"prompt": "def "})
    assert (answer.status_code, answer.json()["detail"]) == (409, f"{run} has no checkpoint yet.")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"temperature": -1}, "/temperature"),
        ({"top_p": 0}, "/top_p"),
        ({"tokens": 1001}, "/tokens"),
        ({"samples": 0}, "/samples"),
        ({"prompt": "x" * 4001}, "/prompt"),
        ({"seed": 1.5}, "/seed"),
        ({"length": 10}, "/length"),
    ],
)
def test_a_setting_out_of_bounds_is_refused_at_its_field(
    site: Site, run: str, body: dict[str, Any], pointer: str
) -> None:
    answer = site.api.post(f"/api/v1/runs/{run}/samples", json=body)
    assert answer.status_code == 422
    assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]


def test_samples_are_listed_newest_first_and_found_one_by_one(site: Site, run: str) -> None:
    first, second = written(site, run), written(site, run, texts=["later"])
    listed = site.api.get(f"/api/v1/runs/{run}/samples").json()
    assert ([one["id"] for one in listed["samples"]], listed["total"]) == ([second, first], 2)
    assert site.api.get(f"/api/v1/runs/{run}/samples/{first}").json()["texts"] == [HOSTILE]
    other = site.launch()["id"]
    for path in (f"{other}/samples/{first}", f"{run}/samples/s-9999", f"{run}/samples/x"):
        assert site.api.get(f"/api/v1/runs/{path}").status_code == 404


def test_stopping_one_that_is_over_is_refused(site: Site, run: str) -> None:
    answer = site.api.post(f"/api/v1/runs/{run}/samples/{written(site, run)}/stop")
    assert answer.status_code == 409


def test_the_stream_tells_the_text_as_far_as_it_is_written(site: Site, run: str) -> None:
    with site.api.stream("GET", "/api/v1/stream", params={"run": run}) as answer:
        told = events(answer)
        assert next(told)["event"] == "hello"
        sample = written(site, run, state="writing", texts=["def f"])
        message = next(one for one in told if one["event"] == "sample")
    assert [(one["id"], one["texts"]) for one in message["data"]["samples"]] == [(sample, ["def f"])]


def page(browser: httpx.Client, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_a_text_full_of_markup_is_shown_as_text_in_the_card_and_in_the_time_line(site: Site, run: str) -> None:
    written(site, run)
    written(site, run, state="failed", detail="no <b>luck</b>")
    with site.signed_in() as browser:
        for path in (f"/runs/{run}", f"/runs/{run}/fragments/samples"):
            shown = page(browser, path)
            assert "alert(" in shown
            assert '<script>alert("x")' not in shown
            assert "<b>def </b><span>&lt;/script&gt;&lt;script&gt;" in shown, "the prompt apart, the rest escaped"
            assert "no &lt;b&gt;luck" in shown
            assert shown.count("alert(") == shown.count("&lt;script&gt;alert(")


def test_the_form_asks_without_a_script_and_keeps_the_blank_at_the_prompts_end(site: Site, run: str) -> None:
    with site.signed_in(Origin=site.url) as browser:
        fields = dict(
            re.findall(r'<input id="sample-\w+" name="(\w+)"[^>]* value="([^"]*)"', page(browser, f"/runs/{run}"))
        )
        assert fields == {
            "temperature": "0.8",
            "top_k": "200",
            "top_p": "1",
            "seed": "1",
            "samples": "1",
            "tokens": "200",
        }
        refused = browser.post(f"/runs/{run}/samples", data={**fields, "at": "last", "prompt": "def \r\n"})
        assert (refused.status_code, "has no checkpoint yet" in refused.text) == (409, True)
        wrong = browser.post(f"/runs/{run}/samples", data={**fields, "at": "last", "tokens": "many"})
        assert wrong.status_code == 422


def test_the_import_form_takes_a_path_without_a_script_and_keeps_what_was_typed(site: Site) -> None:
    with site.signed_in(Origin=site.url) as browser:
        assert 'name="path"' in page(browser, "/runs/import")
        made = browser.post("/runs/import", data={"path": "/data/out/ckpt.pt", "name": "theirs", "dataset": ""})
        assert made.status_code == 303
        run = made.headers["location"].removeprefix("/runs/")
        assert site.api.get(f"/api/v1/runs/{run}").json()["source"] == "imported"
        assert "theirs" in page(browser, f"/runs/{run}"), "a run without a dataset has a page"
        for wrong in (
            {"path": "", "name": "<b>n</b>"},
            {"path": "/x/ckpt.pt", "dataset": "nowhere", "name": "<b>n</b>"},
        ):
            refused = browser.post("/runs/import", data=wrong)
            assert refused.status_code == 422
            assert "&lt;b&gt;n" in refused.text
