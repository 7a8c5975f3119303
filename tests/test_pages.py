"""The pages over HTTP, as a browser without scripts sees them: every state, every form, every refusal."""

import hashlib
import json
import re
from collections.abc import Iterator

import httpx
import pages_fixture
import pytest
from website import Site

from app import runs, settings
from app.contract import ids
from app.contract.states import RunState
from app.db import Tx
from app.pages import assets
from app.settings import Settings

PAGES = (
    "/runs",
    "/runs/new",
    "/compare",
    "/compare?run=r-0001&run=r-0002",
    "/datasets",
    "/datasets/d-0001",
    "/datasets/d-0002",
    "/datasets/new",
    "/datasets/new?from=d-0002",
    "/workers",
    *(f"/runs/r-000{i}" for i in range(1, 9)),
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("pages") / "home"
    with Site(Settings(home=home, host="127.0.0.1", port=8000, allowed_hosts="")) as started:
        pages_fixture.fill(started.db)
        yield started


@pytest.fixture(scope="module")
def reader(site: Site) -> Iterator[httpx.Client]:
    with site.signed_in() as client:
        yield client


def post(site: Site, reader: httpx.Client, path: str, **fields: str) -> httpx.Response:
    return reader.post(path, data=fields, headers={"Origin": site.url})


def form_of(page: str) -> dict[str, str]:
    """The launch form as a browser would send it untouched."""
    fields = {}
    for tag in re.findall(r"<input[^>]*>", page):
        found = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if "name" in found and (found.get("type") not in ("radio", "checkbox") or " checked" in tag):
            fields[found["name"]] = found.get("value", "on")
    for name, options in re.findall(r'<select id="[\w.]+" name="([\w.]+)">(.*?)</select>', page, re.S):
        fields[name] = next(
            iter(re.findall(r'value="([^"]*)" selected', options) + re.findall(r'value="([^"]*)"', options)), ""
        )
    return fields


@pytest.mark.parametrize("language", ["en", "de", "ar"])
@pytest.mark.parametrize("path", PAGES)
def test_every_page_comes_in_every_language(reader: httpx.Client, path: str, language: str) -> None:
    answer = reader.get(path, headers={"Accept-Language": language})
    assert answer.status_code == 200
    assert f'<html lang="{language}" dir="{"rtl" if language == "ar" else "ltr"}"' in answer.text
    assert not re.search(r"<[^>]+ on\w+=", answer.text), "an inline handler"
    assert not re.search(r"<script(?![^>]*(src=|application/json))", answer.text), "an inline script"


def test_names_are_shown_escaped(reader: httpx.Client) -> None:
    assert "tiny &lt;b&gt;bold&lt;/b&gt; &amp; wd1" in reader.get("/runs").text


def test_the_list_filters_sorts_and_explains_a_filter_it_cannot_read(reader: httpx.Client) -> None:
    assert "r-0002" in (page := reader.get("/runs?q=wd%3D3").text)
    assert 'data-run="r-0001"' not in page
    order = re.findall(r'data-run="(r-\d+)"', reader.get("/runs?sort=best_val").text)
    assert order[0] == "r-0001"
    assert re.findall(r'data-run="(r-\d+)"', reader.get("/runs?tab=failed").text) == ["r-0003"]
    assert "not understood" in reader.get("/runs?q=nonsense%3D1").text


def test_the_address_prefills_the_form_by_dotted_and_last_names(reader: httpx.Client) -> None:
    page = reader.get("/runs/new?from=r-0002&weight_decay=0.3&schedule.lr=5e-4&nonsense=1").text
    fields = form_of(page)
    assert (fields["optim.weight_decay"], fields["schedule.lr"], fields["source"]) == ("0.3", "5e-4", "r-0002")
    assert "nonsense" in page


def test_a_wrong_value_is_named_at_its_field_and_nothing_typed_is_lost(site: Site, reader: httpx.Client) -> None:
    fields = form_of(reader.get("/runs/new").text) | {
        "schedule.lr": "-1",
        "name": "keeps its name",
        "system.threads": "many",
    }
    answer = post(site, reader, "/runs/new", **fields)
    assert answer.status_code == 422
    kept = form_of(answer.text)
    assert (kept["schedule.lr"], kept["name"], kept["system.threads"]) == ("-1", "keeps its name", "many")
    assert 'id="schedule.lr-error"' in answer.text
    assert re.search(r'data-section="system" open', answer.text), "the folded section with the error is open"


def test_the_form_launches_without_scripts_and_once_only(site: Site, reader: httpx.Client) -> None:
    fields = form_of(reader.get("/runs/new?preset=tiny").text) | {
        "length": "3.072M",
        "length_unit": "tokens",
        "name": "by form",
    }
    first, again = (post(site, reader, "/runs/new", **fields) for _ in range(2))
    assert first.status_code == again.status_code == 303
    assert first.headers["location"] == again.headers["location"]
    run = site.api.get(f"/api/v1{first.headers['location']}").json()
    assert (run["name"], run["steps"], run["preset"]) == ("by form", 2000, "tiny")
    stopped = post(site, reader, f"{first.headers['location']}/stop")
    assert stopped.status_code == 303
    assert site.api.get(f"/api/v1{first.headers['location']}").json()["state"] == "stopped"


def test_a_pasted_nanogpt_command_fills_the_form(site: Site, reader: httpx.Client) -> None:
    fields = form_of(reader.get("/runs/new").text) | {
        "action": "paste",
        "pasted": "python train.py --n_layer=3 --learning_rate=2e-3 --wandb_log=True",
    }
    page = post(site, reader, "/runs/new", **fields).text
    assert (form_of(page)["model.n_layer"], form_of(page)["schedule.lr"]) == ("3", "0.002")
    assert "wandb_log" in page


def test_the_preflight_names_an_inert_decay_and_offers_a_remedy(site: Site, reader: httpx.Client) -> None:
    fields = form_of(reader.get("/runs/new?preset=tiny&weight_decay=0.001").text)
    part = post(site, reader, "/runs/new/fragments/preflight", **fields).text
    assert "This λ cannot matter in this run" in part
    assert 'data-set="optim.weight_decay"' in part
    assert "--set optim.weight_decay=0.001" in part


def test_the_preflight_shows_the_memory_by_part_and_the_largest_micro_batch(site: Site, reader: httpx.Client) -> None:
    fields = form_of(reader.get("/runs/new?preset=tiny").text)
    part = post(site, reader, "/runs/new/fragments/preflight", **fields).text
    assert "Memory, estimate" in part
    assert 'of <bdi dir="ltr">8.0 GiB</bdi>' in part
    assert re.search(r'Micro-batch <bdi dir="ltr">12</bdi> fits. The largest that does: <b>', part)
    shares = [
        float(one) for one in re.findall(r"inline-size:([\d.]+)%", part.split('class="mem"')[1].split("</div>")[0])
    ]
    assert len(shares) == part.split('class="memkey"')[1].split("</ul>")[0].count("<li>") >= 5
    assert 0 < sum(shares) <= 100


def test_the_preflight_offers_a_cut_of_a_step_that_does_not_fit(site: Site, reader: httpx.Client) -> None:
    fields = form_of(reader.get("/runs/new?preset=tiny&micro_batch=1024&block_size=1024").text)
    part = post(site, reader, "/runs/new/fragments/preflight", **fields).text
    assert "It does not fit into the memory" in part
    assert 'data-set="batch.micro_batch batch.accumulation"' in part
    unknown = post(site, reader, "/runs/new/fragments/preflight", **fields | {"worker": "w-0099"}).text
    assert "No device&#39;s memory is known yet." in unknown or "No device's memory is known yet." in unknown


def test_the_preflight_shows_what_a_pattern_matches_while_it_is_typed(site: Site, reader: httpx.Client) -> None:
    fields = form_of(reader.get("/runs/new?preset=tiny").text) | {"optim.decayed": "pattern"}

    def shown(pattern: str) -> str:
        return post(site, reader, "/runs/new/fragments/preflight", **fields | {"optim.decay_pattern": pattern}).text

    part = shown("*.mlp.* *.mpl.*")
    rows = re.findall(r"<tr(?: class=\"t3\")?><td><bdi dir=\"ltr\">([\w.]+)</bdi></td>(.*?)</tr>", part)
    assert {group for group, cells in rows if "<b>" in cells} == {"mlp.fc", "mlp.proj"}
    assert '<code dir="ltr">transformer.h.*.mlp.c_fc.weight</code>' in part
    assert "A pattern fits no tensor" in part
    assert "*.mpl.*: is the name misspelt?" in part
    assert "Norms and biases decay too" in shown("*")
    assert "matches none of this network" in shown("*.mpl.*")
    assert "is no pattern" in shown("(a+)+")


def test_the_preflight_draws_the_schedules_decay_and_names_three_rules_for_it(site: Site, reader: httpx.Client) -> None:
    fields = form_of(reader.get("/runs/new?preset=tiny&weight_decay=3").text)
    part = post(site, reader, "/runs/new/fragments/preflight", **fields).text
    assert 'class="outlook"' in part
    for text in ("Power Lines", "Wang &amp; Aitchison 2405.13698", "never a verdict", "half-life", "radians per step"):
        assert text in part, text
    assert 'href="/sweeps/new?preset=tiny&amp;factor=optim.weight_decay' in part
    none = post(site, reader, "/runs/new/fragments/preflight", **fields | {"optim.weight_decay": "0"}).text
    assert 'class="outlook"' not in none


@pytest.mark.parametrize("value", ["-1", "nan", "1e9", "inf", "three"])
def test_an_impossible_decay_is_said_at_its_field(site: Site, reader: httpx.Client, value: str) -> None:
    fields = form_of(reader.get("/runs/new?preset=tiny").text) | {"optim.weight_decay": value}
    answer = post(site, reader, "/runs/new/fragments/preflight", **fields)
    assert answer.status_code == 200
    assert "needs another value" in answer.text
    assert post(site, reader, "/runs/new", **fields).status_code == 422


def in_state(site: Site, state: RunState) -> str:
    """The path of a new run that is in this state."""

    def work(tx: Tx) -> str:
        launch = runs.Launch(preset="tiny", name=f"for its buttons, {state}")
        run, _ = runs.create(tx, launch, key=None, body_sha256="", now=1e9)
        run.state = state.value
        return f"/runs/{ids.show('run', run.id)}"

    return site.db.write(work)


@pytest.mark.parametrize(
    ("verb", "before", "fields", "after"),
    [
        ("evaluate", RunState.running, {}, "running"),
        ("kill", RunState.stopping, {}, "stopping"),
        ("kill", RunState.lost, {}, "stopping"),
        ("extend", RunState.stopped, {"steps": "2500"}, "queued"),
    ],
)
def test_a_button_of_the_run_page_does_what_it_says_and_leads_back(
    site: Site, reader: httpx.Client, verb: str, before: RunState, fields: dict[str, str], after: str
) -> None:
    path = in_state(site, before)
    assert f'action="{path}/{verb}"' in reader.get(path).text
    answer = post(site, reader, f"{path}/{verb}", **fields)
    assert (answer.status_code, answer.headers["location"]) == (303, path)
    run = site.api.get(f"/api/v1{path}").json()
    assert (run["state"], run["steps"]) == (after, 2500 if verb == "extend" else 1000)
    post(site, reader, f"{path}/stop")


@pytest.mark.parametrize(("steps", "why"), [("1000", "must be more than"), ("many", "steps"), ("", "steps")])
def test_an_extension_that_is_none_is_refused(site: Site, reader: httpx.Client, steps: str, why: str) -> None:
    path = in_state(site, RunState.stopped)
    answer = post(site, reader, f"{path}/extend", steps=steps)
    assert answer.status_code == 422
    assert why in answer.text


def test_a_note_and_labels_reach_the_run(site: Site, reader: httpx.Client) -> None:
    post(site, reader, "/runs/r-0004/note", text="fan curve raised")
    post(site, reader, "/runs/r-0004/labels", name="renamed", tags="a b", notes="why")
    page = reader.get("/runs/r-0004").text
    assert "fan curve raised" in page
    assert site.api.get("/api/v1/runs/r-0004").json()["tags"] == ["a", "b"]


def test_selected_runs_lead_to_a_comparison_with_its_sentence_first(site: Site, reader: httpx.Client) -> None:
    answer = reader.post(
        "/runs/selected",
        content="run=r-0001&run=r-0002&action=compare",
        headers={"Origin": site.url, "Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.headers["location"] == "/compare?run=r-0001&run=r-0002"
    page = reader.get(answer.headers["location"]).text
    assert "costs a little loss" in page


@pytest.mark.parametrize("coupling", ["lr", "independent"])
def test_the_comparisons_equilibrium_is_that_of_the_coupling(site: Site, reader: httpx.Client, coupling: str) -> None:
    launch = {"config": {"optim": {"weight_decay": 0.2, "decay_coupling": coupling}, "schedule": {"steps": 400}}}
    run = site.api.post("/api/v1/runs", json=launch).json()
    page = reader.get(f"/compare?run={run['id']}&run=r-0001").text
    found = json.loads(re.search(r'id="page-data">(.*?)</script>', page, re.DOTALL)[1])["runs"][0]["equilibrium"]
    lr = run["config"]["schedule"]["min_lr"]  # to which the schedule comes down in the end
    a = 0.2 * lr if coupling == "lr" else 0.2
    assert found["rms"][-1] == pytest.approx(lr / (2 * a) ** 0.5, rel=0.02)  # Kosson et al. 2305.17212


def test_a_worker_is_drained_and_enabled(site: Site, reader: httpx.Client) -> None:
    post(site, reader, "/workers/w-0001", enabled="no")
    assert "Switched off" in reader.get("/workers").text
    post(site, reader, "/workers/w-0001", enabled="yes")
    assert "Switched off" not in reader.get("/workers").text


def test_theme_and_language_are_kept_by_cookies_and_lead_nowhere_else(site: Site, reader: httpx.Client) -> None:
    answer = post(site, reader, "/preferences", theme="dark", next="//evil.example/")
    assert answer.headers["location"] == "/runs"
    assert answer.cookies["plateau_theme"] == "dark"
    assert 'data-theme="dark"' in reader.get("/runs").text


def test_an_unknown_run_gets_a_page_that_leads_on(reader: httpx.Client) -> None:
    answer = reader.get("/runs/r-9999")
    assert answer.status_code == 404
    assert 'href="/runs"' in answer.text


def test_plotly_is_cached_for_good_and_answers_304(site: Site) -> None:
    with site.client() as stranger:
        first = stranger.get(assets.PLOTLY_URL)
        assert "immutable" in first.headers["cache-control"]
        again = stranger.get(assets.PLOTLY_URL, headers={"If-None-Match": first.headers["etag"]})
        assert again.status_code == 304
        assert "immutable" in again.headers["cache-control"]
    # plotly-basic.min.js as the package plotly.js-basic-dist-min 4.1.1 has it: nobody has changed a byte
    digest = "99784e3abfb07b142a15e521a439e6d9addceadb3f79553fd24c72774f0649ba"
    assert hashlib.sha256(first.content).hexdigest() == digest


def test_our_own_files_are_asked_for_again_and_answer_304(site: Site) -> None:
    with site.client() as stranger:
        first = stranger.get("/static/run.js")
        assert first.headers["content-type"] == "text/javascript; charset=utf-8"
        assert first.headers["cache-control"] == "no-cache"
        assert first.text == (settings.assets() / "static" / "run.js").read_text(encoding="utf-8")
        again = stranger.get("/static/run.js", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_a_page_with_charts_names_all_that_its_scripts_load(site: Site, reader: httpx.Client) -> None:
    page = reader.get("/runs/r-0001").text
    ahead = set(re.findall(r'rel="modulepreload" href="/static/(\w+\.js)"', page))
    assert {"run.js", "charts.js", "page.js", "messages.js"} <= ahead
    for name in ahead:
        text = (settings.assets() / "static" / name).read_text(encoding="utf-8")
        assert set(re.findall(r'^import .*"\./(\w+\.js)"', text, re.MULTILINE)) <= ahead, f"what {name} imports"
    assert 'as="fetch" crossorigin href="/static/messages/en.json"' in page
    assert f'as="script" id="plotly" href="{assets.PLOTLY_URL}"' in page
