"""The pages in a real Chromium: no CSP report and no console error, live curves, keys, labels, no sideways scrolling."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pages_fixture
import pytest
from conftest import wait_until
from website import Site

from app.settings import Settings

PAGES = (
    "/runs",
    "/runs/new",
    "/runs/r-0007",
    "/runs/r-0001",
    "/runs/r-0003",
    "/runs/r-0008",
    "/compare?run=r-0001&run=r-0002",
    "/datasets",
    "/datasets/d-0001",
    "/datasets/new",
    "/workers",
)
DRAWN = "document.querySelector('#loss')?.data?.length > 0"
TRACE = "Math.max(...document.querySelector('#loss').data.map(t => t.x?.length ?? 0))"
SETTLED_MS = 15_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("browser") / "home"
    with Site(Settings(home=home, host="127.0.0.1", port=8000, allowed_hosts="")) as started:
        pages_fixture.fill(started.db)
        yield started


def until(page: Any, condition: str) -> None:
    """Polls from outside: the pages' policy forbids evaluating strings inside them."""
    wait_until(lambda: page.evaluate(condition), SETTLED_MS / 1000, f"never true: {condition}")


class Tab:
    """A signed-in page that remembers everything that went wrong in it."""

    def __init__(self, browser: Any, site: Site, **options: Any) -> None:
        self.context = browser.new_context(base_url=site.url, **options)
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on(
            "console", lambda message: self.wrong.append(message.text) if message.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.add_init_script(
            "addEventListener('securitypolicyviolation', e => console.error('CSP ' + e.violatedDirective + ' ' + e.blockedURI))"
        )
        self.page.goto(f"/login?code={site.code()}")

    def open(self, path: str) -> Any:
        self.page.goto(path)
        if "/compare?" in path or path in ("/runs/r-0001", "/runs/r-0003", "/runs/r-0007"):
            until(self.page, DRAWN)
        return self.page


@pytest.fixture(scope="module")
def tab(browser: Any, site: Site) -> Iterator[Tab]:
    made = Tab(browser, site, viewport={"width": 1280, "height": 900})
    yield made
    made.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_breaks_its_policy_or_reports_an_error(tab: Tab, scheme: Any) -> None:
    tab.page.emulate_media(color_scheme=scheme)
    for path in PAGES:
        tab.open(path)
        tab.page.wait_for_load_state("load")
    assert tab.wrong == []


def test_every_input_has_a_label_and_every_button_a_name(tab: Tab) -> None:
    nameless = """() => [...document.querySelectorAll('input:not([type=hidden]), select, textarea, button, a[href]')].filter(e =>
        !(e.labels?.length || e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.textContent.trim())).map(e => e.outerHTML)"""
    twice = "() => { const seen = [...document.querySelectorAll('[id]')].map(e => e.id); return seen.filter((id, i) => seen.indexOf(id) !== i) }"
    for path in PAGES:
        page = tab.open(path)
        assert page.evaluate(nameless) == [], path
        assert page.evaluate(twice) == [], path
        assert page.locator("h1").count() == 1, path


@pytest.mark.parametrize(("width", "language"), [(360, "en"), (390, "ar"), (2560, "de")])
def test_no_page_scrolls_sideways(browser: Any, site: Site, width: int, language: str) -> None:
    narrow = Tab(browser, site, viewport={"width": width, "height": 800}, locale=language)
    for path in PAGES:
        page = narrow.open(path)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
    assert narrow.wrong == []
    narrow.context.close()


def test_the_first_picture_is_there_without_scripts_and_so_are_the_forms(browser: Any, site: Site) -> None:
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"/login?code={site.code()}")
    page.goto("/runs/r-0007")
    assert page.locator("#loss svg.first path").count() > 3
    assert not page.locator("#smoothing").is_visible()
    page.goto("/runs/new")
    assert page.get_by_role("button", name="Check").is_visible()
    context.close()


def test_the_curve_grows_and_the_head_follows_without_a_reload(tab: Tab, site: Site) -> None:
    page = tab.open("/runs/r-0007")
    before = page.evaluate(TRACE)
    pages_fixture.grow(site.db, 7, 700)
    until(page, f"{TRACE} >= {before + 80}")
    until(page, "document.querySelector('#head').textContent.includes('700')")
    until(page, "document.title.startsWith('70%')")


def test_the_preflight_follows_what_is_typed_and_a_remedy_fixes_it(tab: Tab) -> None:
    page = tab.open("/runs/new")
    page.fill("[id='optim.weight_decay']", "0.001")
    page.wait_for_selector(".pre .flag [data-set='optim.weight_decay']", timeout=SETTLED_MS)
    page.fill("[id='schedule.lr']", "nonsense")
    page.wait_for_selector(".hint.bad:has-text('must be a number')", timeout=SETTLED_MS)
    page.fill("[id='schedule.lr']", "1e-3")
    page.wait_for_selector(".hint.bad", state="detached", timeout=SETTLED_MS)
    page.click(".pre .flag [data-set='optim.weight_decay'] >> nth=0")
    until(page, "!document.querySelector('.pre').textContent.includes('cannot matter')")
    page.check("input[name=preset][value=shakespeare]", force=True)
    until(page, "document.querySelector('[data-of=\"model.n_layer\"]').textContent === '6'")


def test_keys_move_select_and_open(tab: Tab) -> None:
    page = tab.open("/runs")
    page.keyboard.press("?")
    assert page.locator("dialog#keys").is_visible()
    page.keyboard.press("Escape")
    for key in ("j", "x", "j", "x"):
        page.keyboard.press(key)
    assert page.locator("tr.sel").count() == 2
    assert page.locator(".bulk").is_visible()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "filter"
    page.keyboard.type("seed")
    until(page, "document.querySelectorAll('tr[data-run]').length === 1")
    assert page.url.endswith("q=seed")


def test_a_lost_connection_is_shown_and_heals_with_nothing_missing(tab: Tab, site: Site) -> None:
    page = tab.open("/runs/r-0007")
    page.wait_for_selector("#live:not([hidden])", timeout=SETTLED_MS)
    before = page.evaluate(TRACE)
    tab.context.set_offline(True)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_selector("#live.lost", timeout=SETTLED_MS)
    pages_fixture.grow(site.db, 7, before + 40)
    tab.context.set_offline(False)
    until(page, f"{TRACE} >= {before + 40}")
    page.wait_for_selector("#live:not(.lost)", timeout=SETTLED_MS)
    tab.wrong.clear()  # the browser's own words about the missing network


def test_a_run_is_launched_and_stopped_by_its_forms(tab: Tab, site: Site) -> None:
    page = tab.open("/runs/new?preset=tiny")
    page.fill("#name", "from the form")
    page.click(".go button[type=submit]")
    page.wait_for_url("**/runs/r-*")
    assert page.inner_text("h1") == "from the form"
    page.click("form[action$='/stop'] button")
    until(page, "document.querySelector('.pill').textContent.includes('Stopped')")


def test_a_file_is_uploaded_and_becomes_a_dataset(tab: Tab, tmp_path: Path) -> None:
    (tmp_path / "rose.txt").write_text("a rose is a rose\n\nis a rose\n" * 200)
    page = tab.open("/datasets/new")
    page.set_input_files("#files", str(tmp_path / "rose.txt"))
    until(page, "document.querySelectorAll('#uploads li.done input[name=sha256]').length === 1")
    page.click("#add-dataset button[type=submit]")
    page.wait_for_url("**/datasets/d-*")
    assert page.inner_text("h1") == "rose"
    tab.wrong.clear()  # the browser logs the 404 that says: nothing of this file is here yet


def test_ten_tabs_of_one_browser_are_each_live_soon_after_they_are_shown(browser: Any, site: Site) -> None:
    """Browsers allow six connections a host: a hidden tab must give its stream up, or the seventh never loads."""
    context = browser.new_context(base_url=site.url)
    context.add_init_script(
        "Object.defineProperty(document, 'hidden', {get: () => window.away === true});"
        "window.show = (yes) => { window.away = !yes; document.dispatchEvent(new Event('visibilitychange')) }"
    )
    context.new_page().goto(f"/login?code={site.code()}")
    tabs = []
    for _ in range(10):
        page = context.new_page()
        page.goto("/runs/r-0007")
        until(page, DRAWN)
        page.evaluate("show(false)")
        tabs.append(page)
    for number, page in enumerate(tabs):
        before = page.evaluate(TRACE)
        pages_fixture.grow(site.db, 7, 800 + 10 * number)
        page.evaluate("show(true)")
        wait_until(
            lambda page=page, before=before: page.evaluate(TRACE) > before, 10.0, f"tab {number} was not live again"
        )
        page.evaluate("show(false)")
    context.close()
