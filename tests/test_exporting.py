"""The run page's export buttons, as a browser without scripts uses them, with a worker's part spoken by the test."""

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pages_fixture
import pytest
from website import Site

from app.settings import Settings

FILE = b"what a worker wrote"
SHA256 = hashlib.sha256(FILE).hexdigest()
WORKER = {"name": "attic", "instance": "fixture-0001", "devices": [{"kind": "cpu", "name": "2-core CPU"}]}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(Settings(home=tmp_path_factory.mktemp("exporting") / "home")) as started:
        pages_fixture.fill(started.db)
        yield started


@pytest.fixture(scope="module")
def reader(site: Site) -> Iterator[httpx.Client]:
    with site.signed_in() as client:
        yield client


@pytest.fixture(scope="module")
def run(site: Site) -> str:
    """One that has checkpoints."""
    found = site.api.get("/api/v1/runs").json()["runs"]
    return next(
        one["id"] for one in found if site.api.get(f"/api/v1/runs/{one['id']}/checkpoints").json()["checkpoints"]
    )


def card(reader: httpx.Client, run: str) -> str:
    return reader.get(f"/runs/{run}/fragments/checkpoints").text


def press(site: Site, reader: httpx.Client, action: str, format: str) -> httpx.Response:
    return reader.post(action, data={"format": format}, headers={"Origin": site.url})


def ended(site: Site, outcome: str, **told: Any) -> None:
    """A worker takes the oldest export and says how it went."""
    with site.client(site.worker_token) as worker:
        claim = worker.post(
            "/api/v1/jobs/claim",
            json={"worker": WORKER, "kinds": ["export"], "protocol": 1, "idempotency_key": f"key-{outcome}"},
        ).json()
        worker.put(f"/api/v1/artifacts/{SHA256}?kind=checkpoint", content=FILE).raise_for_status()
        body = {
            "claim_id": claim["claim_id"],
            "attempt": claim["attempt"],
            "final_seq": 0,
            "outcome": outcome,
            "exit": 0,
        }
        worker.post(f"/api/v1/jobs/{claim['job']}/finish", json={**body, **told}).raise_for_status()


def test_a_checkpoint_is_exported_followed_and_downloaded_without_scripts(
    site: Site, reader: httpx.Client, run: str
) -> None:
    action = re.findall(r'action="(/runs/[^"]*/export)"', card(reader, run))[0]
    answer = press(site, reader, action, "nanogpt")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/runs/{run}#checkpoints")
    page = card(reader, run)
    assert "Waiting" in page
    assert "Reload to see whether it is ready." in page
    press(site, reader, action, "nanogpt")
    assert card(reader, run).count('class="exported"') == 1, "the one under way is answered again"

    ended(site, "finished", summary={"detail": "AdamW's moments are in it.", "files": [{"name": "ckpt.pt", "sha256": SHA256, "bytes": len(FILE)}]})  # fmt: skip
    page = card(reader, run)
    assert "AdamW&#39;s moments are in it." in page
    (link,) = re.findall(r'href="(/api/v1/artifacts/[^"]*)" download="ckpt.pt"', page)
    assert reader.get(link).content == FILE

    press(site, reader, action, "gpt2")
    ended(site, "failed", log_tail=["Unsuitable: GPT-2 has no qk_norm."])
    page = card(reader, run)
    assert page.count('class="exported"') == 2
    assert "GPT-2 has no qk_norm." in page


def test_what_is_no_export_is_refused_in_words(site: Site, reader: httpx.Client, run: str) -> None:
    action = re.findall(r'action="(/runs/[^"]*/export)"', card(reader, run))[0]
    wrong = press(site, reader, action, "onnx")
    assert (wrong.status_code, "must be one of nanogpt, gpt2" in wrong.text) == (422, True)
    assert press(site, reader, f"/runs/{run}/checkpoints/c-9999/export", "gpt2").status_code == 404
    site.ahead_s = 3600
    gone = press(site, reader, action.replace("/checkpoints/c-0001", "/checkpoints/c-0002"), "gpt2")
    site.ahead_s = 0
    assert gone.status_code == 409
    assert "has not been heard of for" in gone.text
