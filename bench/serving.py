"""A real server process of its own home, for the benchmarks that ask one over HTTP."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

START_S = 60.0


class Serving(NamedTuple):
    base: str  #: its address
    token: str  #: of this machine's command line: may do everything
    pid: int
    start_s: float  #: from the start of the process to its first answer

    def client(self) -> httpx.Client:
        """Of the API, signed in, on a connection of its own."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=f"{self.base}/api/v1/", headers=headers, timeout=60)


@contextmanager
def serving(home: Path, port: int) -> Iterator[Serving]:
    """Started, and answering; ended as a stop of the machine would end it."""
    env = {**os.environ, "PLATEAU_HOME": str(home), "PLATEAU_PORT": str(port)}
    base = f"http://127.0.0.1:{port}"
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "app.server"], env=env, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                httpx.get(f"{base}/healthz").raise_for_status()
                break
            except httpx.TransportError:
                assert process.poll() is None, "the server did not start"
                assert time.perf_counter() - began < START_S, "the server does not answer"
                time.sleep(0.01)
        start_s = time.perf_counter() - began
        token = json.loads((home / "client.json").read_text())["token"]
        yield Serving(base, token, process.pid, start_s)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
