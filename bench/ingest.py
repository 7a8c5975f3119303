"""How many points a second are acknowledged as durable: `python -m bench ingest`.

Each load is posted over HTTP to a real server by senders with a connection each, as workers post, the bodies made beforehand; then handed, parsed, to
the same transaction without HTTP: fence, sequence, points, lease, group commit. Beside it, in the same run, what plain SQLite makes
of the same points: a row for each, a transaction for each batch, one writer; and what that many bare commits take.
"""

import json
import os
import re
import socket
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from app import ingest
from app.db import Database
from app.migrate import open_database
from app.settings import Settings
from bench.serving import Serving, serving

PORT = int(os.environ.get("PLATEAU_BENCH_PORT", "8450"))
KEYS = ("train/loss", "train/lr", "train/grad_norm")
LEASE_S = 3600.0


class Load(NamedTuple):
    senders: int
    batches: int  #: of each sender
    steps: int  #: in a batch
    target: int  #: points a second

    @property
    def points(self) -> int:
        return self.senders * self.batches * self.steps * len(KEYS)

    def __str__(self) -> str:
        return f"{self.senders} senders, {self.steps:,} steps × {len(KEYS)} metrics a batch (target: ≥ {self.target:,})"


LOADS = (Load(1, 100, 1000, 500_000), Load(8, 250, 33, 250_000), Load(8, 400, 1, 10_000), Load(8, 60, 333, 250_000))


class Sender(NamedTuple):
    job: str
    bodies: list[bytes]


def columns(first: int, steps: int, seed: int) -> dict[str, Any]:
    values = np.random.default_rng(seed).normal(3, 0.1, steps).tolist()
    return {key: {"step": list(range(first, first + steps)), "value": values} for key in KEYS}


def senders(server: Serving, load: Load, rounds: int) -> list[Sender]:
    """A run each, fed from outside, and the bodies of `rounds` times the load's batches."""
    made = []
    with server.client() as client:
        for _ in range(load.senders):
            launch = {"source": "external", "config": {"schedule": {"steps": 10**6}}}
            claim = client.post("runs", json=launch).raise_for_status().json()["claim"]
            head = {"claim_id": claim["claim_id"], "attempt": claim["attempt"]}
            bodies = [
                json.dumps({**head, "seq": n + 1, "columns": columns(n * load.steps + 1, load.steps, n)}).encode()
                for n in range(rounds * load.batches)
            ]
            made.append(Sender(claim["job"], bodies))
    return made


def at_once(load: Load, sender: Callable[[int], list[float]]) -> tuple[float, float, float]:
    """(points/s, median ms, p99 ms) of one thread for each sender; `sender` gives the seconds of each of its batches."""
    took: list[list[float]] = [[] for _ in range(load.senders)]
    threads = [
        threading.Thread(target=lambda n=n: took[n].extend(sender(n)))  # type: ignore[misc]
        for n in range(load.senders)
    ]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall_s = time.perf_counter() - began
    assert all(len(each) == load.batches for each in took), "a sender has given up"
    middle, p99 = 1e3 * np.percentile(np.concatenate(took), [50, 99])
    return load.points / wall_s, middle, p99


def post(server: Serving, sender: Sender, bodies: Sequence[bytes]) -> list[float]:
    """On a bare socket, so that the client takes as little as can be of the cores that it shares with the server."""
    head = f"POST /api/v1/jobs/{sender.job}/batches HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.token}\r\nContent-Length: "
    address, took = server.base.removeprefix("http://").split(":"), []
    with socket.create_connection((address[0], int(address[1]))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answer = connection.makefile("rb")
        for body in bodies:
            began = time.perf_counter()
            connection.sendall(f"{head}{len(body)}\r\n\r\n".encode() + body)
            status, length = answer.readline(), 0
            while (line := answer.readline()) != b"\r\n":
                if found := re.match(rb"content-length: *(\d+)", line, re.IGNORECASE):
                    length = int(found[1])
            told = answer.read(length)
            assert b" 200 " in status, (status, told)
            took.append(time.perf_counter() - began)
    return took


def write(database: Database, sender: Sender, bodies: Sequence[bytes]) -> list[float]:
    job, took = int(sender.job.partition("-")[2]), []
    for parsed in [ingest.parse_batch(body) for body in bodies]:
        began = time.perf_counter()
        database.write(lambda tx, one=parsed: ingest.accept(tx, job, one, now=time.time(), lease_s=LEASE_S))  # type: ignore[misc]
        took.append(time.perf_counter() - began)
    return took


def plain(path: Path) -> sqlite3.Connection:
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("PRAGMA journal_mode = WAL")
    raw.execute("PRAGMA synchronous = FULL")
    return raw


def plain_rows(folder: Path, load: Load) -> float:
    """Points a second of one writer, a row for each point, a transaction for each batch."""
    raw = plain(folder / "rows.db")
    raw.execute("CREATE TABLE metrics (run_id INTEGER, key TEXT, step INTEGER, value REAL, time REAL)")
    raw.execute("CREATE INDEX by_key ON metrics (run_id, key, step)")
    began = time.perf_counter()
    for number in range(load.batches):
        batch = columns(number * load.steps + 1, load.steps, number)
        for run in range(load.senders):
            raw.execute("BEGIN IMMEDIATE")
            for key, column in batch.items():
                rows = [
                    (run, key, step, value, 0.0) for step, value in zip(column["step"], column["value"], strict=True)
                ]
                raw.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?)", rows)
            raw.execute("COMMIT")
    took_s = time.perf_counter() - began
    raw.close()
    return load.points / took_s


def bare_commits(folder: Path, commits: int, rows_each: int) -> tuple[float, float]:
    """Seconds for so many group commits of plain 4 KiB rows, and the median of COMMIT alone in ms."""
    raw = plain(folder / "bare.db")
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


def measure(load: Load) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = folder / "home"
        with serving(home, PORT) as server:
            them = senders(server, load, rounds=2)
            posted = at_once(load, lambda n: post(server, them[n], them[n].bodies[: load.batches]))
        settings = Settings(home=home, host="127.0.0.1", port=PORT)
        database = open_database(settings)
        commits = [0]
        database.on_commit.append(lambda: commits.__setitem__(0, commits[0] + 1))
        written = at_once(load, lambda n: write(database, them[n], them[n].bodies[load.batches :]))
        with database.read() as tx:
            assert tx.raw.execute("SELECT sum(count) FROM series").fetchone() == (2 * load.points,), (
                "points are missing"
            )
        database.close()
        rows = plain_rows(folder, load)
        chunk_rows = load.senders * load.batches * len(KEYS) * max(1, load.steps // 1024)
        bare_s, commit_ms = bare_commits(folder, commits[0], max(1, round(chunk_rows / commits[0])))
        print(f"{load}", flush=True)
        print(
            f"    over HTTP             {posted[0]:12,.0f} points/s, acknowledged in {posted[1]:.2f} ms (p99 {posted[2]:.2f})"
        )
        print(
            f"    the transaction alone {written[0]:12,.0f} points/s, acknowledged in {written[1]:.2f} ms (p99 {written[2]:.2f})"
        )
        print(f"    plain rows, no HTTP   {rows:12,.0f} points/s; over HTTP is {posted[0] / rows:.2f} x that")
        print(
            f"    {commits[0]:,} bare commits   {load.points / bare_s:12,.0f} points/s, COMMIT {commit_ms:.2f} ms;"
            f" the transaction is {written[0] * bare_s / load.points:.2f} x that",
            flush=True,
        )  # fmt: skip


def main() -> None:
    for load in LOADS:
        measure(load)


if __name__ == "__main__":
    main()
