"""A chart of fifty runs in one request, and of one run of a million points, over HTTP: `python -m bench compare`.

In the same call, the same points as plain SQLite rows, and, where TensorBoard is installed (pip install tensorboard), its
server. Each side answers what its own page asks for; how many points and how many of 20 one-step spikes are in the
answer is counted. Milliseconds are a client's, from the request to the whole body, the median of several.
"""

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import orjson

from app import appending, downsample, series
from app.db import Database, Tx
from app.migrate import open_database
from app.settings import Settings
from app.tables import Run
from bench.serving import serving

PORT = int(os.environ.get("PLATEAU_BENCH_PORT", "8440"))
RUNS, POINTS, LONG, REPEATS = 50, 10_000, 1_000_000, 9
WIDTH = 600
"""Points a curve: fifty on one chart of a laptop's width."""
TAG = "train/loss"


class Curve(NamedTuple):
    steps: series.Steps
    values: series.Values
    spikes: set[int]


class Answer(NamedTuple):
    ms: float
    kilobytes: float
    points: int
    spikes: int  #: of 20 a curve, in the first curve


def made(points: int, seed: int) -> Curve:
    """A falling, noisy loss with twenty one-step spikes, none close to another."""
    rng = np.random.default_rng(seed)
    steps, part = np.arange(1, points + 1), points // 20
    values = 3 + 8 * np.exp(-3 * steps / points) + rng.normal(0, 0.02, points)
    spikes = np.arange(20) * part + rng.integers(part // 10, part - part // 10, 20) + 1
    values[spikes - 1] += rng.uniform(1, 5, 20)
    # what a float32 loss is when printed: the JSON of a double is twice as long and says nothing more
    return Curve(steps, values.astype(np.float32).astype(float), set(spikes.tolist()))


def asked(
    request: Callable[[], httpx.Response], read: Callable[[httpx.Response], list[list[int]]], spikes: set[int]
) -> Answer:
    """`read`: an answer's steps, a list a curve."""
    took = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        answer = request().raise_for_status()
        took.append(1e3 * (time.perf_counter() - began))
    curves = read(answer)
    return Answer(
        statistics.median(took), len(answer.content) / 1e3, sum(map(len, curves)), len(spikes & set(curves[0]))
    )


def told(title: str, answers: dict[str, Answer]) -> None:
    print(title, flush=True)
    ours = answers["Plateau"].ms
    for name, one in answers.items():
        ratio = "" if name == "Plateau" else f", {one.ms / ours:.1f} x Plateau's time"
        print(
            f"  {name:12} {one.ms:8.1f} ms {one.kilobytes:9.1f} KB {one.points:9,} points, spikes {one.spikes} of 20{ratio}",
            flush=True,
        )


def fill(database: Database, fifty: list[Curve], long: Curve) -> None:
    def work(tx: Tx) -> None:
        tx.raw.execute("CREATE TABLE plain (run INT, key TEXT, step INT, value REAL, PRIMARY KEY (run, key, step))")
        for number, curve in enumerate([*fifty, long], 1):
            run = Run(
                name=f"run {number}", state="finished", config={}, created_at=0, updated_at=0, steps=len(curve.steps)
            )
            tx.session.add(run)
            tx.session.flush()
            appending.append(tx.raw, run.id, {TAG: (curve.steps, curve.values)})
            rows = ((run.id, TAG, *row) for row in zip(curve.steps.tolist(), curve.values.tolist(), strict=True))
            tx.raw.executemany("INSERT INTO plain VALUES (?, ?, ?, ?)", rows)

    database.write(work)


def plain_rows(database: Database, runs: range, buckets: int, spikes: set[int]) -> Answer:
    """What a table of rows costs before any HTTP: fetched, thinned by numpy, made into JSON."""
    took = []
    for _ in range(3):
        began = time.perf_counter()
        curves = []
        with database.read() as tx:
            for run in runs:
                query = "SELECT step, value FROM plain WHERE run = ? AND key = ? ORDER BY step"
                step, value = np.array(tx.raw.execute(query, (run, TAG)).fetchall()).T
                step = step.astype(np.int64)
                kept = downsample.min_max(
                    step, value, downsample.bucket_width(int(step[0]), int(step[-1]), buckets), 2 * buckets
                )
                curves.append((step[kept], value[kept]))
        body = orjson.dumps(curves, option=orjson.OPT_SERIALIZE_NUMPY)
        took.append(1e3 * (time.perf_counter() - began))
    shown = set(curves[0][0].tolist())
    return Answer(statistics.median(took), len(body) / 1e3, sum(len(step) for step, _ in curves), len(spikes & shown))


def wait_for(url: str, good: Callable[[httpx.Response], bool], timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if good(httpx.get(url)):
                return
        except httpx.TransportError:
            pass
        if time.monotonic() > deadline:
            raise SystemExit(f"{url} was not ready within {timeout_s:.0f} s")
        time.sleep(0.1)


def tensorboard(folder: Path, fifty: list[Curve], long: Curve) -> tuple[Answer, Answer]:
    from torch.utils.tensorboard import SummaryWriter

    for number, curve in enumerate([*fifty, long], 1):
        with SummaryWriter(str(folder / f"run-{number}")) as writer:
            for step, value in zip(curve.steps.tolist(), curve.values.tolist(), strict=True):
                writer.add_scalar(TAG, value, step)
    base = f"http://127.0.0.1:{PORT + 1}"
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(folder),
        "--port",
        str(PORT + 1),
        "--host",
        "127.0.0.1",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(f"{base}/data/plugin/scalars/tags", lambda answer: len(answer.json()) == len(fifty) + 1)
            client = httpx.Client(base_url=base, timeout=60)
            # its loader goes on reading files after it has named their tags
            last = f"/data/plugin/scalars/scalars?run=run-{len(fifty) + 1}&tag={TAG}"
            wait_for(base + last, lambda answer: answer.json()[-1][1] == LONG)
            names = [f"run-{number}" for number in range(1, len(fifty) + 1)]
            many = asked(
                lambda: client.post("/data/plugin/scalars/scalars_multirun", data={"tag": TAG, "runs": names}),
                lambda answer: [[point[1] for point in answer.json()[name]] for name in names],
                fifty[0].spikes,
            )
            one = asked(lambda: client.get(last), lambda answer: [[point[1] for point in answer.json()]], long.spikes)
            return many, one
        finally:
            process.terminate()


def main() -> None:
    fifty, long = [made(POINTS, seed) for seed in range(RUNS)], made(LONG, 99)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        settings = Settings(home=home, host="127.0.0.1", port=PORT)
        database = open_database(settings)
        fill(database, fifty, long)
        database.close()  # one program at a time owns it
        with serving(home, PORT) as server, server.client() as client:

            def chart(numbers: range, width: int) -> Callable[[], httpx.Response]:
                query = [("run", f"r-{number:04d}") for number in numbers] + [("key", TAG), ("width", str(width))]
                return lambda: client.get("metrics", params=query)

            def steps(answer: httpx.Response) -> list[list[int]]:
                return [run[TAG]["step"] for run in answer.json()["runs"].values()]

            many = {"Plateau": asked(chart(range(1, RUNS + 1), WIDTH), steps, fifty[0].spikes)}
            one = {"Plateau": asked(chart(range(RUNS + 1, RUNS + 2), 2000), steps, long.spikes)}
        database = Database(settings.database)
        many["plain rows"] = plain_rows(database, range(1, RUNS + 1), WIDTH // 2, fifty[0].spikes)
        one["plain rows"] = plain_rows(database, range(RUNS + 1, RUNS + 2), 1000, long.spikes)
        database.close()
        if importlib.util.find_spec("tensorboard"):
            many["TensorBoard"], one["TensorBoard"] = tensorboard(Path(folder) / "events", fifty, long)
        else:
            print("TensorBoard is not installed here: not measured")
        told(f"{RUNS} runs of {POINTS:,} points, one request (target: 30 ms of server time, 700 KB)", many)
        told("one run of 1,000,000 points (target: 5 ms of server time, 60 KB)", one)


if __name__ == "__main__":
    main()
