"""How long from the end of a step to the event in a page's stream: `python -m bench live`.

A real server process; eight runs whose reporters post over HTTP as a worker does, a batch every quarter of a second
whose oldest step waits that long; fifty streams that follow them all. For every step in a batch: from the step's end
(when its journal frame would be written) and from the start of the POST, to the arrival at each stream.
"""

import json
import os
import socket
import statistics
import tempfile
import threading
import time
from pathlib import Path

import httpx

from bench.serving import Serving, serving

PORT = int(os.environ.get("PLATEAU_BENCH_PORT", "8430"))
RUNS, STREAMS, SECONDS = 8, 50, 10.0
BATCH_S = 0.25
STEP_S = 0.05
LATEST_S = 20.0
"""What has not come by then is lost and not late."""
KEYS = ("train/loss", "train/lr", "train/grad_norm")


class Streams(threading.Thread):
    """All streams in one thread, on bare sockets, so that the clients cost the two cores little."""

    def __init__(self, token: str, runs: list[str]) -> None:
        super().__init__(daemon=True)
        import selectors

        self.stopping = False
        self.arrived: list[tuple[str, int, float]] = []  # run, step, when
        self._selector = selectors.DefaultSelector()
        query = "&".join(f"run={run}" for run in runs)
        head = f"GET /api/v1/stream?{query} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        self._rest: dict[socket.socket, bytes] = {}
        for _ in range(STREAMS):
            one = socket.create_connection(("127.0.0.1", PORT))
            one.sendall(head.encode())
            one.setblocking(False)
            self._rest[one] = b""
            self._selector.register(one, selectors.EVENT_READ)

    def run(self) -> None:
        while not self.stopping:
            for key, _ in self._selector.select(0.2):
                one = key.fileobj
                data = self._rest[one] + one.recv(1 << 18)
                now = time.perf_counter()
                *messages, self._rest[one] = data.split(b"\n\n")
                for message in messages:
                    if b"event: points" in message:
                        body = json.loads(message.partition(b"data: ")[2].splitlines()[0])
                        self.arrived += [(body["run"], step, now) for step in body["columns"][KEYS[0]]["step"]]


def report(client: httpx.Client, run: dict, offset_s: float, ended: dict, posted: dict, acked_ms: list[float]) -> None:
    """One worker's steps and batches, at its own phase."""
    claim, step, seq = run["claim"], 0, 0
    began = time.perf_counter() + offset_s
    time.sleep(offset_s)
    pending: list[int] = []
    while time.perf_counter() - began < SECONDS:
        due = began + (step + 1) * STEP_S
        time.sleep(max(0.0, due - time.perf_counter()))
        step += 1
        ended[run["id"], step] = time.perf_counter()
        pending.append(step)
        if len(pending) * STEP_S >= BATCH_S:
            seq += 1
            column = {"step": pending, "value": [3.0] * len(pending)}
            body = {
                "claim_id": claim["claim_id"],
                "attempt": claim["attempt"],
                "seq": seq,
                "columns": dict.fromkeys(KEYS, column),
            }
            at = time.perf_counter()
            posted.update(((run["id"], one), at) for one in pending)
            client.post(f"jobs/{claim['job']}/batches", content=json.dumps(body)).raise_for_status()
            acked_ms.append((time.perf_counter() - at) * 1000)
            pending = []


def shown(name: str, values_ms: list[float]) -> str:
    values_ms.sort()
    return f"{name:<28} {statistics.median(values_ms):8.1f} {values_ms[int(len(values_ms) * 0.99)]:8.1f} {values_ms[-1]:8.1f}"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        with serving(Path(folder) / "home", PORT) as server:
            measure(server)
            stopping = time.perf_counter()
        print(f"server stopped in {time.perf_counter() - stopping:.2f} s with {STREAMS} streams open")


def measure(server: Serving) -> None:
    clients = [server.client() for _ in range(RUNS)]
    idle = memory_mib(server.pid)
    launch = {"source": "external", "config": {"schedule": {"steps": 10_000}}}
    runs = [client.post("runs", json=launch).raise_for_status().json() for client in clients]
    streams = Streams(server.token, [run["id"] for run in runs])
    streams.start()
    ended: dict[tuple[str, int], float] = {}
    posted: dict[tuple[str, int], float] = {}
    acked_ms: list[float] = []
    reporters = [
        threading.Thread(target=report, args=(client, run, number * BATCH_S / RUNS, ended, posted, acked_ms))
        for number, (client, run) in enumerate(zip(clients, runs, strict=True))
    ]
    for one in reporters:
        one.start()
    for one in reporters:
        one.join()
    deadline = time.perf_counter() + LATEST_S
    while len(streams.arrived) < len(posted) * STREAMS and time.perf_counter() < deadline:
        time.sleep(0.1)
    streams.stopping = True
    streams.join()
    arrived = [(run, step, at) for run, step, at in streams.arrived if (run, step) in posted]
    print(
        f"{RUNS} runs, {1 / STEP_S:.0f} steps/s each, a POST every {BATCH_S * 1000:.0f} ms; {STREAMS} streams of all runs"
    )
    print(
        f"first answer {server.start_s:.2f} s after the start, {idle:.0f} MiB idle, {memory_mib(server.pid):.0f} MiB at the end"
    )
    print(f"{len(arrived):,} of {len(posted) * STREAMS:,} steps arrived")
    print(f"{'ms':<28} {'median':>8} {'p99':>8} {'worst':>8}")
    print(
        shown("step's end to event", [(at - ended[run, step]) * 1000 for run, step, at in arrived]), "  (target: ≤ 300)"
    )
    print(shown("start of POST to event", [(at - posted[run, step]) * 1000 for run, step, at in arrived]))
    print(shown("POST to acknowledgement", acked_ms))
    assert len(arrived) >= len(posted) * STREAMS, "steps are missing"


def memory_mib(pid: int) -> float:
    import psutil

    return psutil.Process(pid).memory_info().rss / 2**20


if __name__ == "__main__":
    main()
