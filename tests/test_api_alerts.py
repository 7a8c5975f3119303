"""The alerts' routes, page and commands, with a receiver on this machine that the setting allows."""

import json
import re
from collections.abc import Iterator

import pytest
from conftest import wait_until
from typer.testing import CliRunner
from website import Site

import app.cli  # noqa: F401 - all commands
from app.cli.commands import app as command_line
from app.settings import Settings
from tests.receiver import Receiver


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(Settings(home=tmp_path_factory.mktemp("alerts") / "home", alert_hosts="127.0.0.1")) as started:
        yield started


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        receiver.url = f"http://127.0.0.1:{receiver.port}/hook/SECRET"
        yield receiver


def add(site: Site, url: str, **spec: object) -> dict:
    answer = site.api.post("/api/v1/alerts", json={"name": "mine", "url": url, **spec})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_an_alert_is_added_changed_tested_and_deleted_and_its_secrets_stay_its_own(
    site: Site, receiver: Receiver
) -> None:
    made = add(site, receiver.url, on=["metric"], metric="val/loss", value=3.5)
    assert (made["place"], made["enabled"]) == (f"http://127.0.0.1:{receiver.port}/…", True)
    assert made["secret"].startswith("plateau_")
    path = f"/api/v1/alerts/{made['id']}"
    for answer in (site.api.get(path), site.api.get("/api/v1/alerts"), site.api.patch(path, json={"times": 3})):
        assert answer.status_code == 200
        assert "SECRET" not in answer.text
        assert made["secret"] not in answer.text
    assert site.api.get(path).json()["times"] == 3
    sent = site.api.post(f"{path}/test")
    assert (sent.status_code, sent.json()["state"]) == (202, "waiting")
    wait_until(lambda: site.api.get(f"{path}/deliveries").json()["deliveries"][0]["state"] == "sent")
    assert json.loads(receiver.came[0][2])["kind"] == "test"
    assert site.api.delete(path).status_code == 204
    assert site.api.get(path).status_code == 404


def test_a_runs_end_reaches_the_receiver(site: Site, receiver: Receiver) -> None:
    from website import Feeder

    made = add(site, receiver.url, on=["finished"], shape="slack")
    assert made["secret"] is None
    fed = Feeder(site, name="a <run>")
    fed.losses(1, 3.0, 2.0)
    claim = fed.claim
    body = {"claim_id": claim["claim_id"], "attempt": claim["attempt"], "final_seq": fed.seq, "outcome": "finished"}
    assert site.api.post(f"/api/v1/jobs/{claim['job']}/finish", json=body).status_code == 204
    wait_until(lambda: receiver.came)
    text = json.loads(receiver.came[0][2])["text"]
    assert f"/runs/{fed.id}|a &lt;run&gt;>" in text
    site.api.delete(f"/api/v1/alerts/{made['id']}")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"url": "http://10.0.0.1/"}, "/url"),
        ({"url": "http://[::1]/"}, "/url"),
        ({"url": "file:///etc/passwd"}, "/url"),
        ({"on": ["metric"]}, "/metric"),
        ({"on": ["never"]}, "/on/0"),
        ({"colour": "red"}, "/colour"),
    ],
)
def test_what_is_wrong_is_named_with_its_field(site: Site, body: dict, pointer: str) -> None:
    answer = site.api.post("/api/v1/alerts", json={"name": "x", "url": "https://example.org/", **body})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer), answer.text


def test_the_page_adds_changes_switches_and_deletes(site: Site, receiver: Receiver) -> None:
    with site.signed_in(Origin=site.url) as browser:
        assert 'name="url"' in browser.get("/alerts").text
        made = browser.post(
            "/alerts", data={"name": "of the page", "on": ["failed", "nan"], "url": receiver.url, "shape": "json"}
        )
        assert made.status_code == 200
        assert "shown this once" in made.text
        assert "SECRET" not in made.text
        text_id = re.findall(r"/alerts/(a-\d+)/test", made.text)[-1]
        assert browser.post(f"/alerts/{text_id}/disable").status_code == 303
        form = browser.get(f"/alerts/{text_id}").text
        assert 'value="of the page"' in form
        assert "SECRET" not in form
        changed = browser.post(
            "/alerts", data={"id": text_id, "name": "renamed", "on": ["lost"], "shape": "json", "enabled": "no"}
        )
        assert changed.status_code == 303
        shown = site.api.get(f"/api/v1/alerts/{text_id}").json()
        assert (shown["name"], shown["on"], shown["enabled"]) == ("renamed", ["lost"], False)
        assert browser.post(f"/alerts/{text_id}/test").status_code == 303
        wait_until(lambda: "200 ok" in browser.get("/alerts").text)
        assert len(receiver.came) == 1
        wrong = browser.post("/alerts", data={"name": "inner", "on": ["lost"], "url": "http://192.168.0.1/"})
        assert (wrong.status_code, "is an inner address" in wrong.text, 'value="inner"' in wrong.text) == (
            422,
            True,
            True,
        )
        assert browser.post(f"/alerts/{text_id}/delete").status_code == 303
        assert browser.post(f"/alerts/{text_id}/explode").status_code == 404


def test_the_commands(site: Site, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATEAU_URL", site.url)
    monkeypatch.setenv("PLATEAU_TOKEN", site.token)

    def ran(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(command_line, ["alert", *words])
        assert result.exit_code == code, result.output
        return result.output

    made = ran("add", "low", "--webhook", receiver.url, "--metric", "val/loss", "--under", "3")
    text_id = made.split()[0]
    assert "secret of its signatures" in made
    assert " sent: 200 ok" in ran("test", text_id)
    assert "(off)" not in ran("list")
    assert "is off" in ran("disable", text_id)
    assert f"{text_id} low (off): metric" in ran("list")
    assert f"{text_id} sent test" in ran("history", text_id)
    receiver.answers = [(404, {}, b"gone")]
    assert "failed: 404 gone" in ran("test", text_id, code=1)
    ran("delete", text_id)
