"""Datasets, workers, checkpoints and what comes before a launch, over HTTP."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from website import Feeder, Site

from app.settings import Settings

DATASETS = "/api/v1/datasets"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(Settings(home=tmp_path_factory.mktemp("datasets") / "home")) as started:
        yield started


def uploaded(site: Site, text: bytes = b"Once upon a time.\n\nAnother.") -> str:
    sha256 = hashlib.sha256(text).hexdigest()
    site.api.put(f"/api/v1/artifacts/{sha256}?kind=upload", content=text).raise_for_status()
    return sha256


def test_an_uploaded_text_becomes_a_dataset_that_waits_for_a_worker(site: Site) -> None:
    spec = {"name": "tales", "kind": "text", "files": [{"name": "a.txt", "sha256": uploaded(site)}]}
    answer = site.api.post(DATASETS, json=spec)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["name"], made["state"], made["manifest"]) == ("tales", "queued", None)
    assert site.api.get(answer.headers["location"]).json() == made
    assert site.api.get(f"{DATASETS}/tales").json() == made, "by name too"
    assert made["id"] in [one["id"] for one in site.api.get(DATASETS).json()["datasets"]]
    assert site.api.post(DATASETS, json=spec).status_code == 409, "the name is taken"
    freed = site.api.delete(answer.headers["location"])
    assert (freed.status_code, freed.json()) == (200, {"bytes": 27, "server_bytes": 27, "workers": []})
    assert site.api.get(f"{answer.headers['location']}/freed").json() == freed.json()
    assert site.api.post(DATASETS, json=spec).status_code == 422, "the file it alone was made of went with it"
    uploaded(site)
    assert site.api.post(DATASETS, json=spec).status_code == 201, "and the name is free again"


@pytest.mark.parametrize(
    ("spec", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "x", "kind": "text"}, "/files"),
        ({"name": "x", "kind": "video"}, "/kind"),
        ({"name": "x", "files": [{"name": "a", "sha256": "0" * 64}]}, "/files/0/sha256"),
        ({"name": "x", "files": [{"name": "a", "sha256": "../../x"}]}, "/files/0/sha256"),
        ({"name": "x", "files": [{"name": "a"}]}, "/files/0"),
        ({"name": "x", "files": [{"name": "a", "path": "/x", "sha256": "0" * 64}]}, "/files/0/path"),
        ({"name": "x", "files": [{"name": "a", "path": "/x"}], "val_share": 0.9}, "/val_share"),
        (
            {"name": "x", "files": [{"name": "a", "path": "/x"}], "tokenizer": {"vocab_size": 1}},
            "/tokenizer/vocab_size",
        ),
        ({"name": "x", "files": [{"name": "a", "path": "/x"}], "tokeniser": {}}, "/tokeniser"),
        ({"name": "d-0001", "files": [{"name": "a", "path": "/x"}]}, "/name"),
        ({}, "/name"),
    ],
)
def test_a_bad_spec_names_its_field(site: Site, spec: dict[str, Any], pointer: str) -> None:
    answer = site.api.post(DATASETS, json=spec)
    assert answer.status_code == 422, answer.text
    assert pointer in [one["pointer"] for one in answer.json()["errors"]]


@pytest.mark.parametrize("odd", ["d-9999", "nowhere", "..%2f..", "%00", "x" * 200])
def test_an_unknown_dataset_is_404(site: Site, odd: str) -> None:
    for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/retry")):
        assert site.api.request(method, f"{DATASETS}/{odd}{rest}").status_code == 404


def test_a_dataset_that_has_not_failed_is_not_retried(site: Site) -> None:
    site.launch()
    assert site.api.post(f"{DATASETS}/python-stdlib/retry").status_code == 409
    assert site.api.delete(f"{DATASETS}/python-stdlib").status_code == 409, "a run still needs it"


def test_workers_are_listed_drained_and_enabled(site: Site) -> None:
    worker = {"name": "box", "instance": "box-0001", "devices": [{"kind": "cpu", "name": "cpu", "memory_gib": 8}]}
    site.api.post("/api/v1/jobs/claim", json={"worker": worker, "protocol": 1, "idempotency_key": "key-00001"})
    listed = site.api.get("/api/v1/workers").json()["workers"]
    assert [one["name"] for one in listed] == ["box"]
    url = f"/api/v1/workers/{listed[0]['id']}"
    assert site.api.patch(url, json={"enabled": False}).json()["enabled"] is False
    assert site.api.patch(url, json={"enabled": True}).json()["enabled"] is True
    assert site.api.patch(url, json={"enabled": "perhaps"}).status_code == 422
    assert site.api.patch(url, json={}).status_code == 422
    assert site.api.patch("/api/v1/workers/w-99", json={"enabled": True}).status_code == 404


def test_a_checkpoint_is_listed_and_one_of_a_client_cannot_be_sent(site: Site) -> None:
    feeder = Feeder(site)
    data = {"attempt": 1, "step": 10, "kept": "best", "bytes": 1000, "val_loss": 3.1, "manifest": {"files": {}}}
    assert feeder.post(events=[{"kind": "checkpoint", "step": 10, "data": data}]).status_code == 200
    listed = site.api.get(f"/api/v1/runs/{feeder.id}/checkpoints").json()["checkpoints"]
    assert [(one["step"], one["kept"]) for one in listed] == [(10, "best")]
    assert site.api.post(f"/api/v1/checkpoints/{listed[0]['id']}/send").status_code == 409
    assert site.api.post("/api/v1/checkpoints/c-9999/send").status_code == 404


def test_presets_and_the_schema_say_what_a_run_can_be(site: Site) -> None:
    presets = site.api.get("/api/v1/presets").json()["presets"]
    assert "tiny" in [preset["key"] for preset in presets]
    schema = site.api.get("/api/v1/schema").json()
    decay = schema["$defs"]["OptimConfig"]["properties"]["weight_decay"]
    assert decay["title"]
    assert decay["usual"]


def test_preflight_answers_numbers_and_stores_nothing(site: Site) -> None:
    before = site.api.get("/api/v1/runs").json()["total"]
    answer = site.api.post("/api/v1/preflight", json={"preset": "tiny", "config": {"optim": {"weight_decay": 0.3}}})
    numbers = answer.json()
    assert answer.status_code == 200
    assert numbers["parameters"] > 0
    assert numbers["config"]["optim"]["weight_decay"] == 0.3
    assert isinstance(numbers["warnings"], list)
    assert site.api.get("/api/v1/runs").json()["total"] == before
    assert site.api.post("/api/v1/preflight", json={"config": {"optim": {"beta1": 2}}}).status_code == 422
    assert site.api.post("/api/v1/preflight", json={"config": {"data": {"dataset": "unknown"}}}).status_code == 200


def test_extreme_configurations_have_numbers_too(site: Site) -> None:
    huge = {"model": {"n_layer": 128, "n_head": 128, "n_embd": 16384, "block_size": 131072}, "batch": {"micro_batch": 4096, "accumulation": 65536},
            "schedule": {"steps": 100_000_000, "lr": 10, "warmup_steps": 0}, "optim": {"weight_decay": 1000}}  # fmt: skip
    none = {
        "schedule": {"steps": 1, "lr": 1e-300, "min_lr": 0, "warmup_steps": 0},
        "optim": {"weight_decay": 0, "beta2": 0},
    }
    for config in (huge, none):
        answer = site.api.post("/api/v1/preflight", json={"config": config})
        assert answer.status_code == 200, answer.text


def test_a_nanogpt_config_is_read_and_never_run(site: Site) -> None:
    text = "n_layer = 6\nlearning_rate = 1e-3\n__import__('os').system('touch /tmp/never')\nlog_interval = 10\n"
    read = site.api.post("/api/v1/nanogpt", json={"text": text}).json()
    assert read["config"]["model"]["n_layer"] == 6
    assert any("log_interval" in remark["key"] for remark in read["report"])
    for odd in ("", "x" * 60_000):
        assert site.api.post("/api/v1/nanogpt", json={"text": odd}).status_code == 422
    for odd in ("((((" * 5000, "a = 9**9**9**9", "\x00", "n_layer = " + "9" * 5000, "lambda: 0"):
        assert site.api.post("/api/v1/nanogpt", json={"text": odd}).status_code == 200, odd[:20]


def test_a_report_is_asked_for_once_there_is_something_to_read(site: Site) -> None:
    spec = {"name": "to read", "kind": "text", "files": [{"name": "a.txt", "sha256": uploaded(site)}]}
    made = site.api.post(DATASETS, json=spec).json()
    assert made["report"] is None
    answer = site.api.post(f"{DATASETS}/{made['id']}/report")
    assert answer.status_code == 409
    assert "once it is ready" in answer.json()["detail"]
    assert site.api.post(f"{DATASETS}/d-9999/report").status_code == 404
