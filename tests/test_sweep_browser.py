"""A sweep's page in a real browser: its figures are drawn and saved under the page's own rules; its file opens with no network."""

import re

import pages_fixture
import pytest
from conftest import wait_until
from test_sweep_pages import BODY, end
from website import Site

from app.settings import Settings


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with Site(Settings(home=tmp_path_factory.mktemp("sweep-browser") / "home")) as started:
        pages_fixture.fill(started.db)
        yield started


@pytest.fixture
def complaints():
    return []


@pytest.fixture
def page(site, browser, complaints):
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    opened.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(f"{site.url}/login?code={site.code()}")
    yield opened
    context.close()


def test_figures_are_drawn_live_saved_and_stay_when_the_body_is_drawn_again(site, page, complaints):
    made = site.api.post("/api/v1/sweeps", json=BODY).raise_for_status().json()["id"]
    site.db.write(lambda tx: end(tx, made))
    page.goto(f"{site.url}/sweeps/{made}")
    page.locator("#f-loss.js-plotly-plot").wait_for()
    assert page.locator("#f-loss").evaluate("e => Math.abs(e._fullLayout.width - e.clientWidth)") < 2
    page.locator("#f-loss").evaluate("e => { e.dataset.kept = 'yes'; }")
    added = site.api.post(f"/api/v1/sweeps/{made}/add", json={"seeds": 1}).raise_for_status().json()
    assert added["state"] == "running"
    wait_until(lambda: page.locator("#sweep-body details tbody tr").count() == 9)
    assert page.locator("#f-loss").get_attribute("data-kept") == "yes"  # the plot itself, with new numbers
    with page.expect_download() as download:
        page.locator('[data-save="f-loss"][value="png"]').click()
    assert download.value.suggested_filename == f"{made}-loss.png"
    page.locator("#quantity").select_option("update_ratio")
    assert wait_until(lambda: page.locator("#weights-title").inner_text() == "Update ratio")
    assert complaints == []


def test_the_file_opens_without_a_network_and_without_an_error(site, browser, page, tmp_path, complaints):
    path = tmp_path / "sweep.html"
    made = site.api.get("/api/v1/sweeps").json()["sweeps"][0]["id"]
    path.write_text(page.request.get(f"{site.url}/sweeps/{made}/page.html").text())
    context = browser.new_context(offline=True, viewport={"width": 390, "height": 800}, color_scheme="dark")
    alone = context.new_page()
    asked = []
    alone.on("request", lambda request: asked.append(request.url))
    alone.on("pageerror", lambda error: complaints.append(str(error)))
    alone.on("console", lambda said: complaints.append(said.text))
    alone.goto(path.as_uri())
    assert alone.locator("svg.drawn").count() >= 4
    assert alone.evaluate("document.documentElement.scrollWidth") == 390
    assert re.fullmatch(r"rgb\(12, 15, 18\)", alone.evaluate("getComputedStyle(document.documentElement).backgroundColor"))  # fmt: skip
    assert asked == [path.as_uri()]
    assert complaints == []
    context.close()
