"""A fork through the real server and the real worker: the curve goes on, what was changed applies, bit for bit where nothing was."""

import hashlib
import random

import pytest
from conftest import wait_until

STEPS, AT = 24, 16
CONFIG = {
    "model": {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16},
    "batch": {"micro_batch": 4},
    "schedule": {"steps": STEPS, "lr": 3e-3, "min_lr": 3e-4, "warmup_steps": 4, "shape": "constant"},
    "optim": {"weight_decay": 0.1},
    "eval": {"every": 8, "windows": 8},
    "checkpoint": {"every": 8},
    "system": {"device": "cpu", "threads": 1, "dtype": "float32"},
}


def dataset(http) -> str:
    words = random.Random(1).choices(["one", "two", "three", "four", "red", "blue"], k=6000)
    text = "".join(word + (".\n\n" if i % 40 == 39 else " ") for i, word in enumerate(words)).encode()
    sha256 = hashlib.sha256(text).hexdigest()
    http.put(f"/api/v1/artifacts/{sha256}?kind=upload", content=text).raise_for_status()
    files = [{"name": "w.txt", "sha256": sha256}]
    spec = {"name": "words", "kind": "text", "files": files, "tokenizer": {"kind": "bytes"}}
    return str(http.post("/api/v1/datasets", json=spec).raise_for_status().json()["id"])


def ended(http, worker, run: str) -> dict:
    def over():
        now = http.get(f"/api/v1/runs/{run}").json()
        return now["state"] in ("finished", "failed", "stopped") and now

    shown = wait_until(over, 90, lambda: worker.output[-2000:])
    assert shown["state"] == "finished", shown["detail"]
    return shown


def curve(http, run: str, key: str) -> dict[int, float]:
    found = http.get("/api/v1/metrics", params={"run": run, "key": key, "width": 500}).json()["runs"][run][key]
    return dict(zip(found["step"], found["y"], strict=True))


def test_a_fork_goes_on_where_its_checkpoint_was_and_a_cool_down_ends_at_zero(server, worker):
    with server.client() as http:
        body = {"name": "parent", "config": CONFIG | {"data": {"dataset": dataset(http)}}}
        parent = http.post("/api/v1/runs", json=body).raise_for_status().json()["id"]
        ended(http, worker, parent)

        def fork(**body):
            made = http.post(f"/api/v1/runs/{parent}/fork", json=body).raise_for_status().json()
            assert (made["fork"]["run"], made["step"]) == (parent, body["at"])
            return made["id"]

        same = fork(at=AT)
        cooled = fork(at=AT, cooldown={"steps": 4}, config={"optim": {"weight_decay": 0.5}, "eval": {"every": 2}})
        planned = http.post(
            "/api/v1/preflight",
            json={"fork": {"run": parent, "at": AT, "cooldown": {"steps": 4}}, "config": {"optim": {"weight_decay": 0.5}}},
        ).json()  # fmt: skip
        assert (planned["first_step"], planned["steps"], planned["total_tokens"]) == (AT, 4, 4 * 64)
        assert planned["total_decay"] == pytest.approx(sum(3e-3 * (1 - k / 4) * 0.5 for k in range(4)))

        assert ended(http, worker, same)["config"] == http.get(f"/api/v1/runs/{parent}").json()["config"]
        theirs, mine = curve(http, parent, "train/loss"), curve(http, same, "train/loss")
        assert mine == {step: theirs[step] for step in range(AT + 1, STEPS + 1)}, "bit for bit"
        assert curve(http, same, "val/loss") == {step: curve(http, parent, "val/loss")[step] for step in (16, 24)}

        shown = ended(http, worker, cooled)
        assert (shown["step"], shown["steps"], shown["tokens"]) == (20, 20, 20 * 64)
        rates, decay = curve(http, cooled, "train/lr"), curve(http, cooled, "decay/effective")
        assert rates == pytest.approx({17 + k: 3e-3 * (1 - k / 4) for k in range(4)})
        assert decay == pytest.approx({step: rate * 0.5 for step, rate in rates.items()})
        assert sorted(curve(http, cooled, "val/loss")) == [16, 18, 20], "measured before its first step"
        assert curve(http, cooled, "x/tokens")[16] == curve(http, parent, "x/tokens")[16]
        saved = http.get(f"/api/v1/runs/{cooled}/checkpoints").json()["checkpoints"]
        assert {one["kept"] for one in saved if one["step"] == 16} == {"start"}
        told = [one for one in http.get(f"/api/v1/runs/{cooled}/events").json()["events"] if one["kind"] == "fork"]
        assert "optim.weight_decay 0.1 → 0.5" in told[0]["text"]


def test_one_key_makes_one_fork_and_what_cannot_be_is_a_problem(server):
    with server.client() as http:
        run = http.post("/api/v1/runs", json={"preset": "tiny"}).json()["id"]
        refused = http.post(f"/api/v1/runs/{run}/fork", json={"at": "best", "config": {"model": {"n_layer": 9}}})
        assert refused.status_code == 422
        assert refused.json()["errors"] == [{"pointer": "/at", "message": f"finds nothing: {run} has no checkpoint"}]
        assert http.post("/api/v1/runs/r-0099/fork", json={}).status_code == 404
        unknown = http.post("/api/v1/preflight", json={"fork": {"run": "r-0099"}})
        assert unknown.json()["errors"][0]["pointer"] == "/fork/run"
