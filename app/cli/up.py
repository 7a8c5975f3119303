"""`plateau up`: a server and a worker as children of this process, their output side by side, one Ctrl-C for both."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import IO, NamedTuple

import typer

from app.cli.rest import FAILED, OK

WORKER_WITHIN_S = 22.0
"""A worker that is told to go lets its runs save; then it is killed."""
SERVER_WITHIN_S = 6.0
LOOK_EVERY_S = 0.1
PR_SET_PDEATHSIG = 1
COLOURS = {"server": "\x1b[36m", "worker": "\x1b[35m"}


class Plan(NamedTuple):
    port: int
    home: Path
    lan: bool
    demo: bool
    worker: bool
    open_page: bool
    data_roots: tuple[Path, ...]


class Program:
    """One child, in a session of its own so that the terminal's Ctrl-C reaches only this process."""

    def __init__(self, name: str, command: list[str], hear: Callable[[str], bool] = lambda line: False) -> None:
        """`hear` sees each line first; what it returns True for is not printed."""
        self.name = name
        self._hear = hear
        self._process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    @property
    def exit(self) -> int | None:
        return self._process.poll()

    def end(self, within_s: float, again: Callable[[], bool] = lambda: False) -> None:
        """SIGTERM, once more when `again()` says so, SIGKILL at the deadline."""
        deadline = time.monotonic() + within_s
        self._send(signal.SIGTERM)
        repeated = False
        while self.exit is None and time.monotonic() < deadline:
            if again() and not repeated:
                self._send(signal.SIGTERM)
                repeated, deadline = True, min(deadline, time.monotonic() + 3)
            time.sleep(0.05)
        if self.exit is None:
            self._send(signal.SIGKILL)
            self._process.wait()
        self._reader.join(1)

    def _send(self, number: signal.Signals) -> None:
        if self.exit is None:
            self._process.send_signal(number)

    def _read(self, output: IO[bytes]) -> None:
        with output:
            for raw in output:
                text = raw.decode("utf-8", "replace").rstrip()
                if not self._hear(text):
                    _say(self.name, text)


def run(plan: Plan) -> int:
    """Start, watch, stop; the exit code of `plateau up`."""
    pressed: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        pressed.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    host = lan_address() if plan.lan else "127.0.0.1"
    url = f"http://{host}:{plan.port}"
    link: list[str] = []

    def hear(line: str) -> bool:
        """The server's greeting is said when it answers, once and where it can be seen."""
        if "/login?code=" in line:
            link.append(line.split()[-1])
            return True
        return line.startswith("Plateau is at ")

    options = ["--host", host, "--port", str(plan.port), "--home", str(plan.home), *(["--demo"] if plan.demo else [])]
    server = Program("server", ["app.server", *options, *(["--allow-host", host] if plan.lan else [])], hear)
    worker: Program | None = None
    try:
        # Its greeting too, for another Plateau may be what answers on this port.
        while server.exit is None and not pressed and not (link and _ready(url)):
            time.sleep(LOOK_EVERY_S)
        if server.exit is not None or pressed:
            return FAILED if not pressed else OK
        _greet(url, link[-1], plan)
        if plan.worker:
            worker = Program("worker", worker_command(plan, url))
        return _watch(server, worker, pressed)
    finally:
        if worker is not None:
            worker.end(WORKER_WITHIN_S, again=lambda: len(pressed) > 1)  # first, so that it can still report
        server.end(SERVER_WITHIN_S, again=lambda: len(pressed) > 1)


def worker_command(plan: Plan, url: str) -> list[str]:
    command = ["worker", "--url", url, "--token-file", str(plan.home / "worker.token")]
    if "PLATEAU_WORKER_HOME" not in os.environ:
        command += ["--home", str(plan.home / "worker")]
    for root in plan.data_roots:
        command += ["--data-root", str(root)]
    return command


def lan_address() -> str:
    """This machine's address towards other machines; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # a documentation address: only the route is looked up
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def _watch(server: Program, worker: Program | None, pressed: list[int]) -> int:
    while not pressed:
        if server.exit is not None:
            typer.echo(
                f"The server ended by itself (exit code {server.exit}); its last lines are above. Stopping.", err=True
            )
            return FAILED
        if worker is not None and worker.exit is not None:
            typer.echo(
                f"The worker ended by itself (exit code {worker.exit}). The server goes on, runs wait; start another with: plateau worker",
                err=True,
            )
            worker = None
        time.sleep(LOOK_EVERY_S)
    typer.echo("\nStopping: runs that train save first. Ctrl-C again stops at once.", err=True)
    return OK


def _ready(url: str) -> bool:
    import httpx

    try:
        return httpx.get(f"{url}/readyz", timeout=2, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _greet(url: str, link: str, plan: Plan) -> None:
    import webbrowser

    typer.echo(f"\n  Plateau is at {url}")
    typer.echo(f"  Sign in once with {link}")
    if plan.lan:
        typer.echo("  Other machines in this network can reach it, over plain HTTP: use it in networks you trust.")
    typer.echo(f"  Data is in {plan.home}. Ctrl-C stops everything.\n")
    if plan.open_page:
        webbrowser.open(link)


def _say(name: str, text: str) -> None:
    colour, end = (COLOURS[name], "\x1b[0m") if sys.stdout.isatty() else ("", "")
    typer.echo(f"{colour}{name:6} │{end} {text}")


def _end_with_parent() -> None:
    """Between fork and exec: were this process killed outright, its children would go on unseen."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
