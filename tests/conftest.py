"""What many tests share: a home folder, real server and worker processes, a browser, the test data."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import settings as property_tests

from app.settings import Settings

property_tests.register_profile("plateau", deadline=None)  # a machine may be busy; pytest-timeout ends what hangs
property_tests.load_profile("plateau")

ROOT = Path(__file__).resolve().parent.parent
START_S = 30.0  # a server answers within one second on an idle machine; a busy one may take longer


def wait_until(what: Callable[[], Any], timeout_s: float = 30.0, message: str | Callable[[], str] = "") -> Any:
    """Ask again every 20 ms until the answer is true, and return it; fail with `message` at the deadline."""
    deadline = time.monotonic() + timeout_s
    while True:
        if answer := what():
            return answer
        if time.monotonic() > deadline:
            told = message() if callable(message) else message
            pytest.fail(told or f"{what} was not true within {timeout_s} s")
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(**plateau: object) -> dict[str, str]:
    """This process's environment with only the given PLATEAU_* settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PLATEAU_")}
    return kept | {"PYTHONUNBUFFERED": "1"} | {f"PLATEAU_{key.upper()}": str(value) for key, value in plateau.items()}


class Program:
    """A real process whose output goes to a file, in a process group of its own."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path, cwd: Path = ROOT) -> None:
        self.command, self.env, self.log, self.cwd = command, env, log, cwd
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert not self.running, f"{self.command} runs already"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, env=self.env, cwd=self.cwd, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True
            )  # fmt: skip

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 20.0) -> int:
        assert self.process is not None
        return self.process.wait(timeout_s)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 40.0) -> int:
        """Signal it and return its exit code; what does not leave in time is killed and fails the test."""
        if self.running:
            self.send(number)
        try:
            return self.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"{self.command} did not leave {timeout_s} s after {number.name}:\n{self.output[-4000:]}")

    def kill(self) -> None:
        """SIGKILL to the whole group, children included."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Server(Program):
    """`python -m app.server` on a free port, with a home of its own."""

    def __init__(self, home: Path, port: int | None = None, **settings: object) -> None:
        self.home, self.port = home, port or free_port()
        env = environment(home=home, port=self.port, **settings)
        super().__init__([sys.executable, "-m", "app.server"], env, home.parent / "server.log")
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        super().start()
        wait_until(self._answers, START_S)

    def _answers(self) -> bool:
        if not self.running:
            pytest.fail(f"The server ended while starting:\n{self.output[-4000:]}")
        try:
            return httpx.get(f"{self.url}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    @property
    def token(self) -> str:
        return str(json.loads((self.home / "client.json").read_text())["token"])

    @property
    def worker_token(self) -> str:
        return (self.home / "worker.token").read_text().strip()

    def client(self, token: str | None = None) -> httpx.Client:
        """A signed-in REST client; close it, or use it in a with."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20)

    def sign_in_link(self) -> str:
        """A fresh one-time address that signs a browser in."""
        with self.client() as client:
            return str(client.post("/api/v1/sign-in-links").raise_for_status().json()["url"])


class Worker(Program):
    """`python -m worker` for a server on this disk, with a worker's home of its own; it finds its token as `plateau up` does."""

    def __init__(self, server: Server, home: Path, **settings: object) -> None:
        self.home = home
        env = environment(**{"home": server.home, "url": server.url, "worker_home": home} | settings)
        super().__init__([sys.executable, "-m", "worker"], env, home.parent / f"{home.name}.log")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder that does not exist yet."""
    return tmp_path / "home"


@pytest.fixture
def settings(home: Path) -> Settings:
    """Settings for a home of the test's own."""
    return Settings(home=home, host="127.0.0.1", port=8000, allowed_hosts="")


@pytest.fixture
def server(home: Path) -> Iterator[Server]:
    """A real server process that answers."""
    started = Server(home)
    try:
        started.start()
        yield started
    finally:
        started.kill()


@pytest.fixture
def worker(server: Server, tmp_path: Path) -> Iterator[Worker]:
    """A real worker process that works for `server`."""
    started = Worker(server, tmp_path / "worker")
    try:
        started.start()
        yield started
    finally:
        started.kill()


def chromium_path() -> str | None:
    """A Chromium or Chrome of this machine, or the one that Playwright installed; None if there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if found := shutil.which(name):
            return found
    applications = Path("/Applications")
    for name in ("Chromium", "Google Chrome"):
        if (found_app := applications / f"{name}.app" / "Contents" / "MacOS" / name).exists():
            return str(found_app)
    cache = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "ms-playwright"
    installed = sorted(cache.glob("chromium-*/chrome-*/chrome")) + sorted(
        cache.glob("chromium-*/chrome-*/*.app/Contents/MacOS/*")
    )
    return str(installed[-1]) if installed else None


def chromium_command() -> str:
    """The one command that installs a browser here."""
    debian = Path("/etc/os-release").exists() and "\nID=debian\n" in "\n" + Path("/etc/os-release").read_text()
    return "apt-get install chromium" if debian else ".venv/bin/playwright install chromium"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium, driven by Playwright; skips where there is none.

    Not for the whole session: while Playwright runs, no other test can start an event loop.
    """
    path = chromium_path()
    if path is None:
        pytest.skip(f"no Chromium here; install one with: {chromium_command()}")
    from playwright.sync_api import sync_playwright

    quiet = [
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--disable-gpu",
    ]
    if os.geteuid() == 0:
        quiet.append("--no-sandbox")  # Chromium refuses its sandbox to root
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=quiet)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real test data; skips where there is none."""
    given = os.environ.get("PLATEAU_TEST_DATA")
    folder = Path(given) if given else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no test data here; name its folder in PLATEAU_TEST_DATA")
    return folder
