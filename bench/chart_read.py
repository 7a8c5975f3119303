"""How long the server takes to read a chart of a series of a million points: `python -m bench chart_read`.

The baseline fetches plain (step, value) rows from SQLite and takes min and max per bucket with numpy.
Twenty one-step spikes are planted; both must show all of them.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson

from app import downsample, series
from app.db import Database
from app.tables import Base, Run

POINTS, BUCKETS, REPEATS = 1_000_000, 1_000, 9


def milliseconds(read: Callable[[], series.Points], repeats: int) -> tuple[series.Points, float]:
    took_ms = []
    for _ in range(repeats):
        began = time.perf_counter()
        points = read()
        took_ms.append(1e3 * (time.perf_counter() - began))
    return points, statistics.median(took_ms)


def planted() -> tuple[series.Steps, series.Values, series.Steps]:
    rng = np.random.default_rng(7)
    steps = np.arange(1, POINTS + 1)
    values = 3 + 8 * np.exp(-steps / 50_000) + rng.normal(0, 0.02, POINTS)
    # one anywhere in each twentieth but its ends: two within one bucket would hide each other on any chart
    spikes = np.arange(20) * (POINTS // 20) + rng.integers(5_000, POINTS // 20 - 5_000, 20)
    values[spikes] += rng.choice([-1, 1], 20) * rng.uniform(1, 5, 20)
    return steps, values, steps[spikes]


def main() -> None:
    steps, values, spikes = planted()
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "plateau.db")

        def fill(tx):
            Base.metadata.create_all(tx.session.connection())
            tx.session.add(Run(name="bench", state="running", config={}, created_at=0, updated_at=0, steps=POINTS))
            tx.session.flush()
            for start in range(0, POINTS, 10_000):
                part = slice(start, start + 10_000)
                series.append(tx.raw, 1, {"train/loss": (steps[part], values[part])})
            tx.raw.execute("CREATE TABLE plain (run INT, key TEXT, step INT, value REAL, PRIMARY KEY (run, key, step))")
            rows = ((1, "train/loss", step, value) for step, value in zip(steps.tolist(), values.tolist(), strict=True))
            tx.raw.executemany("INSERT INTO plain VALUES (?, ?, ?, ?)", rows)

        database.write(fill)
        with database.read() as tx:

            def plain() -> series.Points:
                query = "SELECT step, value FROM plain WHERE run = 1 AND key = 'train/loss' ORDER BY step"
                step, value = np.array(tx.raw.execute(query).fetchall()).T
                step = step.astype(np.int64)
                kept = downsample.min_max(step, value, downsample.bucket_width(1, POINTS, BUCKETS), 2 * BUCKETS)
                return series.Points(step[kept], value[kept], len(step), merged=True)

            _, plain_ms = milliseconds(plain, 3)
            print(f"plain rows: {plain_ms:.1f} ms")
            for title, lo, hi in (("whole run", None, None), ("half", 1, POINTS // 2), ("a tenth", 1, POINTS // 10)):
                points, read_ms = milliseconds(
                    lambda lo=lo, hi=hi: series.read(tx.raw, 1, "train/loss", lo, hi, BUCKETS), REPEATS
                )
                began = time.perf_counter()
                body = orjson.dumps({"step": points.step, "y": points.value}, option=orjson.OPT_SERIALIZE_NUMPY)
                json_ms = 1e3 * (time.perf_counter() - began)
                inside = spikes[spikes <= (hi or POINTS)]
                print(
                    f"{title}: read {read_ms:.2f} ms + JSON {json_ms:.2f} ms, {len(body) / 1e3:.1f} KB, {len(points.step)} of "
                    f"{points.total:,} points, spikes {np.isin(inside, points.step).sum()} of {len(inside)}, "
                    f"{plain_ms / read_ms:.0f} × faster than all rows"
                )
        database.close()


if __name__ == "__main__":
    main()
