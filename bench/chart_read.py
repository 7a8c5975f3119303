"""How long the server takes to read a chart of a series of a million points, and of a hundred: `python -m bench chart_read`.

The baseline fetches plain (step, value) rows from SQLite (of the million only) and takes min and max per bucket with
numpy. Twenty one-step spikes are planted in each; both must show all of them.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import orjson

from app import appending, downsample, series
from app.db import Database, Tx
from app.tables import Base, Run

POINTS, LONG, BUCKETS, REPEATS = 1_000_000, 100_000_000, 1_000, 9
PART = 100_000  #: points appended at once


def milliseconds(read: Callable[[], series.Points], repeats: int) -> tuple[series.Points, float]:
    took_ms = []
    for _ in range(repeats):
        began = time.perf_counter()
        points = read()
        took_ms.append(1e3 * (time.perf_counter() - began))
    return points, statistics.median(took_ms)


def planted(points: int) -> Iterator[tuple[series.Steps, series.Values, series.Steps]]:
    """A falling, noisy loss in parts: steps, values, and the steps of the spikes among them."""
    rng = np.random.default_rng(7)
    # one anywhere in each twentieth but its ends: two within one bucket would hide each other on any chart
    spikes = np.arange(20) * (points // 20) + rng.integers(points // 200, points // 20 - points // 200, 20) + 1
    for start in range(1, points + 1, PART):
        steps = np.arange(start, min(start + PART, points + 1))
        values = 3 + 8 * np.exp(-20 * steps / points) + rng.normal(0, 0.02, len(steps))
        here = spikes[(spikes >= start) & (spikes <= steps[-1])]
        values[here - start] += rng.choice([-1, 1], len(here)) * rng.uniform(1, 5, len(here))
        yield steps, values, here


def fill(database: Database, key: str, points: int) -> series.Steps:
    """Append a series to run 1; returns the steps of its spikes."""
    spikes = []
    for steps, values, here in planted(points):
        database.write(lambda tx, steps=steps, values=values: appending.append(tx.raw, 1, {key: (steps, values)}))
        spikes.append(here)
    return np.concatenate(spikes)


def report(
    tx: Tx,
    key: str,
    spikes: series.Steps,
    windows: Sequence[tuple[str, int | None, int | None]],
    plain_ms: float | None,
) -> None:
    for title, lo, hi in windows:
        points, read_ms = milliseconds(lambda lo=lo, hi=hi: series.read(tx.raw, 1, key, lo, hi, BUCKETS), REPEATS)
        began = time.perf_counter()
        body = orjson.dumps({"step": points.step, "y": points.value}, option=orjson.OPT_SERIALIZE_NUMPY)
        json_ms = 1e3 * (time.perf_counter() - began)
        inside = spikes[(spikes >= (lo or 0)) & (spikes <= (hi or spikes[-1]))]
        faster = f", {plain_ms / read_ms:.0f} × faster than all rows" if plain_ms else ""
        print(
            f"{title}: read {read_ms:.2f} ms + JSON {json_ms:.2f} ms, {len(body) / 1e3:.1f} KB, {len(points.step)} of "
            f"{points.total:,} points, spikes {np.isin(inside, points.step).sum()} of {len(inside)}{faster}"
        )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "plateau.db")

        def begin(tx: Tx) -> None:
            Base.metadata.create_all(tx.session.connection())
            tx.session.add(Run(name="bench", state="running", config={}, created_at=0, updated_at=0, steps=POINTS))
            tx.session.flush()
            tx.raw.execute("CREATE TABLE plain (run INT, key TEXT, step INT, value REAL, PRIMARY KEY (run, key, step))")
            for steps, values, _ in planted(POINTS):
                rows = ((1, "short", step, value) for step, value in zip(steps.tolist(), values.tolist(), strict=True))
                tx.raw.executemany("INSERT INTO plain VALUES (?, ?, ?, ?)", rows)

        database.write(begin)
        short, long = fill(database, "short", POINTS), fill(database, "long", LONG)
        with database.read() as tx:

            def plain() -> series.Points:
                query = "SELECT step, value FROM plain WHERE run = 1 AND key = 'short' ORDER BY step"
                step, value = np.array(tx.raw.execute(query).fetchall()).T
                step = step.astype(np.int64)
                kept = downsample.min_max(step, value, downsample.bucket_width(1, POINTS, BUCKETS), 2 * BUCKETS)
                return series.Points(step[kept], value[kept], len(step), merged=True)

            _, plain_ms = milliseconds(plain, 3)
            print(f"1M points as plain rows: {plain_ms:.1f} ms")
            parts = (("1M points", 1), ("half of 1M", 2), ("a tenth", 10), ("a hundredth", 100))
            report(tx, "short", short, [(title, None, POINTS // part) for title, part in parts], plain_ms)
            windows = [
                (f"100M points, 1/{part} of them", LONG // 3, LONG // 3 + LONG // part) for part in (3, 10, 100, 10_000)
            ]
            report(tx, "long", long, [("100M points", None, None), *windows], None)
            used = sum(
                row[0] for row in tx.raw.execute("SELECT sum(pgsize) FROM dbstat WHERE name IN ('chunks', 'levels')")
            )
            print(f"on disk: {used / (POINTS + LONG):.2f} bytes a point with its step and levels")
        database.close()


if __name__ == "__main__":
    main()
