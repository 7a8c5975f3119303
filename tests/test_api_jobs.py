"""The worker protocol over HTTP: claims, batches that are durable, fences, gaps, and batches that cannot be."""

from collections.abc import Iterator
from typing import Any

import pytest
from website import Feeder, Site

from app.contract.protocol import Claim
from app.settings import Settings

JOBS = "/api/v1/jobs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(Settings(home=tmp_path_factory.mktemp("jobs") / "home")) as started:
        yield started


def claim_body(**changes: Any) -> dict[str, Any]:
    worker = {"name": "box", "instance": "box-0001", "devices": [{"kind": "cpu", "name": "cpu"}]}
    return {"worker": worker, "protocol": 1, "idempotency_key": "key-00001"} | changes


def test_a_worker_claims_the_preparation_first_and_the_same_key_gives_the_same_claim(site: Site) -> None:
    site.launch()
    with site.client(site.worker_token) as worker:
        first = worker.post(f"{JOBS}/claim", json=claim_body())
        again = worker.post(f"{JOBS}/claim", json=claim_body())
        assert first.status_code == 200
        claim = Claim.model_validate(first.json())
        assert claim.kind == "prepare"
        assert again.json() == first.json()
        nothing = worker.post(f"{JOBS}/claim", json=claim_body(idempotency_key="key-00002"))
        assert nothing.status_code == 204, "training waits for its dataset"
        beat = worker.post(f"{JOBS}/{claim.job}/batches", json={"claim_id": claim.claim_id, "attempt": 1, "seq": 1})
        assert beat.json()["acked_seq"] == 1


def test_another_protocol_is_426_and_says_what_to_do(site: Site) -> None:
    answer = site.api.post(f"{JOBS}/claim", json=claim_body(protocol=2))
    assert answer.status_code == 426
    assert answer.json()["type"] == "/problems/unsupported-protocol"


@pytest.mark.parametrize(
    "changes",
    [{"worker": None}, {"idempotency_key": "x"}, {"kinds": []}, {"kinds": ["mine bitcoin"]}, {"extra": 1}, {"protocol": -1},
     {"worker": {"name": "x", "instance": "short", "devices": []}}],
)  # fmt: skip
def test_odd_claims_are_refused(site: Site, changes: dict[str, Any]) -> None:
    assert site.api.post(f"{JOBS}/claim", json=claim_body(**changes)).status_code == 422


def test_a_batch_is_stored_once_however_often_it_comes(site: Site) -> None:
    feeder = Feeder(site)
    first = feeder.losses(1, 3.0, 2.0)
    assert first.json()["acked_seq"] == 1
    feeder.seq = 0
    assert feeder.losses(1, 9.0, 9.0).json() == first.json(), "the same seq again changes nothing"
    curve = site.api.get("/api/v1/metrics", params={"run": feeder.id, "key": "train/loss"}).json()["runs"][feeder.id][
        "train/loss"
    ]
    assert curve["y"] == [3.0, 2.0]


def test_a_gap_says_where_to_go_on(site: Site) -> None:
    feeder = Feeder(site)
    feeder.losses(1, 1.0)
    feeder.seq = 5
    answer = feeder.losses(2, 1.0)
    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/seq-gap"
    assert answer.json()["acked_seq"] == 1


def test_a_stale_claim_is_fenced(site: Site) -> None:
    feeder = Feeder(site)
    feeder.claim = {**feeder.claim, "claim_id": "00000000-0000-0000-0000-000000000000"}
    answer = feeder.losses(1, 1.0)
    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/fenced"


def test_the_end_is_accepted_only_after_the_last_batch(site: Site) -> None:
    feeder = Feeder(site)
    feeder.losses(1, 1.0)
    url = f"{JOBS}/{feeder.claim['job']}/finish"
    end = {"claim_id": feeder.claim["claim_id"], "attempt": 1, "final_seq": 2, "outcome": "finished", "exit": 0}
    early = site.api.post(url, json=end)
    assert early.status_code == 409
    assert early.json()["acked_seq"] == 1
    feeder.losses(2, 0.5)
    assert [site.api.post(url, json=end).status_code for _ in range(2)] == [204, 204]
    assert site.api.get(f"/api/v1/runs/{feeder.id}").json()["state"] == "finished"


def test_commands_reach_the_client_with_its_next_batch(site: Site) -> None:
    feeder = Feeder(site)
    feeder.losses(1, 1.0)
    site.api.post(f"/api/v1/runs/{feeder.id}/stop")
    for _ in range(2):
        assert [one["command"] for one in feeder.post().json()["commands"]] == ["stop"]


DEEP: Any = 1
for _ in range(500):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "change",
    [
        {"columns": []},
        {"columns": {"train/loss": 3}},
        {"columns": {"train/loss": {"step": [1], "value": []}}},
        {"columns": {"train/loss": {"step": ["1"], "value": [1]}}},
        {"columns": {"train/loss": {"step": [True], "value": [1]}}},
        {"columns": {"train/loss": {"step": [1.5], "value": [1]}}},
        {"columns": {"train/loss": {"step": [-1], "value": [1]}}},
        {"columns": {"train/loss": {"step": [2**53 + 1], "value": [1]}}},
        {"columns": {"train/loss": {"step": [2**63], "value": [1]}}},
        {"columns": {"train/loss": {"step": [10**30], "value": [1]}}},
        {"columns": {"train/loss": {"step": [1], "value": ["nan"]}}},
        {"columns": {"train/loss": {"step": [1], "value": [None]}}},
        {"columns": {"train/loss": {"step": [1], "value": [[1]]}}},
        {"columns": {"train/loss": {"step": ["NaN"], "value": [1]}}},
        {"columns": {"../../etc/passwd": {"step": [1], "value": [1]}}},
        {"columns": {"": {"step": [1], "value": [1]}}},
        {"columns": {"a/" + "b" * 300: {"step": [1], "value": [1]}}},
        {"columns": {f"a/k{n}": {"step": [1], "value": [1]} for n in range(10_000)}},
        {"columns": {"train/loss": {"step": list(range(10_001)), "value": [1] * 10_001}}},
        {"claim_id": None}, {"seq": 0}, {"seq": "x"}, {"attempt": 0}, {"extra": 1}, {"seq": 2**60},
        {"log": [{"at": "now", "text": "x"}]}, {"log": [{"at": 1, "text": "x" * 5000}]}, {"log": "x"},
        {"events": [{"kind": "no spaces"}]}, {"events": [{"kind": "x", "step": -1}]}, {"events": [{}]},
        {"events": [{"kind": "resume", "data": {"first_step": "x"}}]},
        {"events": [{"kind": "checkpoint", "data": {}}]},
        {"events": [{"kind": "checkpoint", "data": {"attempt": 1, "step": 2**63, "kept": "end", "bytes": 1, "manifest": {}}}]},
        {"events": [{"kind": "checkpoint", "data": {"attempt": 1, "step": 1, "kept": "end", "bytes": 10**18 * 100, "manifest": {}}}]},
        {"events": [{"kind": "note", "data": {"deep": DEEP}}]},
        {"telemetry": {"deep": DEEP}}, {"telemetry": []}, {"telemetry": "x"},
    ],
)  # fmt: skip
def test_no_batch_whatever_it_holds_makes_a_server_error(site: Site, change: dict[str, Any]) -> None:
    feeder = Feeder(site)
    answer = site.api.post(f"{JOBS}/{feeder.claim['job']}/batches", json=feeder.batch() | change)
    assert answer.status_code in (409, 422), answer.text
    assert answer.json()["detail"]
    feeder.seq = 0
    assert feeder.losses(1, 1.0).status_code == 200, "the refused batch has taken no number"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"NaN", b'{"seq": NaN}', b"\xff", b"[" * 100_000])
def test_bodies_that_are_no_batch_are_refused(site: Site, body: bytes) -> None:
    feeder = Feeder(site)
    assert site.api.post(f"{JOBS}/{feeder.claim['job']}/batches", content=body).status_code in (400, 422)


def test_a_batch_past_one_mebibyte_is_too_large(site: Site) -> None:
    feeder = Feeder(site)
    answer = feeder.post(log=[{"at": 1, "text": "x" * 4000}] * 300)
    assert answer.status_code == 413


def test_large_and_not_finite_values_are_kept(site: Site) -> None:
    feeder = Feeder(site)
    assert feeder.losses(1, 1e308, "NaN", "Infinity", "-Infinity", 5e-324).status_code == 200
    curve = site.api.get("/api/v1/metrics", params={"run": feeder.id, "key": "train/loss"}).json()["runs"][feeder.id][
        "train/loss"
    ]
    assert curve["y"] == [1e308, None, None, None, 5e-324]
    assert [one["value"] for one in curve["non_finite"]] == ["NaN", "Infinity", "-Infinity"]


@pytest.mark.parametrize("job", ["j-9999", "j-0", "x", "r-0001", "j-999999999999999999"])
def test_an_unknown_job_is_404(site: Site, job: str) -> None:
    body = {"claim_id": "x", "attempt": 1, "seq": 1}
    end = {"claim_id": "x", "attempt": 1, "final_seq": 0, "outcome": "finished"}
    assert site.api.post(f"{JOBS}/{job}/batches", json=body).status_code == 404
    assert site.api.post(f"{JOBS}/{job}/finish", json=end).status_code == 404


@pytest.mark.parametrize(
    "change",
    [{"outcome": "bored"}, {"exit": 10**30}, {"final_seq": -1}, {"final_seq": 10**30}, {"attempt": 10**30}, {"summary": {"x": DEEP}},
     {"log_tail": ["x"] * 201}, {"reason": "x" * 41}],
)  # fmt: skip
def test_odd_ends_are_refused(site: Site, change: dict[str, Any]) -> None:
    feeder = Feeder(site)
    end = {"claim_id": feeder.claim["claim_id"], "attempt": 1, "final_seq": 0, "outcome": "failed"} | change
    status = site.api.post(f"{JOBS}/{feeder.claim['job']}/finish", json=end).status_code
    assert status in (204, 409, 422)
