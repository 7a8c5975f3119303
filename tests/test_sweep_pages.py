"""Sweeps over HTTP: the form, the page and its files as a browser without scripts sees them, and the link that needs no sign-in."""

import ast
import csv
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pages_fixture
import pytest
from babel.messages.pofile import read_po
from conftest import ROOT
from starlette.requests import Request
from typer.testing import CliRunner
from website import Site

from app import appending, evaluations, runs
from app.cli.commands import app as command_line
from app.contract import ids
from app.pages import sweep_export
from app.settings import Settings
from app.sweeps import members

BODY = {"reuse": False, "preset": "tiny", "name": "λ <b>sweep</b>", "seeds": 2, "factors": [{"field": "optim.weight_decay", "values": [0.0, 0.1, 1.0]}]}  # fmt: skip
LR_BODY = {"reuse": False, "preset": "tiny", "seeds": 1, "factors": [{"field": "optim.weight_decay", "values": [0.0, 0.3]}, {"field": "schedule.lr", "values": [1e-3, 2e-3]}]}  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with Site(Settings(home=tmp_path_factory.mktemp("sweeps") / "home")) as started:
        pages_fixture.fill(started.db)
        yield started


@pytest.fixture(scope="module")
def web(site):
    with site.signed_in(Origin=site.url) as browser:
        yield browser


def end(tx, text_id, diverged=()):
    """Every run of the sweep to its end: a curve, losses by window, a state."""
    for index, member in enumerate(members.of(tx, members.get(tx, text_id))):
        run = member.run
        if member.linked:
            continue
        columns = pages_fixture.curve(run, 1000, index)
        if index in diverged:
            run.state, run.reason, run.step = "failed", "non_finite", 400
            columns = {key: (at[at <= 400], value[at <= 400]) for key, (at, value) in columns.items()}
        else:
            run.state, run.step = "finished", 1000
            evaluations.keep(tx.raw, run.id, 1000, (3.2 + 0.1 * np.random.default_rng(index).standard_normal(64)).tolist(), "")  # fmt: skip
        run.started_at, run.ended_at, run.data_sha256 = run.created_at, run.created_at + 90, None
        tx.session.flush()
        appending.append(tx.raw, run.id, columns)


@pytest.fixture(scope="module")
def swept(site):
    """A finished sweep of six runs, one of which diverged."""
    made = site.api.post("/api/v1/sweeps", json=BODY).raise_for_status().json()["id"]
    site.db.write(lambda tx: end(tx, made, diverged=(2,)))
    return made


def test_the_sweeps_page_opens_with_its_verdict_and_shows_every_part(web, swept):
    page = web.get(f"/sweeps/{swept}").raise_for_status().text
    assert "&lt;b&gt;sweep&lt;/b&gt;" in page
    assert "<b>sweep</b>" not in page
    assert page.index('class="big"') < page.index('id="f-loss"') < page.index('class="arms"')
    for part in ("f-loss", "f-difference", "f-rms-attn.qkv", "f-gap"):
        assert f'id="{part}"' in page
    assert page.count('<svg class="drawn"') >= 4  # drawn by the server: it stands without a script
    assert "diverged, left out" in page
    assert "Excludes the seeds" in page
    assert "Comparable" in page


def test_the_figures_get_the_numbers_that_the_api_gives(site, web, swept):
    page = web.get(f"/sweeps/{swept}/fragments/body").raise_for_status().text
    shown = json.loads(re.search(r'id="figure-data">(.*?)</script>', page, re.S)[1])
    said = site.api.get(f"/api/v1/sweeps/{swept}/analysis").raise_for_status().json()
    assert [arm["mean"] for arm in shown["arms"]] == [row["mean"] for row in said["arms"]]
    assert said["runs"]["diverged"] == 1
    assert said["verdict"]["text"]


def test_another_reference_and_slice_come_by_the_address(web, site):
    made = site.api.post("/api/v1/sweeps", json=LR_BODY).raise_for_status().json()["id"]
    site.db.write(lambda tx: end(tx, made))
    page = web.get(f"/sweeps/{made}", params={"slice": 1}).raise_for_status().text
    assert 'id="f-heat"' in page
    assert "no interval" in page  # one seed
    assert web.get(f"/sweeps/{made}", params={"slice": 99, "reference": "nonsense"}).status_code == 200


@pytest.mark.parametrize("table", ["arms", "weights"])
def test_a_table_comes_as_csv_parquet_and_json(site, swept, table):
    answers = {kind: site.api.get(f"/api/v1/sweeps/{swept}/tables/{table}", params={"format": kind}) for kind in ("csv", "parquet", "json")}  # fmt: skip
    rows = answers["json"].raise_for_status().json()["rows"]
    assert len(list(csv.DictReader(io.StringIO(answers["csv"].text)))) == len(rows)
    parquet = pytest.importorskip("pyarrow.parquet")
    assert parquet.read_table(io.BytesIO(answers["parquet"].content)).num_rows == len(rows)
    assert f"{swept}-{table}.csv" in answers["csv"].headers["content-disposition"]


def test_the_page_as_a_file_needs_nothing_from_anywhere(site, web, swept):
    answer = web.get(f"/sweeps/{swept}/page.html").raise_for_status()
    assert f'filename="{swept}.html"' in answer.headers["content-disposition"]
    page = answer.text
    assert not re.search(r'(?:src|href)="(?!#)', page), "nothing is loaded from, or leads, anywhere"
    assert not re.search(r"<script(?! type=\"application/json\")|<form|@import|url\(", page)
    numbers = json.loads(re.search(r'id="sweep-numbers">(.*?)</script>', page, re.S)[1])
    assert numbers["runs"] == site.api.get(f"/api/v1/sweeps/{swept}/data").json()["runs"]


def test_a_link_shows_the_page_to_anybody_until_it_is_revoked(site, swept):
    made = site.api.post(f"/api/v1/sweeps/{swept}/shares").raise_for_status().json()
    with site.client() as nobody:
        answer = nobody.get(made["path"])
        assert answer.status_code == 200
        assert "noindex" in answer.headers["x-robots-tag"]
        assert answer.headers["cache-control"] == "no-store"
        assert "diverged, left out" in answer.text
        assert nobody.get(f"/sweeps/{swept}").status_code == 303  # everything else asks for a sign-in
        assert nobody.post(made["path"]).status_code in (403, 405)
        assert nobody.get("/share/" + "x" * 32).status_code == 404
        left = site.api.delete(f"/api/v1/sweeps/{swept}/shares/{made['id']}").raise_for_status().json()
        assert left == {"shares": []}
        assert nobody.get(made["path"]).status_code == 404


def test_a_link_is_made_and_revoked_by_plain_forms_and_shown_once(web, swept):
    page = web.post(f"/sweeps/{swept}/share").raise_for_status().text
    link = re.search(r"/share/[\w-]{32}", page)[0]
    assert link not in web.get(f"/sweeps/{swept}").text
    number = re.search(r"/shares/(\d+)/revoke", page)[1]
    assert web.post(f"/sweeps/{swept}/shares/{number}/revoke").status_code == 303
    assert web.get(link).status_code == 404


def test_the_form_tells_the_cost_and_launches(web, site):
    form = {"factor": ["optim.weight_decay", "", ""], "values": ["0, 0.01:1:3", "", ""], "seeds": "2", "preset": "tiny", "settings": "schedule.steps = 700"}  # fmt: skip
    cost = web.post("/sweeps/new/fragments/cost", data=form).raise_for_status().text
    assert "4 arms × 2 seeds" in cost
    answer = web.post("/sweeps/new", data={**form, "action": "launch", "key": "k1"})
    assert answer.status_code == 303
    again = web.post("/sweeps/new", data={**form, "action": "launch", "key": "k1"})
    assert again.headers["location"] == answer.headers["location"]  # pressed twice, launched once
    made = site.api.get(f"/api/v1/{answer.headers['location'].strip('/')}").json()
    assert made["runs"]["total"] == 8
    assert {one["steps"] for one in made["members"]} == {700}


def test_what_is_wrong_in_the_form_stands_at_its_field_and_nothing_typed_is_lost(web):
    form = {"factor": ["optim.weight_decay", "data.dataset", ""], "values": ["-1, 0.1", "a, b", ""], "seeds": "0", "preset": "tiny", "action": "launch"}  # fmt: skip
    answer = web.post("/sweeps/new", data=form)
    assert answer.status_code == 422
    assert "must be at least 1" in answer.text
    assert 'value="-1, 0.1"' in answer.text
    answer = web.post("/sweeps/new", data={**form, "seeds": "1"})
    assert "arms on different data" in answer.text


def test_a_single_runs_form_becomes_a_sweep(web):
    page = web.get("/runs/new").raise_for_status().text
    assert 'formaction="/sweeps/new"' in page
    form = web.post("/sweeps/new", data={"action": "begin", "preset": "tiny", "schedule.lr": "2e-3", "length": "500", "length_unit": "steps", "name": "n"})  # fmt: skip
    assert "schedule.lr = 2e-3" in form.text
    assert "schedule.steps = 500" in form.text


def test_the_form_is_filled_from_the_address(web):
    page = web.get("/sweeps/new", params={"from": "r-0001", "factor": "schedule.lr", "values": "1e-3 3e-3", "seeds": 5}).raise_for_status().text  # fmt: skip
    assert 'value="1e-3 3e-3"' in page
    assert re.search(r'id="seeds"[^>]*value="5"', page)


def test_steering_by_forms(web, site):
    made = site.api.post("/api/v1/sweeps", json=BODY | {"name": "steered", "config": {"schedule": {"steps": 600}}}).json()["id"]  # fmt: skip
    for verb, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        assert web.post(f"/sweeps/{made}/{verb}").status_code == 303
        assert site.api.get(f"/api/v1/sweeps/{made}").json()["state"] == state
    assert web.post(f"/sweeps/{made}/resume").status_code == 303
    assert web.post(f"/sweeps/{made}/add", data={"seeds": "1", "field": "optim.weight_decay", "values": "3"}).status_code == 303  # fmt: skip
    assert site.api.get(f"/api/v1/sweeps/{made}").json()["runs"]["total"] == 12
    assert web.post(f"/sweeps/{made}/nonsense").status_code == 422
    site.api.post(f"/api/v1/sweeps/{made}/cancel").raise_for_status()
    assert web.post(f"/sweeps/{made}/delete").headers["location"] == "/sweeps"
    assert "steered" not in web.get("/sweeps").text


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"factors": [{"field": "optim.weight_decay", "values": [-0.1]}]}, "/factors/0/values/0"),
        ({"factors": [{"field": "optim.weight_decay", "values": [1e9]}]}, "/factors/0/values/0"),
        ({"factors": [{"field": "optim.weight_decay", "low": 1e-9, "high": 1, "points": 100}] * 2}, "/factors/1/field"),
        ({"factors": [{"field": "optim.weight_decay", "values": [0]}], "seed_values": [1, 1]}, "/seed_values"),
        ({"factors": [{"field": "optim.weight_decay", "values": [0]}], "seeds": 0}, "/seeds"),
        ({"factors": [{"field": "data.dataset", "values": ["a", "b"]}]}, "/factors/0/field"),
        ({"config": {"data": {"dataset": "nowhere"}}, "factors": [{"field": "optim.weight_decay", "values": [0]}]}, "/config/data/dataset"),
        ({"factors": [{"field": "optim.weight_decay", "values": [0]}], "worker": "w-0099"}, "/worker"),
        ({"factor": []}, "/factor"),
    ],
)  # fmt: skip
def test_the_api_names_the_field_that_is_wrong(site, body, pointer):
    answer = site.api.post("/api/v1/sweeps", json={"preset": "tiny", **body})
    assert answer.status_code == 422, answer.text
    assert pointer in [one["pointer"] for one in answer.json()["errors"]]


def test_nan_in_a_body_is_refused_with_its_field(site):
    answer = site.api.post("/api/v1/sweeps", content=b'{"factors": [{"field": "optim.weight_decay", "values": [NaN]}]}', headers={"Content-Type": "application/json"})  # fmt: skip
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/values"


def test_sweeps_that_are_not_there_are_not_found(site, web):
    for path in ("", "/analysis", "/data", "/tables/arms", "/shares"):
        assert site.api.get(f"/api/v1/sweeps/x-9999{path}").status_code == 404
    assert web.get("/sweeps/x-9999").status_code == 404
    assert web.get("/sweeps/../etc/passwd").status_code == 404
    assert site.api.get("/api/v1/sweeps/x-0001/tables/nonsense").status_code == 404


class Cells(HTMLParser):
    """The rows of a page's tables as lists of texts."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def test_the_page_of_the_published_sweep_says_what_its_numbers_say(site):
    data = json.loads((ROOT / "docs" / "data" / "decay_sweep.json").read_text())
    scope = {"type": "http", "app": site.app, "headers": [], "path": "/", "query_string": b"", "method": "GET"}
    made = sweep_export.as_file(Request(scope), data).body.decode()
    cells = Cells()
    cells.feed(made)
    head = next(row for row in cells.rows if "Paired Δ" in row)
    table = {row[0].strip(): dict(zip(head, row, strict=True)) for row in cells.rows if len(row) == len(head) and row[0].startswith("λ ")}  # fmt: skip
    assert list(table) == ["λ 0", "λ 0.1", "λ 1", "λ 3"]
    groups = [name for name in head if name.startswith("RMS ")]
    assert len(groups) == 5
    for group in groups:
        sizes = [float(row[group]) for row in table.values()]
        assert sizes == sorted(set(sizes), reverse=True), group
    means = {label: np.mean([run["final"] for run in data["runs"] if f"λ {run['arm']['optim.weight_decay']:g}" == label]) for label in table}  # fmt: skip
    assert all(row["Final val loss"].startswith(f"{means[label]:.4f}") for label, row in table.items())
    best = min(means, key=means.get)
    assert table[best]["Reading"].strip() == "lowest mean"
    words = re.sub(r"<[^>]+>", "", re.search(r'class="big">(.*?)</p>', made, re.S)[1])
    assert words.strip().startswith(f"{best} beats λ 0.1 by {means['λ 0.1'] - means[best]:.4f}")
    assert "not bracketed" in words


def test_the_command_line_launches_steers_and_tells(site, tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text("name: by file\npreset: tiny\nseeds: 2\nreuse: false\nfactors:\n  - {field: optim.weight_decay, values: [0, 1e-1]}\n")  # fmt: skip

    def plateau(*words):
        return CliRunner().invoke(command_line, ["sweep", *words, "--url", site.url, "--token", site.token])

    cost = plateau("launch", str(path), "--cost")
    assert cost.exit_code == 0, cost.output
    assert "4 runs: 6.14e+06 tokens" in cost.output
    made = re.search(r"x-\d{4}", plateau("launch", str(path)).output)[0]
    for verb, state in (("pause", "paused"), ("resume", "running")):
        assert f"by file: {state}" in plateau(verb, made).output
    assert "0 of 6 runs ended" in plateau("add", made, "--values", "optim.weight_decay=[1]").output
    assert made in plateau("list").output
    assert "No verdict yet" in plateau("show", made).output
    assert "cancelled, 6 of 6 runs ended" in plateau("cancel", made).output
    assert json.loads(plateau("show", made, "--json").output)["sweep"]["name"] == "by file"


def messages_of(module):
    """The sentences that a module of app/sweeps/ says."""
    tree = ast.parse((ROOT / "app" / "sweeps" / f"{module}.py").read_text())
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "say")
    return {call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)}


@pytest.mark.parametrize("code", ["de", "ar"])
def test_the_verdict_speaks_every_language(code):
    with (ROOT / "templates" / "locale" / code / "LC_MESSAGES" / "plateau.po").open("rb") as file:
        done = {message.id for message in read_po(file, locale=code) if message.string}
    said = messages_of("verdict") | messages_of("arms_table") | messages_of("analysis")
    assert len(said) > 20
    assert said - done == set()


def test_a_runs_place_in_a_sweep_is_kept_with_it(site, swept):
    with site.db.read() as tx:
        member = members.of(tx, members.get(tx, swept))[0]
        run = runs.get(tx, ids.show("run", member.run.id))
        assert (run.arm, run.seed_index) == ({"optim.weight_decay": 0.0}, 0)
