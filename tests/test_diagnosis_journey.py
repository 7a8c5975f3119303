"""From a diagnosis to its experiment and back, over HTTP alone: card, button, form, a worker's batches, outcome."""

import html
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pages_fixture
import pytest
from conftest import wait_until
from domain import SHA
from test_pages import form_of
from website import Site

from app import datasets
from app.settings import Settings

CONFIG = {
    "model": {"n_layer": 1, "n_head": 1, "n_embd": 8, "block_size": 8}, "batch": {"micro_batch": 2},
    "schedule": {"steps": 6000, "warmup_steps": 100, "shape": "constant"}, "eval": {"every": 100, "windows": 40},
}  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("journey") / "home"
    with Site(Settings(home=home, host="127.0.0.1", port=8000, allowed_hosts="")) as started:
        yield started


class FakeWorker:
    """Claims runs and posts batches as the protocol has it; trains nothing."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self.claims = 0

    def claim(self) -> dict[str, Any]:
        self.claims += 1
        worker = {"name": "box", "instance": "box-0001", "devices": [{"kind": "cpu", "name": "cpu"}]}
        body = {"worker": worker, "protocol": 1, "idempotency_key": f"key-{self.claims:06d}"}
        answer = self.http.post("/api/v1/jobs/claim", json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def report(self, claim: dict[str, Any], losses: dict[int, float], events: tuple[dict[str, Any], ...] = ()) -> None:
        """One batch: validation losses, each with its windows, whose noise every run shares."""
        hard = [0.02 * (k % 7 - 3) for k in range(40)]
        columns = {"val/loss": {"step": list(losses), "value": list(losses.values())},
                   "val/loss_se": {"step": list(losses), "value": [0.002] * len(losses)}}  # fmt: skip
        scored = [{"kind": "evaluation", "step": step, "data": {"losses": [loss + one for one in hard]}} for step, loss in losses.items()]  # fmt: skip
        batch = {"claim_id": claim["claim_id"], "attempt": claim["attempt"], "seq": 1, "columns": columns, "events": [*scored, *events]}  # fmt: skip
        assert self.http.post(f"/api/v1/jobs/{claim['job']}/batches", json=batch).status_code == 200

    def finish(self, claim: dict[str, Any]) -> None:
        end = {"claim_id": claim["claim_id"], "attempt": claim["attempt"], "final_seq": 1, "outcome": "finished"}
        assert self.http.post(f"/api/v1/jobs/{claim['job']}/finish", json=end).is_success


def ready(site: Site) -> None:
    """The built-in dataset as if prepared, and the one file that checkpoints name as if sent."""

    def fn(tx: Any) -> None:
        dataset = datasets.ensure_builtin(tx, 0.0)
        tx.raw.execute("UPDATE jobs SET state = 'done'")
        datasets.prepared(tx, dataset, pages_fixture.manifest("python-stdlib"), now=0.0)
        tx.raw.execute(
            "INSERT INTO artifacts (sha256, bytes, kind, on_server, created_at) VALUES (?, 7, 'checkpoint', 1, 0)",
            (SHA,),
        )

    site.db.write(fn)


def test_the_card_offers_a_probe_and_shows_what_came_of_it(site: Site) -> None:
    ready(site)
    parent = site.launch(name="parent", config=CONFIG)["id"]
    saved = {"attempt": 1, "step": 3000, "kept": "interval", "bytes": 7, "val_loss": 3.3,
             "manifest": {"files": [{"name": "model.safetensors", "sha256": SHA, "bytes": 7}]}}  # fmt: skip
    flat = {0: 8.3} | {step: 3.3 + 0.001 * (step // 100 % 3) for step in range(100, 3001, 100)}
    with site.client(site.worker_token) as http, site.signed_in() as reader:
        worker = FakeWorker(http)
        worker.report(worker.claim(), flat, ({"kind": "checkpoint", "step": 3000, "data": saved},))
        card = reader.get(f"/runs/{parent}/fragments/diagnosis").raise_for_status().text
        assert "A plateau" in card
        link = next(
            html.unescape(one) for one in re.findall(r'href="(/runs/new\?[^"]+)"', card) if "anneal_probe" in one
        )
        form = reader.get(link).raise_for_status().text
        assert f'for the diagnosis of <a href="/runs/{parent}#diagnosis">' in form
        sent = reader.post("/runs/new", data=form_of(form), headers={"Origin": site.url})
        assert sent.status_code == 303, sent.text[:2000]
        probe = sent.headers["location"].rpartition("/")[2]
        assert f'href="/runs/{parent}#diagnosis"' in reader.get(f"/runs/{probe}").text

        second = worker.claim()
        schedule = second["config"]["schedule"]
        assert (second["run"], schedule["steps"], schedule["min_lr"], second["resume"]["step"]) == (
            probe,
            3333,
            0.0,
            3000,
        )
        worker.report(second, {3000: 3.3, 3333: 3.19})
        worker.finish(second)
        found = wait_until(lambda: judged(site.api, parent), 30)
        assert (found["kind"], found["child"], found["outcome"], found["rule"]) == (
            "anneal_probe",
            probe,
            "supported",
            "D01",
        )
        assert found["numbers"]["difference"] == pytest.approx(-0.11, abs=1e-3)
        assert found["sentence"] in html.unescape(reader.get(f"/runs/{parent}/fragments/diagnosis").text)
    told = site.api.get(f"/api/v1/runs/{parent}/events").json()["events"]
    assert [one["data"].get("outcome") for one in told if one["kind"] == "experiment"] == [None, "supported"]


def judged(api: httpx.Client, run: str) -> dict[str, Any] | None:
    (found,) = api.get(f"/api/v1/runs/{run}/diagnosis").raise_for_status().json()["experiments"]
    return dict(found) if found["outcome"] else None
