"""The diagnosis over REST, on the page and on the command line: one answer, three ways to get it."""

import html
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from conftest import wait_until
from typer.testing import CliRunner
from website import Feeder, Site

from app.cli.commands import app as cli
from app.settings import Settings

STEPS = list(range(0, 3001, 100))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("diagnosis") / "home"
    with Site(Settings(home=home, host="127.0.0.1", port=8000, allowed_hosts="")) as started:
        yield started


@pytest.fixture(scope="module")
def flat(site: Site) -> str:
    """A run under way that has been flat since step 100, at a constant rate."""
    config = {"schedule": {"steps": 6000, "warmup_steps": 100, "shape": "constant"}, "eval": {"every": 100},
              "model": {"n_layer": 1, "n_head": 1, "n_embd": 8, "block_size": 8}, "batch": {"micro_batch": 2}}  # fmt: skip
    feeder = Feeder(site, name="flat", config=config)
    values = [8.3, *(3.3 + 0.002 * np.random.default_rng(0).standard_normal(len(STEPS) - 1)).tolist()]
    columns = {
        "val/loss": {"step": STEPS, "value": values},
        "val/loss_se": {"step": STEPS, "value": [0.002] * len(STEPS)},
    }
    assert feeder.post(columns).status_code == 200
    return feeder.id


@pytest.fixture(scope="module")
def reader(site: Site) -> Iterator[httpx.Client]:
    with site.signed_in() as client:
        yield client


def command(site: Site, *arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(cli, [*arguments, "--url", site.url, "--token", site.token])
    return found.exit_code, found.output


def test_rest_answers_verdict_evidence_and_what_to_try_next(site, flat):
    found = site.api.get(f"/api/v1/runs/{flat}/diagnosis").raise_for_status().json()
    assert (found["run"], found["verdict"], found["rule"], found["step"]) == (flat, "plateau", "D01", 3000)
    head = next(one for one in found["findings"] if one["rule"] == "D01")
    slope = head["evidence"][0]
    assert -0.05 < slope["low"] < slope["value"] < slope["high"] < 0.05
    offered = {one["kind"]: one for one in found["next"]}
    assert not offered["anneal_probe"]["possible"]
    assert "needs a checkpoint" in offered["anneal_probe"]["why"]
    assert offered["larger_model"]["form"].startswith(f"/runs/new?from={flat}&experiment={flat}.D")
    assert found["experiments"] == []


def test_an_unknown_run_and_an_impossible_experiment_are_refused(site, flat):
    assert site.api.get("/api/v1/runs/r-9999/diagnosis").status_code == 404
    refused = site.api.post(f"/api/v1/runs/{flat}/experiments", json={"kind": "anneal_probe"})
    assert (refused.status_code, "checkpoint" in refused.json()["detail"]) == (409, True)
    wrong = site.api.post(f"/api/v1/runs/{flat}/experiments", json={"kind": "prayer"})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/kind")


def test_the_card_and_the_lists_badge_say_the_same(site, reader, flat):
    site.api.get(f"/api/v1/runs/{flat}/diagnosis").raise_for_status()
    wait_until(lambda: "A plateau" in reader.get(f"/runs/{flat}").text)
    card = reader.get(f"/runs/{flat}/fragments/diagnosis").text
    assert "A plateau" in card
    assert 'class="gauge"' in card
    assert "It needs a checkpoint to start from" in card
    assert f'class="dx warn" href="/runs/{flat}#diagnosis"' in reader.get("/runs?q=diagnosis%3Dplateau").text
    assert flat not in reader.get("/runs?q=diagnosis%3Dimproving").text
    german = reader.get(f"/runs/{flat}/fragments/diagnosis", headers={"Accept-Language": "de"}).text
    assert "Ein Plateau" in german


def test_an_experiment_launched_by_rest_is_known_to_both_runs_and_its_key_makes_it_once(site, reader, flat):
    site.api.get(f"/api/v1/runs/{flat}/diagnosis").raise_for_status()
    body = {"kind": "lr_half", "config": {"system": {"seed": 7}}, "name": "slower"}
    made = site.api.post(f"/api/v1/runs/{flat}/experiments", json=body, headers={"Idempotency-Key": "once"})
    again = site.api.post(f"/api/v1/runs/{flat}/experiments", json=body, headers={"Idempotency-Key": "once"})
    assert (made.status_code, again.status_code, again.json()["id"]) == (201, 200, made.json()["id"])
    child = site.api.get(f"/api/v1/runs/{made.json()['child']}").json()
    assert (child["name"], child["config"]["schedule"]["lr"], child["config"]["system"]["seed"]) == ("slower", 5e-4, 7)
    known = site.api.get(f"/api/v1/runs/{flat}/experiments").json()["experiments"]
    assert [(one["kind"], one["child"], one["outcome"]) for one in known] == [("lr_half", child["id"], None)]
    assert f"An experiment for {flat}:" in html.unescape(reader.get(f"/runs/{child['id']}").text)
    assert "Half the learning rate" in reader.get(f"/runs/{flat}/fragments/diagnosis").text


def test_the_command_line_says_it_in_words_lists_and_launches(site, flat):
    code, said = command(site, "diagnose", flat)
    assert code == 0
    assert f"{flat}, step 3,000: PLATEAU." in said
    assert "nats per e-fold of tokens" in said
    code, said = command(site, "experiment", flat)
    assert (code, "larger_model" in said) == (0, True)
    code, said = command(site, "experiment", flat, "lr_double", "--name", "faster")
    assert (code, said.startswith("Twice the learning rate: r-")) == (0, True)


def test_a_log_file_is_diagnosed_without_a_server(tmp_path):
    lines = [
        f"step {step}: train loss {3.7 + 0.01 * (step % 3):.4f}, val loss {3.6 - (step - 10_000) * 2e-5:.4f}"
        for step in range(10_000, 14_501, 500)
    ]
    log = tmp_path / "run.log"
    log.write_text("\n".join(lines))
    found = CliRunner().invoke(cli, ["diagnose", str(log), "--fact", "train_tokens=7e8"])
    assert found.exit_code == 0, found.output
    assert "run.log (nanogpt), step 14,500: IMPROVING" in found.output
    assert "--fact or --config could say it" in found.output


@pytest.mark.parametrize(
    ("content", "arguments", "code", "said"),
    [
        (None, (), 3, "No such file"),
        ("nothing of interest", (), 4, "No loss"),
        ("step 1: train loss 3, val loss 3", ("--fact", "train_tokens=many"), 2, "train_tokens"),
        ("step 1: train loss 3, val loss 3", ("--fact", "nonsense=1"), 2, "nonsense"),
    ],
)
def test_what_is_no_log_or_no_fact_is_a_sentence_and_an_exit_code(tmp_path, content, arguments, code, said):
    log = tmp_path / "run.log"
    if content is not None:
        log.write_text(content)
    found = CliRunner().invoke(cli, ["diagnose", str(log), *arguments])
    assert (found.exception.exit, said in str(found.exception)) == (code, True)
