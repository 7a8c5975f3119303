"""The stream: what a page hears equals what the database holds, whatever connection it had."""

import math
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from website import Feeder, Site, events

from app import series
from app.contract import ids
from app.settings import Settings


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(Settings(home=tmp_path_factory.mktemp("stream") / "home")) as started:
        yield started


class Page:
    """A reader that applies what it hears, as a page does."""

    def __init__(self, site: Site, *runs: str, **sent: Any) -> None:
        self.site, self.runs, self.sent = site, runs, sent
        self.curve: dict[int, Any] = {}
        self.heard: list[dict[str, Any]] = []
        self.cursor: str | None = None

    def read_until(self, done: Any, timeout_s: float = 10.0) -> None:
        """Opens a stream, or goes on where the last one ended, until `done(message)` is true."""
        headers = {"Last-Event-ID": self.cursor} if self.cursor else {}
        params = [("run", run) for run in self.runs] + list(self.sent.items())
        deadline = time.monotonic() + timeout_s
        with (
            self.site.client(self.site.token) as client,
            client.stream("GET", "/api/v1/stream", params=params, headers=headers, timeout=timeout_s) as answer,
        ):
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"].startswith("text/event-stream")
            for message in events(answer):
                self.take(message)
                if done(message):
                    return
                assert time.monotonic() < deadline, self.heard

    def take(self, message: dict[str, Any]) -> None:
        self.heard.append(message)
        self.cursor = message.get("id", self.cursor)
        data = message["data"]
        if message["event"] == "points":
            column = data["columns"].get("train/loss", {"step": [], "value": []})
            self.curve.update(zip(column["step"], column["value"], strict=True))
        elif message["event"] == "truncate":
            self.curve = {step: value for step, value in self.curve.items() if step <= data["after"]}

    def of(self, kind: str) -> list[Any]:
        return [message["data"] for message in self.heard if message["event"] == kind]


def stored(site: Site, run_id: str) -> dict[int, Any]:
    with site.db.read() as tx:
        points = series.read(tx.raw, ids.parse("run", run_id) or 0, "train/loss")
    return {
        int(step): ("NaN" if math.isnan(value) else value)
        for step, value in zip(points.step, points.value, strict=True)
    }


def reaches(step: int) -> Any:
    """A message that brings this step."""
    return lambda message: message["event"] == "points" and step in message["data"]["columns"]["train/loss"]["step"]


def test_a_stream_greets_with_its_cursor_and_its_id(site: Site) -> None:
    feeder = Feeder(site)
    page = Page(site, feeder.id)
    page.read_until(lambda message: True)
    assert page.heard[0]["event"] == "hello"
    assert page.heard[0]["id"] == str(page.heard[0]["data"]["cursor"])


def test_points_arrive_with_the_runs_new_numbers(site: Site) -> None:
    feeder = Feeder(site)
    page = Page(site, feeder.id, since=0)
    feeder.losses(1, 3.5, 3.25, "NaN")
    page.read_until(lambda message: message["event"] == "state" and message["data"]["step"] == 3)
    assert page.curve == {1: 3.5, 2: 3.25, 3: "NaN"}
    state = page.of("state")[-1]
    assert state["run"] == feeder.id
    assert state["state"] == "running"
    assert "config" not in state, "a state message stays small"


@pytest.mark.parametrize("seed", range(4))
def test_a_page_equals_the_database_after_any_pattern_of_disconnects(site: Site, seed: int) -> None:
    draw = np.random.default_rng(seed)
    feeder = Feeder(site)
    page = Page(
        site,
        feeder.id,
        since=site.api.get("/api/v1/metrics", params={"run": feeder.id, "key": "train/loss"}).json()["cursor"],
    )
    step = 1
    for _ in range(6):
        for _ in range(int(draw.integers(1, 6))):
            if step > 20 and draw.random() < 0.25:  # the worker came back at an older checkpoint
                step = int(draw.integers(1, step))
                feeder.post(events=[{"kind": "resume", "step": step, "data": {"first_step": step}}])
                step += 1
            values = draw.normal(3, 1, int(draw.integers(1, 30))).tolist()
            assert feeder.losses(step, *values).status_code == 200
            step += len(values)
        if draw.random() < 0.7:  # else the page misses this round
            page.read_until(reaches(step - 1))
    feeder.losses(step, 1.5)
    page.read_until(reaches(step))
    assert page.curve == stored(site, feeder.id)


def test_nothing_is_heard_twice_of_the_log_or_the_events(site: Site) -> None:
    feeder = Feeder(site)
    page = Page(site, feeder.id, since=0)
    for number in range(1, 6):
        feeder.post({"train/loss": {"step": [number], "value": [1.0]}},
                    log=[{"at": 1.0, "text": f"line {number}"}], events=[{"kind": "note", "text": f"note {number}"}])  # fmt: skip
        page.read_until(lambda message, wanted=number: message["event"] == "event" and f"note {wanted}" in str(message))
    lines = [line["text"] for told in page.of("log") for line in told["lines"]]
    notes = [event["text"] for told in page.of("event") for event in told["events"] if event["kind"] == "note"]
    assert lines == [f"line {number}" for number in range(1, 6)]
    assert notes == [f"note {number}" for number in range(1, 6)]


def test_the_list_hears_of_all_runs_datasets_and_workers(site: Site) -> None:
    page = Page(site)
    page.read_until(lambda message: True)
    run = site.launch(name="listed")
    claim = {
        "protocol": 1,
        "idempotency_key": "first-claim-1",
        "worker": {"name": "box", "instance": "box-00001", "devices": [{"kind": "cpu", "name": "cpu"}]},
    }
    site.api.post("/api/v1/jobs/claim", json=claim).raise_for_status()
    page.read_until(
        lambda message: message["event"] == "state" and "worker" in message["data"] and "devices" in message["data"]
    )
    states = page.of("state")
    assert any(one.get("run") == run["id"] for one in states)
    assert any(str(one.get("worker", "")).startswith("w-") for one in states)


def test_a_cursor_from_another_database_reloads(site: Site) -> None:
    page = Page(site, since=10**12)
    page.read_until(lambda message: message["event"] == "resync")
    assert page.of("hello")


def test_a_busy_run_sends_at_most_about_ten_messages_a_second(site: Site) -> None:
    feeder = Feeder(site)
    page = Page(site, feeder.id)
    page.read_until(lambda message: True)

    def feed() -> None:
        end = time.monotonic() + 1.5
        step = 1
        while time.monotonic() < end:
            feeder.losses(step, 1.0)
            step += 1
        feeder.losses(10**6, 1.0)

    feeding = threading.Thread(target=feed)
    began = time.monotonic()
    feeding.start()
    page.read_until(reaches(10**6))
    took_s = time.monotonic() - began
    feeding.join()
    assert len(page.of("points")) <= 12 * took_s + 4
    assert page.curve == stored(site, feeder.id)


@pytest.mark.parametrize("query", ["run=r-9999", "run=nonsense", "since=-1", "since=x"])
def test_odd_questions_get_a_problem(site: Site, query: str) -> None:
    answer = site.api.get(f"/api/v1/stream?{query}")
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_odd_last_event_id_gets_a_problem(site: Site) -> None:
    for odd in ("x", "-1", "9" * 30):
        assert site.api.get("/api/v1/stream", headers={"Last-Event-ID": odd}).status_code == 422


def test_a_reader_that_stops_reading_does_not_slow_the_others(site: Site) -> None:
    feeder = Feeder(site)
    deaf = []
    for _ in range(5):
        one = socket.create_connection(("127.0.0.1", site.settings.port))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.sendall(
            f"GET /api/v1/stream?run={feeder.id} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {site.token}\r\n\r\n".encode()
        )
        deaf.append(one)
    page = Page(site, feeder.id, since=0)
    step = 1
    for _ in range(20):
        assert feeder.losses(step, *[1.23456789] * 2000).status_code == 200
        step += 2000
    page.read_until(reaches(step - 1))
    assert len(page.curve) == step - 1
    for one in deaf:
        one.close()


def test_streams_past_the_limit_are_told_to_come_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.live.MAX_STREAMS", site.app.state.hub.streams)
    answer = site.api.get("/api/v1/stream")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


def test_a_stream_that_ends_is_forgotten(site: Site) -> None:
    hub = site.app.state.hub
    Page(site).read_until(lambda message: True)
    deadline = time.monotonic() + 5
    while hub.streams and time.monotonic() < deadline:
        time.sleep(0.02)
    assert hub.streams == 0
    assert not hub._watched


def test_open_streams_do_not_hold_the_server_up(tmp_path: Any) -> None:
    with Site(Settings(home=tmp_path / "home")) as site, site.client(site.token) as client:
        streams = [client.stream("GET", "/api/v1/stream") for _ in range(20)]
        readers = [next(events(stream.__enter__())) for stream in streams[:8]]
        assert all(reader["event"] == "hello" for reader in readers)
        began = time.monotonic()
        site._server.should_exit = True
        site._thread.join(5)
        assert not site._thread.is_alive()
        assert time.monotonic() - began < 2
        for stream in streams[:8]:
            try:
                stream.__exit__(None, None, None)
            except httpx.TransportError:
                continue
