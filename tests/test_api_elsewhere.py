"""The import's routes, page and commands: every body a log can come in, what is refused, and what the run's page says."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner
from website import Site

from app import multipart
from app.cli.commands import app as command_line
from app.errors import BadRequest
from app.settings import Settings
from tests.foreign_logs import GOLDEN_ARGS, VAL, golden, scalar, version


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(Settings(home=tmp_path_factory.mktemp("imports") / "home")) as started:
        yield started


def evaluations(site: Site, run: str) -> list[float]:
    found = site.api.get("/api/v1/metrics", params={"run": run, "key": "val/loss"}).json()
    return list(found["runs"][run]["val/loss"]["y"])


def test_a_log_comes_as_json_as_text_as_bytes_or_in_a_form(site: Site) -> None:
    log, post = golden(), site.api.post
    answers = [
        post("/api/v1/import", json={"text": log, "args": GOLDEN_ARGS, "facts": {"device": "RTX 4070"}, "name": "one"}),
        post("/api/v1/import", params={"args": GOLDEN_ARGS, "device": "RTX 4070", "name": "one"}, content=log, headers={"Content-Type": "text/plain"}),
        post("/api/v1/import", files={"log": ("one", log.encode("utf-16"))}, data={"args": GOLDEN_ARGS, "device": "RTX 4070"}),
    ]  # fmt: skip
    for answer in answers:
        assert answer.status_code == 201, answer.text
        run = answer.json()
        assert (run["name"], run["steps"], run["meaning"]) == ("one", 20_000, "its log ends before the last step")
        assert run["telemetry"]["imported"]["facts"]["device"] == "RTX 4070"
        assert evaluations(site, run["id"]) == VAL
    event_file = version() + scalar("val_loss", 1, 3.0)
    answer = post("/api/v1/import", content=event_file, headers={"Content-Type": "application/octet-stream"})
    assert (answer.status_code, evaluations(site, answer.json()["id"])) == (201, [3.0])


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"json": {"text": "no"}}, 422, "No loss was found"),
        ({"json": {}}, 422, "is missing"),
        ({"json": {"text": "x", "sha256": "0" * 64}}, 422, "Give either"),
        ({"json": {"text": "x", "facts": {"train_tokens": -1}}}, 422, "/facts/train_tokens"),
        ({"content": b"", "headers": {"Content-Type": "text/plain"}}, 422, "The file is empty"),
        ({"content": b"x", "headers": {"Content-Type": "image/png"}}, 415, "Send JSON"),
        ({"content": b"--b\r\nx", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, 400, "has no end"),
        (
            {"content": b"x" * ((32 << 20) + 1), "headers": {"Content-Type": "text/plain"}},
            413,
            "At most 33,554,432 bytes",
        ),
    ],
)
def test_what_is_wrong_is_a_problem_and_makes_no_run(site: Site, body: dict, status: int, said: str) -> None:
    before = site.api.get("/api/v1/runs").json()["total"]
    answer = site.api.post("/api/v1/import", **body)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
    assert site.api.get("/api/v1/runs").json()["total"] == before


def test_the_page_takes_a_pasted_log_and_the_run_asks_for_what_is_missing(site: Site) -> None:
    with site.signed_in(Origin=site.url) as browser:
        assert 'name="text"' in browser.get("/runs/import/log").text
        made = browser.post("/runs/import/log", files={"log": ("", b"")}, data={"text": golden(), "args": GOLDEN_ARGS})
        assert made.status_code == 303, made.text
        page = browser.get(made.headers["location"]).text
        assert "Improving, not a plateau" in page, "the verdict stands there at once, without JavaScript"
        assert re.findall(r'id="ask-(\w+)"', page) == ["train_tokens", "val_tokens", "device", "vocab_size"]
        assert "of its last micro-batch only" in page
        told = browser.post(made.headers["location"] + "/facts", data={"train_tokens": "700,000,000", "device": ""})
        assert told.status_code == 303
        assert 'id="ask-train_tokens"' not in browser.get(made.headers["location"]).text
        run = made.headers["location"].rpartition("/")[2]
        assert (
            site.api.get(f"/api/v1/runs/{run}").json()["telemetry"]["imported"]["facts"]["train_tokens"] == 700_000_000
        )


def test_the_page_says_why_a_log_is_refused_and_keeps_what_was_typed(site: Site) -> None:
    with site.signed_in(Origin=site.url) as browser:
        answer = browser.post("/runs/import/log", data={"text": "</textarea><script>alert(1)</script>", "name": "mine"})
    assert answer.status_code == 422
    assert "No loss was found" in answer.text
    assert "<script>alert(1)" not in answer.text
    assert 'value="mine"' in answer.text


def test_the_diagnosis_of_the_40m_log_is_made(site: Site) -> None:
    run = site.api.post("/api/v1/import", json={"text": golden(), "args": GOLDEN_ARGS}).json()["id"]
    found = site.api.get(f"/api/v1/runs/{run}/diagnosis").json()
    assert found["verdict"] == "improving"


def test_an_experiment_has_a_cost_once_the_settings_are_known_and_says_before_what_would_tell_it(site: Site) -> None:
    run = site.api.post("/api/v1/import", json={"text": golden()}).json()["id"]
    before = site.api.get(f"/api/v1/runs/{run}/diagnosis").json()["next"]
    assert {one["possible"] for one in before} == {False}
    assert sum("config file or command line would tell" in one["why"] for one in before) >= 5
    assert {one["tokens"] for one in before} == {None}
    with site.signed_in() as browser:
        card = browser.get(f"/runs/{run}/fragments/diagnosis").text
    assert 'href="#imported">Supply it' in card
    site.api.patch(f"/api/v1/runs/{run}/facts", json={"args": GOLDEN_ARGS}).raise_for_status()
    after = {one["kind"]: one for one in site.api.get(f"/api/v1/runs/{run}/diagnosis").json()["next"]}
    assert after["lr_half"]["tokens"] == 20_000 * 524_288
    assert after["lr_half"]["changes"]["schedule.lr"] == 5e-4


def test_a_device_by_name_decides_the_utilisation_and_an_unknown_one_is_asked_for_its_peak(site: Site) -> None:
    facts = {"vocab_size": 50304, "train_tokens": 7e8}
    made = site.api.post("/api/v1/import", json={"text": golden(), "args": GOLDEN_ARGS, "facts": facts})
    run = made.json()["id"]

    def utilisation() -> dict:
        found = site.api.get(f"/api/v1/runs/{run}/diagnosis").json()["findings"]
        return next(one for one in found if one["rule"] == "D16")

    def supply(**data: str) -> str:
        with site.signed_in(Origin=site.url) as browser:
            browser.post(f"/runs/{run}/facts", data=data)
            return browser.get(f"/runs/{run}").text

    assert utilisation()["missing"] == ["device"]
    assert 'id="ask-peak_flops"' in supply(device="Potato 3000")
    assert utilisation()["missing"] == ["peak_flops"]
    page = supply(supplied="device", device="rtx 4070")
    assert 'id="ask-peak_flops"' not in page
    assert "waits for it" not in page, "the page after the supply is of what was supplied"
    assert 'id="had-device" name="device" value="rtx 4070"' in page
    assert "of 312 TFLOP/s, as its log counts" in page
    found = utilisation()
    assert (found["verdict"], found["missing"]) == ("usual", [])
    assert found["evidence"][0]["value"] == pytest.approx(0.6, abs=0.03)
    assert 'id="ask-device"' in supply(supplied="device", device=""), "an empty field takes it back"


def test_the_commands_import_a_file_and_supply_facts(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATEAU_URL", site.url)
    monkeypatch.setenv("PLATEAU_TOKEN", site.token)
    import app.cli  # noqa: F401 - all commands

    (tmp_path / "a.log").write_text(golden())
    (tmp_path / "c.py").write_text("max_iters = 20000\n")
    ran = CliRunner().invoke(
        command_line, ["import", "log", str(tmp_path / "a.log"), "--config", str(tmp_path / "c.py")]
    )
    assert ran.exit_code == 0, ran.output
    run = ran.output.split()[0]
    assert "Not known: train_tokens, val_tokens, device, vocab_size" in ran.output
    ran = CliRunner().invoke(command_line, ["facts", run, "train_tokens=7e8", "device=4070"])
    assert "train_tokens = 700000000" in ran.output
    assert "device = 4070" in ran.output


def test_a_followed_log_is_a_live_run_that_ends_as_its_log_does(site: Site, tmp_path: Path) -> None:
    from app.cli import following
    from app.cli.rest import Place, Rest

    path = tmp_path / "grows.log"
    lines = [f"iter {step}: loss {4 - step / 100:.2f}, time 10ms\n" for step in range(0, 110, 10)]
    path.write_text(
        "tokens per iteration will be: 512\n"
        + "".join(lines[:8])
        + "".join(lines[5:])
        + "step 100: train loss 3, val loss 3.1\n"
    )
    told = following.Told({"args": "python train.py --max_iters=100"})
    with Rest(Place(site.url, site.token)) as rest:
        there = following.There(rest, "grows", told)
        assert following.follow(path, there, idle_s=0) == 0
    assert there.run is not None
    run = site.api.get(f"/api/v1/runs/{there.run['id']}").json()
    assert (run["name"], run["source"], run["state"], run["step"], run["best_val"]) == (
        "grows",
        "external",
        "finished",
        101,
        3.1,
    )
    assert run["telemetry"]["imported"]["facts"]["tokens_per_step"] == 512
    found = site.api.get("/api/v1/metrics", params={"run": run["id"], "key": "train/loss"}).json()
    assert found["runs"][run["id"]]["train/loss"]["step"] == [step + 1 for step in range(0, 110, 10)]


def test_multipart_reads_what_httpx_writes() -> None:
    request = httpx.Request("POST", "http://x", files={"log": ("ü.log", b"a\r\n--b\r\n")}, data={"name": "é"})
    mark = multipart.boundary(request.headers["content-type"])
    assert mark is not None
    found = {part.name: (part.filename, part.data) for part in multipart.parts(request.read(), mark)}
    assert found["log"] == ("ü.log", b"a\r\n--b\r\n")
    assert found["name"] == ("", "é".encode())
    assert multipart.boundary("text/plain") is None
    with pytest.raises(BadRequest):
        multipart.parts(b"--b\r\n\r\n\r\n--b--", b"b")
