"""What the run page of a million steps costs a browser, beside the same chart drawn from raw points: `python -m bench page`.

A real server and a headless Chromium on the same cores. The page: until its loss chart is drawn, from the end of a drag to
the zoom's own points on the screen, frame times while panning, updates of the line that crosses all charts. The baseline in the
same browser: Plotly given all points of a run of 100,000, as a page without down-sampling would.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from app.migrate import open_database
from app.settings import Settings
from bench import long_run
from bench.serving import serving

PORT = int(os.environ.get("PLATEAU_BENCH_PORT", "8430"))
STEPS, RAW_STEPS, REPEATS = 1_000_000, 100_000, 5
WATCH = """
  window.drawnAt = []; window.releasedAt = 0;
  addEventListener('drawn', (e) => { if (e.target.id === 'loss') drawnAt.push(performance.now()); }, true);
  addEventListener('pointerup', () => { releasedAt = performance.now(); }, true);
"""
FRAMES = """async (ms) => {
  const times = []; const end = performance.now() + ms; let last = performance.now();
  while (performance.now() < end) { await new Promise(requestAnimationFrame); const now = performance.now(); times.push(now - last); last = now; }
  return times.slice(1);
}"""
HOVER = """async () => {
  const drag = document.querySelector('#loss'); const box = drag.getBoundingClientRect(); const began = performance.now(); const updates = 120;
  for (let i = 0; i < updates; i += 1) {
    drag.dispatchEvent(new PointerEvent('pointermove', { bubbles: true, clientX: box.left + 80 + 4 * i, clientY: box.top + 100 }));
    await new Promise(requestAnimationFrame);
  }
  return { per_s: updates / (performance.now() - began) * 1000, lines: document.querySelectorAll('.hair').length };
}"""
RAW = """async ([path, repeats]) => {
  const rows = (await (await fetch(path)).text()).trim().split('\\n').slice(1).map((row) => row.split(',').map(Number));
  const place = document.createElement('div'); place.style = 'position:fixed;inset:0;z-index:99;background:white'; place.id = 'raw'; document.body.append(place);
  const x = rows.map((row) => row[0]); const y = rows.map((row) => row[1]); const took = [];
  for (let i = 0; i < repeats; i += 1) {
    Plotly.purge(place); const began = performance.now();
    await Plotly.newPlot(place, [{ x, y, mode: 'lines', type: 'scatter' }], { dragmode: 'pan', hovermode: false });
    await new Promise(requestAnimationFrame); took.push(performance.now() - began);
  }
  const began = performance.now(); await Plotly.relayout(place, { 'xaxis.range': [40000, 60000] }); await new Promise(requestAnimationFrame);
  return { draw: took, zoom: performance.now() - began };
}"""


def main() -> int:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        print("no Chromium here; nothing measured")
        return 0
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        database = open_database(Settings(home=home, host="127.0.0.1", port=PORT, allowed_hosts=""))
        for steps in (STEPS, RAW_STEPS):
            database.write(lambda tx, steps=steps: long_run.write(tx, f"{steps:,} steps", steps).id)
        database.close()
        with serving(home, PORT) as server, sync_playwright() as playwright:
            with server.client() as client:
                link = client.post("sign-in-links").raise_for_status().json()["url"]
            options = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
            browser = playwright.chromium.launch(executable_path=chromium, args=options)
            measure(browser, link)
            browser.close()
    return 0


def measure(browser: Any, link: str) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.add_init_script(WATCH)
    page = context.new_page()
    page.goto(link)
    url = f"http://127.0.0.1:{PORT}/runs/r-0001"
    loads = []
    for _ in range(REPEATS + 1):  # the first one also brings the bundle into the browser's cache
        page.goto(url)
        _until(page, "drawnAt.length > 0")
        loads.append(page.evaluate("drawnAt[0]"))
    print(
        f"page of {STEPS:,} steps, loss drawn: first visit {loads[0]:.0f} ms, then {statistics.median(loads[1:]):.0f} ms (target: ≤ 1,500)"
    )
    _until(page, "[...document.querySelectorAll('.panel:not([hidden]) .plot')].every((e) => e.data)")
    zooms = []
    for turn in range(REPEATS):
        _drag(page, "#loss .nsewdrag", 0.3 + 0.02 * turn, 0.6)
        zooms.append(_settled(page))
        page.dblclick("#loss .nsewdrag", position={"x": 200, "y": 60})
        page.wait_for_timeout(600)
    print(
        f"zoom: release of the mouse to the window's own points drawn, median {statistics.median(zooms):.0f} ms (target: ≤ 150)"
    )
    drawn = page.evaluate("document.querySelector('#loss').data.reduce((n, d) => n + (d.x?.length ?? 0), 0)")
    page.keyboard.down("Shift")
    ours = _panning(page, "#loss .nsewdrag")
    page.keyboard.up("Shift")
    _say_frames(f"panning the loss chart ({drawn:,} points)", ours, "(target: median ≤ 20)")
    found = page.evaluate(HOVER)
    print(f"line across {found['lines']} visible charts: {found['per_s']:.0f} updates/s (target: ≥ 20)")
    raw = page.evaluate(RAW, ["/api/v1/runs/r-0002/metrics.csv?key=train/loss", 3])
    frames = _panning(page, "#raw .nsewdrag")
    print(
        f"baseline, {RAW_STEPS:,} raw points: drawn in {statistics.median(raw['draw']):.0f} ms, zoom {raw['zoom']:.0f} ms"
    )
    _say_frames(
        "baseline, panning",
        frames,
        f"({statistics.median(frames) / statistics.median(ours):.1f} × ours at the median, {max(frames) / max(ours):.1f} × at the worst)",
    )


def _until(page: Any, condition: str) -> None:
    deadline = time.monotonic() + 60
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"never true: {condition}"
        time.sleep(0.1)  # what is measured is the page's own clock; asking more often would slow the page down


def _drag(page: Any, selector: str, start: float, end: float) -> None:
    box = page.locator(selector).bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + start * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + end * box["width"], y, steps=4)
    page.mouse.up()


def _settled(page: Any) -> float:
    """ms from the release of the mouse to the last drawing that it caused."""
    page.wait_for_timeout(1500)
    return float(page.evaluate("drawnAt.at(-1) - releasedAt"))


def _panning(page: Any, selector: str) -> list[float]:
    """Frame times in ms while the mouse drags the plot to and fro."""
    box = page.locator(selector).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate(f"() => {{ window.counted = ({FRAMES})(2500); }}")
    began = time.monotonic()
    turn = 0
    while time.monotonic() - began < 2.3:
        turn += 1
        page.mouse.move(x + 120 * ((turn % 40) / 20 - 1), y)
    page.mouse.up()
    return list(page.evaluate("() => window.counted"))


def _say_frames(title: str, frames: list[float], more: str) -> None:
    frames.sort()
    print(
        f"{title}: frame {statistics.median(frames):.1f} ms at the median, {frames[int(0.95 * len(frames))]:.1f} ms at 95 %, worst {frames[-1]:.0f} ms {more}"
    )


if __name__ == "__main__":
    sys.exit(main())
