"""The ready-made experiments: sound sweeps, listed and started by page, REST and command line alike."""

from collections.abc import Iterator

import httpx
import pages_fixture
import pytest
from website import Site

from app import decay, ready_made
from app.ready_made import READY_MADE
from app.settings import Settings
from app.sweeps import arms


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("ready") / "home"
    with Site(Settings(home=home, host="127.0.0.1", port=8000, allowed_hosts="")) as started:
        pages_fixture.fill(started.db)
        yield started


@pytest.fixture(scope="module")
def reader(site: Site) -> Iterator[httpx.Client]:
    with site.signed_in() as client:
        yield client


@pytest.mark.parametrize("key", READY_MADE)
def test_its_arms_are_paired_and_differ_in_what_is_asked_alone(key: str) -> None:
    planned = arms.plan(READY_MADE[key].sweep())
    seeds = {one.config.system.seed for one in planned}
    assert len(seeds) == 3
    assert len({arms.key_of(one.arm) for one in planned}) * 3 == len(planned) == ready_made.runs()[key]
    asked = {"learning-rate": "schedule.", "to-zero": "schedule.min_lr", "dropout": "model.dropout"}
    allowed = (asked[key], "system.seed") if key in asked else ("optim.", "system.seed", "model.tied_head")
    first = planned[0].config.flat()
    differ = {name for one in planned for name, value in one.config.flat().items() if value != first[name]}
    assert differ
    assert all(name.startswith(allowed) for name in differ)
    assert first["data.dataset"] == "builtin"


def test_decay_is_informative_where_it_is_to_be_seen_and_inert_where_that_is_the_question() -> None:
    """science.md A.4: inert below Λ = .1, informative from .5 to 10."""
    for key in ("decoupled-or-l2", "embeddings", "all-parameters"):
        first = arms.plan(READY_MADE[key].sweep())[0].config
        assert decay.judge(decay.total_decay(first.schedule, first.optim), first.optim.weight_decay) == "informative"
    verdicts = {
        one.config.optim.weight_decay: decay.judge(
            decay.total_decay(one.config.schedule, one.config.optim), one.config.optim.weight_decay
        )
        for one in arms.plan(READY_MADE["inert"].sweep())
    }
    assert verdicts == {0: "none", 0.01: "inert", 0.1: "inert", 3: "informative"}


def test_decoupled_against_l2_has_every_kind_the_question_needs() -> None:
    configs = [one.config.optim for one in arms.plan(READY_MADE["decoupled-or-l2"].sweep())]
    assert {one.optimizer for one in configs} == {"adamw", "adam_l2"}
    assert any(one.adamc for one in configs)
    assert any(one.cautious for one in configs)
    assert {one.decay_schedule for one in configs} == {"constant", "linear", "cosine"}
    assert 0.0 in {one.weight_decay for one in configs}


def test_the_list_says_what_each_asks_costs_and_is_made_of(site: Site) -> None:
    found = site.api.get("/api/v1/ready-made").raise_for_status().json()["experiments"]
    assert [one["key"] for one in found] == list(READY_MADE)
    for one in found:
        assert one["question"].endswith("?")
        assert one["minutes"] > 0
        assert one["claims"]
        price = site.api.post("/api/v1/sweeps/cost", json=one["spec"]).raise_for_status().json()
        assert price["runs"] == ready_made.runs()[one["key"]]


def test_it_starts_by_rest_once_for_a_key(site: Site) -> None:
    key = {"Idempotency-Key": "once"}
    first = site.api.post("/api/v1/ready-made/inert", headers=key)
    again = site.api.post("/api/v1/ready-made/inert", headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert len(first.json()["members"]) == 12
    missing = site.api.post("/api/v1/ready-made/nothing")
    assert missing.status_code == 404
    assert "decoupled-or-l2" in missing.json()["detail"]


@pytest.mark.parametrize("language", ["en", "de", "ar"])
def test_the_page_lists_them_and_one_click_starts_one(site: Site, reader: httpx.Client, language: str) -> None:
    page = reader.get("/sweeps/new", headers={"Accept-Language": language}).text
    for key in READY_MADE:
        assert f'action="/sweeps/ready-made/{key}"' in page
        assert f'href="/sweeps/new?ready={key}"' in page
    if language == "en":
        answer = reader.post("/sweeps/ready-made/all-parameters", data={"key": "k"}, headers={"Origin": site.url})
        assert answer.status_code == 303
        assert reader.get(answer.headers["location"]).status_code == 200
        twice = reader.post("/sweeps/ready-made/all-parameters", data={"key": "k"}, headers={"Origin": site.url})
        assert twice.headers["location"] == answer.headers["location"], "pressing twice starts it once"
    assert reader.post("/sweeps/ready-made/x", headers={"Origin": site.url}).status_code == 404


@pytest.mark.parametrize("key", READY_MADE)
def test_the_form_opens_filled_in_and_ready(reader: httpx.Client, key: str) -> None:
    page = reader.get("/sweeps/new", params={"ready": key}).text
    assert READY_MADE[key].name in page
    assert 'class="card ready"' not in page, "the form stands first now"
    assert "needs another value" not in page
    assert 'class="hint bad"' not in page
