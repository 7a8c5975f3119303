"""The runs list over HTTP: columns, archive and trash, tags, undo, named views."""

import re
from collections.abc import Iterator

import httpx
import pytest
from website import Feeder, Site

from app.settings import Settings

VIEWS = "/api/v1/views"
BULK = "/api/v1/runs/bulk"


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    with Site(Settings(home=tmp_path / "home")) as started:
        yield started


@pytest.fixture
def reader(site: Site) -> Iterator[httpx.Client]:
    with site.signed_in(Origin=site.url) as client:
        client.follow_redirects = True
        yield client


def ended(site: Site, name: str, **config: object) -> str:
    run = site.launch(name=name, config={"schedule": {"steps": 10, "warmup_steps": 1}, **config})
    site.api.post(f"/api/v1/runs/{run['id']}/stop")
    return str(run["id"])


def headings(page: str) -> list[str]:
    row = page[page.index("<thead>") : page.index("</thead>")]
    texts = re.findall(r"<th[^>]*>(.*?)</th>", row)
    return [re.sub(r"<span.*?</span>|<[^>]+>", "", text).strip() for text in texts][1:]


def test_columns_are_the_usual_ones_or_those_of_the_address(site: Site, reader: httpx.Client) -> None:
    feeder = Feeder(site, name="fed")
    feeder.losses(1, 5.0, 4.25)
    assert headings(reader.get("/runs").text) == [
        "Status", "Name", "Val loss", "Best val", "λ", "Peak lr", "Tokens", "Progress", "tok/s", "Age",
    ]  # fmt: skip
    page = reader.get("/runs?col=age&col=model.n_embd&col=train/loss&col=nothing&col=age&sort=-train/loss").text
    assert headings(page) == ["Status", "Name", "Age", "Width", "Train loss"]
    assert "4.25" in page
    assert reader.get("/runs?sort=-no/such").status_code == 200


def test_only_what_differs_shows_the_settings_that_do(site: Site, reader: httpx.Client) -> None:
    ended(site, "a", optim={"beta2": 0.95}, system={"seed": 1})
    ended(site, "b", optim={"beta2": 0.99}, system={"seed": 2})
    shown = headings(reader.get("/runs?col=age&differs=1").text)
    assert shown[:3] == ["Status", "Name", "Age"]
    assert len(shown) == 5
    assert "differs=1" in reader.get("/runs?differs=1").text


@pytest.mark.parametrize("action", ["archive", "trash"])
def test_what_is_put_away_comes_back_by_one_press(site: Site, reader: httpx.Client, action: str) -> None:
    kept, away = ended(site, "kept"), ended(site, "goes away")
    page = reader.post("/runs/selected", data={"action": action, "run": away, "next": "/runs?q=s"}).text
    assert "Undo" in page
    assert "goes away" not in page
    assert "goes away" in reader.get(f"/runs?place={action}").text
    token = re.search(r'name="token" value="([^"]+)"', page)
    assert token
    page = reader.post("/runs/undo", data={"token": token[1], "next": "/runs"}).text
    assert "goes away" in page
    reader.post("/runs/selected", data={"action": action, "run": kept})
    page = reader.post("/runs/undo", data={"token": token[1]}).text
    assert ">kept<" not in page, "an old way back does nothing"


def test_all_that_the_list_shows_is_tagged_beyond_the_page(site: Site, reader: httpx.Client) -> None:
    names = [f"odd {n}" if n % 2 else f"even {n}" for n in range(106)]
    for name in names:
        ended(site, name)
    form = {"action": "tag", "tag": " study  one ", "all": "1", "q": "odd", "tab": "stopped", "place": "list"}
    assert "53 runs have this tag now." in reader.post("/runs/selected", data=form).text
    found = site.api.get("/api/v1/runs", params={"q": 'tag:"study one"', "limit": 500}).json()
    assert found["total"] == 53
    assert all(run["name"].startswith("odd") for run in found["runs"])


def test_the_same_by_rest_says_what_was_passed_over(site: Site) -> None:
    run, waiting = ended(site, "one"), site.launch(name="two")["id"]
    answer = site.api.post(BULK, json={"action": "archive", "runs": [run, waiting, "r-0999", "x"]}).json()
    assert answer["changed"] == [run]
    assert {one["run"] for one in answer["passed_over"]} == {waiting, "r-0999", "x"}
    assert site.api.get("/api/v1/runs", params={"place": "archive"}).json()["total"] == 1
    assert site.api.post(f"/api/v1/runs/{run}/unarchive").json()["actions"][-2:] == ["archive", "trash"]
    assert site.api.post(BULK, json={"action": "tag", "q": "status=queued", "tag": "x"}).json()["changed"] == [waiting]
    for wrong in (
        {"action": "stop"},
        {"action": "burn", "q": ""},
        {"action": "tag", "q": "", "tag": ""},
        {"action": "stop", "q": "nope=1"},
    ):
        assert site.api.post(BULK, json=wrong).status_code == 422


def test_a_view_keeps_the_address_under_a_name(site: Site, reader: httpx.Client) -> None:
    ended(site, "one")
    query = "q=wd%3D0.1&sort=best_val&col=age&col=optim.beta2"
    reader.post("/runs/views", data={"name": " λ <b> ", "query": f"?{query}&offset=50&evil=1"})
    (view,) = site.api.get(VIEWS).json()["views"]
    assert view == {"name": "λ <b>", "query": query}
    page = reader.get("/runs").text
    assert "λ &lt;b&gt;" in page
    assert f'href="/runs?{query.replace("&", "&amp;")}"' in page
    assert site.api.post(VIEWS, json={"name": "λ <b>", "query": "q=x"}).json()["query"] == "q=x"
    assert len(site.api.get(VIEWS).json()["views"]) == 1
    for wrong in ({"name": " "}, {"name": "x" * 61}, {"name": "y", "query": "q" * 4001}):
        assert site.api.post(VIEWS, json=wrong).status_code == 422
    assert site.api.delete(VIEWS, params={"name": "none"}).status_code == 404
    reader.post("/runs/views", data={"delete": "λ <b>"})
    assert site.api.get(VIEWS).json()["views"] == []
