"""A whole server in this process, on a real socket, whose clock a test can turn; and an outside client that feeds runs."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any, Self

import httpx
from conftest import free_port, wait_until

from app import logging as logs
from app import serving
from app.main import create_app
from app.migrate import open_database
from app.security import tokens
from app.settings import Settings

SMALL = {
    "model": {"n_layer": 1, "n_head": 1, "n_embd": 8, "block_size": 8},
    "batch": {"micro_batch": 2},
    "schedule": {"steps": 1000, "warmup_steps": 10},
}


class Site:
    """`with Site(settings) as site`: everything but the process of `python -m app.server`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings.model_copy(update={"port": free_port()})
        self.url = f"http://127.0.0.1:{self.settings.port}"
        self.ahead_s = 0.0  # how far the server's clock is in front of the real one

    def __enter__(self) -> Self:
        logs.configure()
        self.db = open_database(self.settings)
        tokens.first_start(self.settings, self.db, now=time.time())
        self.app = create_app(self.settings, self.db, clock=lambda: time.time() + self.ahead_s)
        self._server = serving.http_server(self.app)
        listener = serving.bind(self.settings)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]})
        self._thread.start()
        wait_until(lambda: self._server.started)
        self.api = self.client(self.token)
        return self

    def __exit__(self, *_: object) -> None:
        self.api.close()
        self._server.should_exit = True
        self._thread.join(10)
        self.db.close()
        assert not self._thread.is_alive(), "the server did not stop within 10 s"

    @property
    def token(self) -> str:
        return str(json.loads((self.settings.home / "client.json").read_text())["token"])

    @property
    def worker_token(self) -> str:
        return (self.settings.home / "worker.token").read_text().strip()

    def client(self, token: str | None = None, **headers: str) -> httpx.Client:
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return httpx.Client(base_url=self.url, headers=headers, timeout=20)

    def code(self) -> str:
        """A fresh sign-in code."""
        return tokens.sign_in_code(self.db, now=time.time() + self.ahead_s)

    def signed_in(self, **headers: str) -> httpx.Client:
        """A browser with a session."""
        with self.client() as browser:
            cookie = browser.get("/login", params={"code": self.code()}).cookies["plateau_session"]
        signed_in = self.client(**headers)
        signed_in.cookies.set("plateau_session", cookie)
        return signed_in

    def launch(self, **body: Any) -> dict[str, Any]:
        answer = self.api.post("/api/v1/runs", json={"config": SMALL, **body})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())


class Feeder:
    """An outside client: launches an external run and posts its batches."""

    def __init__(self, site: Site, **launch: Any) -> None:
        self.run = site.launch(source="external", **launch)
        self.api = site.api
        self.id: str = self.run["id"]
        self.claim = self.run["claim"]
        self.seq = 0

    def batch(self, columns: dict[str, Any] | None = None, **parts: Any) -> dict[str, Any]:
        self.seq += 1
        return {"claim_id": self.claim["claim_id"], "attempt": self.claim["attempt"], "seq": self.seq,
                "columns": columns or {}, **parts}  # fmt: skip

    def post(self, columns: dict[str, Any] | None = None, **parts: Any) -> httpx.Response:
        return self.api.post(f"/api/v1/jobs/{self.claim['job']}/batches", json=self.batch(columns, **parts))

    def losses(self, first: int, *values: float | str) -> httpx.Response:
        steps = list(range(first, first + len(values)))
        return self.post({"train/loss": {"step": steps, "value": list(values)}})


def events(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    """Server-sent events as {event, data, id}; comments are left out."""
    found: dict[str, Any] = {}
    for line in answer.iter_lines():
        if not line:
            if "data" in found:
                yield found
            found = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            found[name] = json.loads(value) if name == "data" else value
