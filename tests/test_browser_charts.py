"""The charts in a real Chromium under the pages' policy: zoom, axes, smoothing, hover, full screen, files, and every spike kept."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

import pages_fixture
import pytest
from test_browser import Tab, until
from website import Site

from app.settings import Settings
from bench import long_run

STEPS = 60_000
LONG, OTHER, LIVE = "/runs/r-0009", "/runs/r-0010", "/runs/r-0007"
LOSS = "document.querySelector('#loss')"
DRAWN = f"{LOSS}?.data?.length > 0"
SHOWN = f"{LOSS}._fullLayout.xaxis.range.map(v => {LOSS}._fullLayout.xaxis.r2l(v))"
NAMED = "[...document.querySelectorAll('.hover tr')].map(r => r.innerText.split('\\t')[0].trim())"


@pytest.fixture(scope="module")
def tab(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    home = tmp_path_factory.mktemp("charts") / "home"
    with Site(Settings(home=home, host="127.0.0.1", port=8000, allowed_hosts="")) as site:
        pages_fixture.fill(site.db)
        site.db.write(lambda tx: long_run.write(tx, "long <b>one</b>", STEPS).id)
        site.db.write(lambda tx: long_run.write(tx, "other", STEPS, seed=8, optim={"weight_decay": 0.3}).id)
        made = Tab(browser, site, viewport={"width": 1280, "height": 900}, accept_downloads=True)
        yield made
        made.context.close()


def opened(tab: Tab, path: str) -> Any:
    tab.page.goto(path)
    until(tab.page, DRAWN)
    return tab.page


def drag(page: Any, start: float, end: float) -> None:
    """Over these shares of the plot's width."""
    box = page.locator("#loss .nsewdrag").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + start * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + end * box["width"], y + 1, steps=4)
    page.mouse.up()


def spikes_drawn(page: Any, low: float, high: float) -> tuple[set[int], set[int]]:
    """(steps of the planted spikes between low and high, those of them that a raw curve goes through)."""
    planted = {int(step) for step in long_run.spike_steps(STEPS) if low <= step <= high}
    drawn = page.evaluate(f"{LOSS}.data.filter(d => d.mode === 'lines').flatMap(d => d.x)")
    return planted, planted & set(drawn)


def test_a_drag_zooms_every_spike_stays_and_a_double_click_shows_all(tab: Tab) -> None:
    page = opened(tab, LONG)
    page.click("#x-axis button[value=step]")
    until(page, f"{SHOWN}[1] > 60000 && {SHOWN}[1] < 61000")
    planted, drawn = spikes_drawn(page, 0, STEPS)
    assert len(planted) == 20
    assert drawn == planted
    assert "60,000" in page.inner_text("#merged")
    marked = f"{LOSS}.data.filter(d => d.meta === 'spikes').flatMap(d => d.x)"
    assert set(page.evaluate(marked)) == planted, "a triangle at each, and nowhere else"
    with page.expect_request(lambda request: "lo=" in request.url) as asked:
        drag(page, 0.4, 0.6)
    query = parse_qs(urlsplit(asked.value.url).query)
    assert 22_000 < float(query["lo"][0]) < float(query["hi"][0]) < 38_000
    until(page, f"{SHOWN}[0] > 20000 && {SHOWN}[1] < 40000")
    until(page, "!document.querySelector('#merged').innerText.includes('60,000')")
    planted, drawn = spikes_drawn(page, *page.evaluate(SHOWN))
    assert 3 <= len(planted) <= 5
    assert drawn == planted
    drag(page, 0.45, 0.5)
    until(page, "document.querySelector('#merged').hidden")
    low, high = page.evaluate(SHOWN)
    inside = page.evaluate(
        f"{LOSS}.data.find(d => d.mode === 'lines' && d.x.length > 9).x.filter(x => x >= {low} && x <= {high}).length"
    )
    assert inside == pytest.approx(high - low, abs=2), "now every point is drawn"
    page.dblclick("#loss .nsewdrag", position={"x": 300, "y": 100})
    until(page, f"{SHOWN}[1] > 60000")


def test_every_axis_is_true_to_its_series_and_the_choice_is_remembered(tab: Tab) -> None:
    page = opened(tab, LIVE)
    ends = {
        "tokens": 1000 * 12 * 128,
        "step": 1000,
        "epochs": 1000 * 12 * 128 / 5_120_000,
        "wall_s": 110 / 60,
        "flops": 9.1e9 * 12 * 128,
    }
    for axis, end in ends.items():
        page.click(f"#x-axis button[value={axis}]")
        until(page, f"Math.abs({SHOWN}[1] / {end} - 1) < 0.02")
    page.click("#x-axis button[value=clock]")
    until(page, f"{LOSS}._fullLayout.xaxis.type === 'date'")
    low, high = page.evaluate(SHOWN)
    assert 60_000 < high - low < 80_000, "620 steps of 0.11 s, in ms"
    page.click("#x-axis button[value=step]")
    page.click("#y-axis button[value=log]")
    page.click(".more summary")
    page.check("#x-scale")
    until(page, f"{LOSS}._fullLayout.yaxis.type === 'log' && {LOSS}._fullLayout.xaxis.type === 'log'")
    page = opened(tab, LIVE)
    until(page, f"{LOSS}._fullLayout.yaxis.type === 'log' && {LOSS}._fullLayout.xaxis.type === 'log'")
    assert page.get_attribute("#x-axis button[value=step]", "aria-pressed") == "true"
    page.evaluate("localStorage.clear()")


def test_smoothing_leaves_the_raw_curve_behind_and_outliers_come_back(tab: Tab) -> None:
    page = opened(tab, LONG)
    lines = f"{LOSS}.data.filter(d => d.mode === 'lines' && d.name === 'train').length"
    assert page.evaluate(lines) == 2
    top = page.evaluate(f"{LOSS}._fullLayout.yaxis.range[1]")
    page.evaluate(
        "s => { const e = document.querySelector('#smoothing'); e.value = s; e.dispatchEvent(new Event('input')) }", 0
    )
    until(page, f"{lines} === 1")
    page.uncheck("#outliers")
    until(page, f"{LOSS}._fullLayout.yaxis.range[1] > {top} + 2")
    page.evaluate("localStorage.clear()")


def test_smoothing_is_the_debiased_average_of_tensorboard_and_starts_afresh_at_a_resume(tab: Tab) -> None:
    page = opened(tab, LIVE)
    values = [5.0, 3.0, None, 4.0, 1.0, 2.0]
    smoothed = page.evaluate(
        "async ([y, at]) => (await import('/static/smoothing.js')).smooth(y, 0.9, new Set([at]))", [values, 4]
    )
    expected: list[float | None] = []
    for part in (values[:4], values[4:]):
        mean, count = 0.0, 0
        for value in part:
            if value is None:
                expected.append(None)
                continue
            mean, count = 0.9 * mean + 0.1 * value, count + 1
            expected.append(mean / (1 - 0.9**count))  # TensorBoard's formula
    assert smoothed == [None if one is None else pytest.approx(one, rel=1e-12) for one in expected]


def test_one_line_crosses_all_charts_and_the_keyboard_moves_it(tab: Tab) -> None:
    page = opened(tab, LIVE)
    page.focus("#loss")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".hover:not([hidden])")
    assert page.evaluate(NAMED)[:3] == ["train", "train, raw", "val"]
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    until(page, "document.querySelectorAll('.hair:not([hidden])').length >= 3")
    page.keyboard.press("+")
    until(page, f"{SHOWN}[0] > 0 && document.querySelector('#lr')._fullLayout.xaxis.range[0] > 0")
    page.keyboard.press("0")
    until(page, f"{SHOWN}[0] === 0")
    page.keyboard.press("Escape")
    page.wait_for_selector(".hover", state="hidden")


def test_a_chart_fills_the_screen(tab: Tab) -> None:
    page = opened(tab, LIVE)
    page.click(".focus header .menu summary")
    page.click(".focus .items >> text=Full screen")
    until(page, "document.fullscreenElement?.classList.contains('focus') === true")
    until(page, f"{LOSS}.clientHeight > 600 && {LOSS}._fullLayout.height === {LOSS}.clientHeight")
    page.focus("#loss")
    page.keyboard.press("f")
    until(page, "document.fullscreenElement === null")


def test_pictures_and_files_come_out_of_the_menu(tab: Tab) -> None:
    page = opened(tab, LONG)
    start = {
        "PNG": b"\x89PNG",
        "SVG": b"<svg",
        "All points as CSV": b"step,train/loss,val/loss",
        "All points as Parquet": b"PAR1",
    }
    for word, head in start.items():
        page.click(".focus header .menu summary")
        with page.expect_download() as saved:
            page.click(f".focus .items >> text={word}")
        content = Path(saved.value.path()).read_bytes()
        assert content.startswith(head), word
        if word.endswith("CSV"):
            assert content.count(b"\n") == STEPS + 1, "every step, and the head"


def test_compared_runs_are_sorted_by_value_and_the_address_holds_the_view(tab: Tab) -> None:
    page = opened(tab, "/compare?run=r-0009&run=r-0010")
    page.click("#x-axis button[value=epochs]")
    drag(page, 0.5, 0.8)
    until(page, "location.search.includes('x=epochs') && location.search.includes('window=')")
    page.hover("#loss .nsewdrag", position={"x": 400, "y": 60})
    page.wait_for_selector(".hover:not([hidden])")
    values = page.evaluate(
        "[...document.querySelectorAll('.hover tr')].slice(1).map(r => Number(r.cells[1].innerText))"
    )
    assert values == sorted(values)
    assert "long <b>one</b>" in page.evaluate(NAMED), "a name is text, never markup"
    shown = page.evaluate(SHOWN)
    page.reload()
    until(page, DRAWN)
    assert page.evaluate(SHOWN) == pytest.approx(shown, rel=1e-6)
    assert page.get_attribute("#x-axis button[value=epochs]", "aria-pressed") == "true"


def test_the_interactive_file_opens_without_a_server(tab: Tab, tmp_path: Path) -> None:
    page = opened(tab, "/compare?run=r-0009&run=r-0010&x=tokens")
    page.click("#loss-card .menu summary, .card:has(#loss) .menu summary")
    with page.expect_download() as saved:
        page.click(".card:has(#loss) .items >> text=Interactive page")
    alone = tmp_path / "curves.html"
    saved.value.save_as(alone)
    shown = page.context.browser.new_context(offline=True).new_page()
    shown.goto(alone.as_uri())
    shown.wait_for_selector(".js-plotly-plot .trace")
    of_each = shown.evaluate(
        "document.querySelector('.js-plotly-plot').data.map(d => [d.name, d.yaxis, d.x.length, Math.max(...d.y)])"
    )
    assert {name.split()[0] for name, *_ in of_each} == {"r-0009", "r-0010"}
    assert {axis for _, axis, *_ in of_each} == {"y", "y2"}, "a chart for train, one for val"
    assert all(points > 1 for _, _, points, _ in of_each)
    named = shown.evaluate("document.querySelector('.legend').textContent")
    assert "long <b>one</b>" in named, "a name is text, never markup"
    assert shown.evaluate("document.querySelector('.xtitle').textContent") == "tokens"
    shown.context.close()


def test_a_picture_of_settings_against_results_is_of_what_is_shown(tab: Tab) -> None:
    page = opened(tab, "/compare?run=r-0009&run=r-0010&shape=lines")
    page.wait_for_selector("#parallel polyline", state="attached")
    card = page.locator(".card", has=page.locator("#parallel"))
    pictures = {}
    for word in ("SVG", "PNG"):
        card.locator(".menu summary").click()
        with page.expect_download() as saved:
            card.locator(f".items >> text={word}").click()
        pictures[word] = Path(saved.value.path()).read_bytes()
    lines = ET.fromstring(pictures["SVG"]).iter("{http://www.w3.org/2000/svg}polyline")
    strokes = [line.get("style", "") for line in lines]
    assert len(strokes) == page.locator("#parallel polyline").count() >= 1
    assert all("stroke: rgb(" in style for style in strokes)
    assert pictures["PNG"].startswith(b"\x89PNG")
    assert len(set(pictures["PNG"])) > 100  # painted, not blank: a blank one compresses to few bytes


def test_nothing_of_all_this_broke_the_policy(tab: Tab) -> None:
    assert tab.wrong == []
