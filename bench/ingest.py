"""How many points a second the metric store acknowledges as durable: `python -m bench ingest`.

One sender of large batches, then eight threads whose batches hold 33 steps of three metrics (a quarter of a second
of a fast run). After each, bare SQLite makes as many commits of as many 4 KiB rows: what the disk would allow.
"""

import sqlite3
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from app import series
from app.db import Database
from app.tables import Base, Run

KEYS = ("train/loss", "train/lr", "train/grad_norm")
RUNS = 8


def new_database(folder: Path) -> Database:
    database = Database(folder / "plateau.db")

    def fill(tx):
        Base.metadata.create_all(tx.session.connection())
        for _ in range(RUNS):
            tx.session.add(Run(name="bench", state="running", config={}, created_at=0, updated_at=0, steps=10**6))

    database.write(fill)
    return database


def send(database: Database, run_id: int, batches: int, steps_each: int, took_s: list[float]) -> None:
    values = np.random.default_rng(run_id).normal(3, 0.1, steps_each)
    for number in range(batches):
        steps = np.arange(number * steps_each, (number + 1) * steps_each)
        began = time.perf_counter()
        database.write(lambda tx, steps=steps: series.append(tx.raw, run_id, dict.fromkeys(KEYS, (steps, values))))
        took_s.append(time.perf_counter() - began)


def bare_commits(folder: Path, commits: int, rows_each: int) -> tuple[float, float]:
    """Seconds for so many group commits of plain rows, and the median of COMMIT alone in ms."""
    raw = sqlite3.connect(folder / "bare.db", isolation_level=None)
    raw.execute("PRAGMA journal_mode = WAL")
    raw.execute("PRAGMA synchronous = FULL")
    raw.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, packed BLOB)")
    raw.executemany("INSERT INTO rows VALUES (?, ?)", [(row, bytes(4096)) for row in range(rows_each)])
    commit_s, began = [], time.perf_counter()
    for number in range(commits):
        packed = number.to_bytes(8) * 512
        raw.execute("BEGIN IMMEDIATE")
        for row in range(rows_each):
            raw.execute("UPDATE rows SET packed = ? WHERE id = ?", (packed, row))
        before = time.perf_counter()
        raw.execute("COMMIT")
        commit_s.append(time.perf_counter() - before)
    total_s = time.perf_counter() - began
    raw.close()
    return total_s, 1e3 * statistics.median(commit_s)


def measure(title: str, senders: int, batches: int, steps_each: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = new_database(folder)
        commits, took_s = [0], []
        database.on_commit.append(lambda: commits.__setitem__(0, commits[0] + 1))
        threads = [
            threading.Thread(target=send, args=(database, run_id, batches, steps_each, took_s))
            for run_id in range(1, senders + 1)
        ]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall_s = time.perf_counter() - began
        points = senders * batches * steps_each * len(KEYS)
        with database.read() as tx:
            assert tx.raw.execute("SELECT sum(count) FROM series").fetchone() == (points,)
        database.close()
        per_point = (folder / "plateau.db").stat().st_size / points
        chunk_rows = senders * batches * len(KEYS) * max(1, steps_each // 1024)
        bare_s, commit_ms = bare_commits(folder, commits[0], max(1, round(chunk_rows / commits[0])))
    p50_ms, p99_ms = 1e3 * np.percentile(took_s, [50, 99])
    print(
        f"{title}: {points / wall_s:,.0f} points/s; {commits[0]:,} commits of {points / commits[0]:,.0f} points; "
        f"ack p50 {p50_ms:.2f} ms, p99 {p99_ms:.2f} ms; {per_point:.1f} bytes a point\n"
        f"    bare SQLite, the same number of commits: {points / bare_s:,.0f} points/s, COMMIT {commit_ms:.2f} ms; "
        f"ratio {bare_s / wall_s:.2f}"
    )


def main() -> None:
    measure("1 sender, 10,000 points a batch", senders=1, batches=200, steps_each=3333)
    measure("8 senders, 33 steps × 3 metrics a batch", senders=8, batches=250, steps_each=33)
    measure("8 senders, one step × 3 metrics a batch", senders=8, batches=400, steps_each=1)
    measure("8 senders, 333 steps × 3 metrics a batch", senders=8, batches=100, steps_each=333)


if __name__ == "__main__":
    main()
