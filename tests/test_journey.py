"""The story whole: a real server, a real worker, real text, a real browser.

A run is launched through the REST API, another through the browser's form; the loss falls, the chart's
trace grows under a reader's eyes; a run is stopped and resumed, and its curve is complete.
"""

import hashlib
import math
from pathlib import Path
from typing import Any

import pytest
from conftest import Server, Worker, wait_until

ENDED = {"finished", "failed", "stopped"}
TINY = {
    "model": {"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 32},
    "batch": {"micro_batch": 8},
    "schedule": {"steps": 60, "lr": 3e-3, "min_lr": 3e-4, "warmup_steps": 5},
    "eval": {"every": 20, "windows": 16},
    "system": {"threads": 1},
}

pytestmark = pytest.mark.timeout(280)


def words(line: int) -> str:
    """A line of made-up prose: regular enough to be learnt in seconds, never the same twice."""
    nouns = ("worker", "curve", "token", "loss", "step", "weight", "batch", "plateau")
    verbs = ("falls", "rises", "waits", "learns", "decays", "stops")
    return f"The {nouns[line % 8]} number {line} {verbs[line % 6]} before the {nouns[(line * 7 + 3) % 8]} {verbs[(line * 5) % 6]}."


@pytest.fixture
def dataset(server: Server, worker: Worker, tmp_path: Path) -> str:
    """Made-up text uploaded and prepared by the worker through the ordinary road; its id."""
    text = "\n\n".join("\n".join(words(40 * part + line) for line in range(40)) for part in range(60)).encode()
    sha256 = hashlib.sha256(text).hexdigest()
    with server.client() as api:
        api.put(f"/api/v1/artifacts/{sha256}?kind=upload&bytes={len(text)}", content=text).raise_for_status()
        spec = {
            "name": "made-up prose",
            "kind": "text",
            "files": [{"name": "prose.txt", "sha256": sha256}],
            "tokenizer": {"kind": "bytes"},
        }
        made = api.post("/api/v1/datasets", json=spec).raise_for_status().json()
        answer = f"/api/v1/datasets/{made['id']}"
        wait_until(lambda: api.get(answer).json()["state"] in ("ready", "failed"), 60, worker.output)
        assert api.get(answer).json()["state"] == "ready", api.get(answer).json()
    return str(made["id"])


def launch(server: Server, dataset: str, **sections: dict[str, Any]) -> str:
    config = {**TINY, "data": {"dataset": dataset}}
    for section, values in sections.items():
        config[section] = {**config.get(section, {}), **values}
    with server.client() as api:
        return str(api.post("/api/v1/runs", json={"config": config}).raise_for_status().json()["id"])


def run(server: Server, run_id: str) -> dict[str, Any]:
    with server.client() as api:
        found: dict[str, Any] = api.get(f"/api/v1/runs/{run_id}").raise_for_status().json()
        return found


def until(server: Server, run_id: str, states: set[str], worker: Worker) -> dict[str, Any]:
    def reached() -> bool:
        return run(server, run_id)["state"] in states

    wait_until(reached, 120, f"{run_id} did not reach {states}:\n{worker.output[-3000:]}")
    return run(server, run_id)


def series(server: Server, run_id: str, *keys: str) -> dict[str, dict[str, Any]]:
    with server.client() as api:
        query = [("run", run_id), ("width", "4000"), *(("key", key) for key in keys)]
        found: dict[str, dict[str, Any]] = (
            api.get("/api/v1/metrics", params=query).raise_for_status().json()["runs"][run_id]
        )
        return found


def test_a_run_launched_by_rest_trains_on_real_text_until_its_loss_has_fallen(
    server: Server, worker: Worker, dataset: str
) -> None:
    run_id = launch(server, dataset)
    ended = until(server, run_id, ENDED, worker)
    assert ended["state"] == "finished", ended["detail"]

    curves = series(server, run_id, "train/loss", "val/loss", "val/loss_se", "train/lr", "decay/effective", "rms/")
    train, val = curves["train/loss"], curves["val/loss"]
    assert train["step"] == list(range(1, 61)), "every step is logged, none twice"
    assert val["step"] == [0, 20, 40, 60], "evaluated before the first step, at intervals and at the end"
    assert val["y"][0] == pytest.approx(math.log(320), abs=0.1), "at first it knows nothing: ln V of 257 padded to 320"
    assert val["y"][-1] < val["y"][0] - 1.0
    assert train["y"][-1] < train["y"][0] - 1.0
    assert all(error > 0 for error in curves["val/loss_se"]["y"])
    lr, decay = curves["train/lr"]["y"], curves["decay/effective"]["y"]
    assert decay == pytest.approx([rate * 0.1 for rate in lr])
    assert {"rms/embedding", "rms/attn.qkv", "rms/mlp.fc", "rms/norm"} <= curves.keys()
    assert ended["best_val"] == min(val["y"])

    with server.client() as api:
        kept = {c["kept"] for c in api.get(f"/api/v1/runs/{run_id}/checkpoints").json()["checkpoints"]}
        log = " ".join(line["text"] for line in api.get(f"/api/v1/runs/{run_id}/log").json()["lines"])
    assert "end" in kept or "best" in kept
    assert "val" in log


def test_a_stopped_run_resumes_from_its_checkpoint_and_its_curve_is_complete(
    server: Server, worker: Worker, dataset: str
) -> None:
    run_id = launch(server, dataset, schedule={"steps": 1500})
    wait_until(lambda: run(server, run_id)["step"] >= 10, 60, worker.output)
    with server.client() as api:
        api.post(f"/api/v1/runs/{run_id}/stop").raise_for_status()
    stopped = until(server, run_id, ENDED, worker)
    assert stopped["state"] == "stopped"
    assert 10 <= stopped["step"] < 1500

    with server.client() as api:
        api.post(f"/api/v1/runs/{run_id}/resume").raise_for_status()
    assert until(server, run_id, ENDED, worker)["state"] == "finished"
    train = series(server, run_id, "train/loss")["train/loss"]
    assert train["step"][0] == 1
    assert train["total"] == 1500, "no step is missing and none is there twice"
    with server.client() as api:
        events = api.get(f"/api/v1/runs/{run_id}/events").json()["events"]
    resumed = [event for event in events if event["kind"] == "resume"]
    assert [event["step"] for event in resumed] == [stopped["step"]]


def test_a_run_launched_from_the_form_draws_its_loss_live(
    server: Server, worker: Worker, dataset: str, browser: Any
) -> None:
    page = browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(server.sign_in_link())
    page.goto(
        f"{server.url}/runs/new?preset=tiny&dataset={dataset}&steps=4000&n_layer=2&n_embd=32&n_head=2&block_size=32"
    )
    page.fill("#name", "from the form")
    page.fill('[name="optim.weight_decay"]', "0.3")
    page.get_by_role("button", name="Queue run").last.click()
    page.wait_for_url("**/runs/r-*", timeout=15_000)
    run_id = page.url.rpartition("/")[2]
    assert run(server, run_id)["config"]["optim"]["weight_decay"] == 0.3

    def drawn() -> int:
        """Points of the longest trace on the loss chart, as Plotly holds it."""
        # asked from here: the page's own policy forbids evaluating strings, which waiting inside it would do
        return int(
            page.evaluate("Math.max(0, ...(document.querySelector('#loss').data || []).map(t => (t.x || []).length))")
        )

    wait_until(lambda: drawn() > 5, 60, worker.output)
    before = drawn()
    wait_until(lambda: drawn() > before + 20, 60, f"the trace stayed at {before} points")
    page.get_by_role("button", name="Stop").first.click()
    until(server, run_id, ENDED, worker)
    wait_until(lambda: "Stopped" in page.inner_text("#head"), 15, "the page was not told that the run has stopped")
    assert complaints == []
    page.close()
