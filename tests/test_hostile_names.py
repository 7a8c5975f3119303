"""A name that would run as a script, in every place where a person or a worker can put text, on every page in a real browser."""

import re
import time
from pathlib import Path
from typing import Any

import pages_fixture
import pytest
from conftest import wait_until
from sqlalchemy import update
from test_sweep_pages import BODY, end
from website import Site

from app import events, saved_views
from app.contract.protocol import LogLine
from app.db import Tx
from app.settings import Settings
from app.tables import Dataset, Diagnosis, Run, Sample, Worker

EVIL = "</script><img src=x onerror=alert(1)>"
DRAWN = "document.querySelector('{}')?.classList.contains('js-plotly-plot')"


def spoil(tx: Tx) -> None:
    now = time.time()
    for run in tx.session.query(Run):
        config = {**run.config, "data": {**run.config["data"], "dataset": f"{EVIL}{run.id % 2}"}}
        config["eval"] = {**config["eval"], "sample_prompt": EVIL}
        run.name, run.notes, run.tags, run.config, run.detail = (
            EVIL,
            f"# {EVIL}\n[{EVIL}](javascript:alert(1))",
            [EVIL],
            config,
            EVIL,
        )
    for dataset in tx.session.query(Dataset):
        dataset.name, dataset.spec = f"{dataset.id} {EVIL}", {**dataset.spec, "name": EVIL}
        if dataset.manifest:
            told = {"text": EVIL, "tokens": [EVIL], "ids": [0]}
            dataset.manifest = {**dataset.manifest, "preview": [told]}
    tx.session.execute(update(Worker).values(name=EVIL, devices=[{"kind": "cpu", "name": EVIL, "memory_gib": 8}], versions={EVIL: EVIL}, speeds={EVIL: 9.0}))  # fmt: skip
    events.log(tx, [LogLine(at=now, level="warn", text=EVIL)], attempt=1, run_id=7)
    for kind in ("note", "alarm", "spike"):
        events.record(tx, 7, kind, EVIL, at=now, step=300, data={"text": EVIL})
    settings = {"prompt": EVIL, "temperature": 0.8, "top_k": 200, "top_p": 1.0, "seed": 1, "samples": 1, "tokens": 20}
    tx.session.add(
        Sample(run_id=7, step=250, state="done", settings=settings, texts=[EVIL], created_at=now, ended_at=now)
    )
    saved_views.save(tx, EVIL, "q=tiny")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Site(Settings(home=tmp_path_factory.mktemp("hostile") / "home")) as started:
        pages_fixture.fill(started.db)
        body = {**BODY, "name": EVIL}
        made = started.api.post("/api/v1/sweeps", json=body).raise_for_status().json()["id"]
        started.db.write(lambda tx: end(tx, made))
        alert = {"name": EVIL, "url": "https://93.184.216.34/", "tag": EVIL}
        started.api.post("/api/v1/alerts", json=alert).raise_for_status()
        started.db.write(spoil)
        for run in ("r-0007", "r-0001"):
            started.api.get(f"/api/v1/runs/{run}/diagnosis").raise_for_status()
        started.db.write(lambda tx: tx.session.execute(update(Diagnosis).values(headline=EVIL)))
        yield started


def test_a_name_that_would_run_is_text_on_every_page(browser: Any, site: Site, tmp_path: Path) -> None:
    wrong: list[str] = []
    page = browser.new_context(base_url=site.url, viewport={"width": 1280, "height": 4000}).new_page()
    page.on("dialog", lambda dialog: (wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: wrong.append(asked.url) if re.search(r"/x$", asked.url) else None)
    page.add_init_script(
        "addEventListener('securitypolicyviolation', e => console.error('CSP ' + e.violatedDirective))"
    )
    page.goto(f"/login?code={site.code()}")
    pair = "run=r-0001&run=r-0002"
    drawn = {
        "/runs/r-0007": "#loss",
        f"/compare?{pair}&by=data.dataset&sx=data.dataset": "#groups",
        f"/compare?{pair}&by=&sx=data.dataset&less=1": "#landscape",
        "/sweeps/x-0001": "#f-loss",
    }
    others = (
        "/runs", "/runs?q=tiny&col=data.dataset&col=eval.sample_prompt&differs=1", "/runs/r-0007/log", f"/compare?{pair}&shape=lines",
        "/sweeps", "/datasets", "/datasets/d-0001", "/workers", "/guide", "/alerts", "/runs/new?from=r-0007",
    )  # fmt: skip
    for path in (*drawn, *others):
        answer = page.goto(path)
        assert answer.status == 200, path
        assert "alert(1)" in page.content() or path == "/guide", f"{path} shows the name nowhere"
        if path in drawn:
            wait_until(lambda plot=drawn[path]: page.evaluate(DRAWN.format(plot)), message=f"{path} draws nothing")
        assert page.locator("img[onerror], a[href^=javascript]").count() == 0, path
        assert wrong == [], path
    file = tmp_path / "sweep.html"
    file.write_text(page.request.get("/sweeps/x-0001/page.html").text())
    page.goto(file.as_uri())
    assert EVIL in page.locator("body").inner_text()
    assert wrong == []
    page.context.close()
