"""The launch form that starts from a checkpoint, as a browser without scripts sees it, and the pages that show the lineage."""

import json
import re
from collections.abc import Iterator

import httpx
import pages_fixture
import pytest
from test_pages import form_of, post
from website import Site

from app.settings import Settings

FILES = {"files": [{"name": "model.safetensors", "sha256": "ab" * 32, "bytes": 7}]}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("forks") / "home"
    with Site(Settings(home=home, host="127.0.0.1", port=8000, allowed_hosts="")) as started:
        pages_fixture.fill(started.db)
        yield started


@pytest.fixture(scope="module")
def reader(site: Site) -> Iterator[httpx.Client]:
    with site.signed_in() as client:
        yield client


@pytest.fixture(scope="module")
def checkpoint(site: Site) -> str:
    """The checkpoint of step 250 of r-0005, a paused run with a cosine that ends at step 1000."""
    saved = site.api.get("/api/v1/runs/r-0005/checkpoints").json()["checkpoints"]
    chosen = next(one for one in saved if one["step"] == 250)
    site.db.write(
        lambda tx: tx.raw.execute(
            "UPDATE checkpoints SET manifest = ? WHERE id = ?", (json.dumps(FILES), int(chosen["id"][2:]))
        )
    )
    return str(chosen["id"])


def sent(page: str) -> dict[str, str]:
    """What a browser would send: nothing of inputs that are turned off."""
    off = re.findall(r'<(?:input|select)[^>]* name="([\w.]+)"[^>]* disabled', page)
    fields = form_of(page)
    for name, options in re.findall(r'<select name="([\w.]+)"[^>]*>(.*?)</select>', page, re.S):
        fields[name] = re.findall(r'value="([^"]*)" selected', options)[0]
    return {key: value for key, value in fields.items() if key not in off}


def test_each_checkpoint_offers_a_fork_and_a_cool_down(reader: httpx.Client, checkpoint: str) -> None:
    page = reader.get("/runs/r-0005").text
    assert f'href="/runs/new?fork={checkpoint}"' in page
    assert f'href="/runs/new?fork={checkpoint}&amp;cooldown=0.1"' in page


def test_the_form_is_the_runs_own_with_the_network_locked(reader: httpx.Client, checkpoint: str) -> None:
    page = reader.get(f"/runs/new?fork={checkpoint}&beta2=0.9").text
    assert "Starts from step 250 of r-0005" in page
    fields = sent(page)
    assert (fields["fork"], fields["optim.weight_decay"], fields["optim.beta2"]) == (checkpoint, "0.3", "0.9")
    assert not {"model.n_layer", "model.n_embd", "model.activation"} & fields.keys()
    assert "model.dropout" in fields
    assert "plateau fork r-0005 --at" in page


def test_a_cool_down_fills_the_schedule(reader: httpx.Client, checkpoint: str) -> None:
    fields = sent(reader.get(f"/runs/new?fork={checkpoint}&cooldown=0.5").text)
    assert (fields["length"], fields["schedule.shape"], fields["schedule.min_lr"]) == ("500", "wsd", "0")
    assert float(fields["schedule.cooldown"]) == 0.5
    assert "cooldown</code>" in reader.get(f"/runs/new?fork={checkpoint}&cooldown=x").text
    assert reader.get("/runs/new?fork=c-0999").status_code == 404


def test_it_queues_a_fork_with_what_was_changed_and_both_pages_show_the_lineage(
    site: Site, reader: httpx.Client, checkpoint: str
) -> None:
    fields = sent(reader.get(f"/runs/new?fork={checkpoint}&cooldown=0.5").text) | {"optim.weight_decay": "1"}
    short = post(site, reader, "/runs/new", **fields | {"length": "250"})
    assert short.status_code == 422
    assert "must be more than 250, where the fork starts" in short.text
    assert sent(short.text)["fork"] == checkpoint

    first, again = (post(site, reader, "/runs/new", **fields) for _ in range(2))
    assert first.status_code == again.status_code == 303, first.text
    assert first.headers["location"] == again.headers["location"]
    made = site.api.get(f"/api/v1{first.headers['location']}").json()
    parent = site.api.get("/api/v1/runs/r-0005").json()
    assert made["fork"] == {"run": "r-0005", "checkpoint": checkpoint, "step": 250}
    differ = {
        f"{section}.{key}"
        for section, part in made["config"].items()
        for key, value in part.items()
        if value != parent["config"][section][key]
    }
    assert differ - {"schedule.lr"} == {
        "optim.weight_decay", "schedule.steps", "schedule.min_lr", "schedule.shape", "schedule.cooldown",
    }  # fmt: skip
    site.api.delete("/api/v1/runs/r-0001/baseline").raise_for_status()
    page = reader.get(first.headers["location"]).text
    assert re.search(r'forked from <a href="/runs/r-0005">r-0005</a> at step 250', page)
    assert "its parent r-0005" in page
    data = json.loads(re.findall(r'id="page-data">(.*?)</script>', page, re.S)[0])
    assert [(one["run"], one["lo"], one["hi"]) for one in data["past"]] == [("r-0005", 0, 250)]
    assert f'<a href="{first.headers["location"]}"' in reader.get("/runs/r-0005").text


def test_what_is_typed_is_judged_as_a_fork_while_typing(site: Site, reader: httpx.Client, checkpoint: str) -> None:
    fields = sent(reader.get(f"/runs/new?fork={checkpoint}").text) | {"length": "300"}
    panel = post(site, reader, "/runs/new/fragments/preflight", **fields).text
    assert "50 more steps" in panel
    assert "Weights of the start left" in panel
    assert "--set schedule.steps=300" in panel
