"""The list of ten thousand runs over HTTP: `python -m bench run_list`.

For each filter and order the time from a request to the first byte of its page, and of the same list as JSON. Beside it, in the
same run, what a list without a database's help costs: reading all rows, decoding their configurations, filtering and sorting them.
"""

import json
import os
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np

from app import appending, runs
from app.db import Tx
from app.migrate import open_database
from app.runs import Launch
from app.settings import Settings
from bench.serving import serving

PORT = int(os.environ.get("PLATEAU_BENCH_PORT", "8470"))
RUNS, REPEATS = 10_000, 15
STEPS = np.arange(0, 1001, 20)
DECAYS, RATES = (0.0, 0.01, 0.1, 0.3, 1.0, 3.0), (3e-4, 6e-4, 1e-3)
LISTS = {
    "newest first": {},
    "by best loss": {"sort": "best_val"},
    "by weight decay": {"sort": "-weight_decay"},
    "wd>0.05": {"q": "wd>0.05"},
    "wd=0.1 lr<5e-4": {"q": "wd=0.1 lr<5e-4", "sort": "best_val"},
    "tag:study": {"q": "tag:study"},
    "val/loss<3.5": {"q": "val/loss<3.5"},
    "the last page": {"offset": "9950"},
}


def fill(tx: Tx) -> None:
    """Runs with every setting of their own, a curve each, finished."""
    rng = np.random.default_rng(0)
    for number in range(RUNS):
        decay, rate = DECAYS[number % len(DECAYS)], RATES[number // len(DECAYS) % len(RATES)]
        config = {"optim": {"weight_decay": decay}, "schedule": {"lr": rate}, "system": {"seed": number % 5}}
        tags = ["study"] if number % 7 == 0 else []
        launch = Launch(preset="tiny", name=f"tiny λ {decay} lr {rate:g} {number}", config=config, tags=tags)
        run, _ = runs.create(tx, launch, key=None, body_sha256="", now=float(number))
        run.state, run.step, run.best_val = "finished", run.steps, 3 + float(rng.random())
        curve = run.best_val + 3 * (1 + STEPS / 50.0) ** -0.6
        appending.append(tx.raw, run.id, {"train/loss": (STEPS, curve), "val/loss": (STEPS, curve)})


def first_byte_ms(client: httpx.Client, path: str, query: dict[str, str]) -> float:
    began = time.perf_counter()
    with client.stream("GET", path, params=query) as answer:
        answer.raise_for_status()
        pieces = answer.iter_raw()
        next(pieces)
        took_s = time.perf_counter() - began
        for _ in pieces:  # the rest, so that the connection can be used again
            pass
    return took_s * 1e3


def without_help_ms(path: Path) -> float:
    raw = sqlite3.connect(path)
    began = time.perf_counter()
    rows = [(row[0], row[1], json.loads(row[2])) for row in raw.execute("SELECT id, best_val, config FROM runs")]
    found = [row for row in rows if row[2]["optim"]["weight_decay"] == 0.1 and row[2]["schedule"]["lr"] < 5e-4]
    found.sort(key=lambda row: row[1])
    took_s = time.perf_counter() - began
    assert found, "the filter matches some"
    raw.close()
    return took_s * 1e3


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        settings = Settings(home=home, host="127.0.0.1", port=PORT)
        database = open_database(settings)
        database.write(fill)
        database.close()
        with serving(home, PORT) as server, server.client() as api, httpx.Client(base_url=server.base) as browser:
            browser.get(api.post("sign-in-links").raise_for_status().json()["url"], follow_redirects=True)
            print(f"{RUNS:,} runs; ms to the first byte, median and worst of {REPEATS} (target: ≤ 100)")
            for name, query in LISTS.items():
                pages = [first_byte_ms(browser, "/runs", query) for _ in range(REPEATS)]
                lists = [first_byte_ms(api, "runs", query) for _ in range(REPEATS)]
                told = f"{statistics.median(pages):6.1f} {max(pages):6.1f}   as JSON {statistics.median(lists):6.1f} {max(lists):6.1f}"
                print(f"    {name:<18} page {told}", flush=True)
        print(f"    all rows read, decoded, filtered and sorted in Python: {without_help_ms(settings.database):.1f} ms")


if __name__ == "__main__":
    main()
