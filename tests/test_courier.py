"""The courier: every frame arrives once and in order, whatever happens to server, network or agent."""

import json
import os

import pytest
from fakes import ChaosProxy, FakeServer, claim

from app.contract.protocol import BATCH_MAX_BYTES, BATCH_MAX_POINTS, Claim
from worker import journal, ledger
from worker.client import Client
from worker.courier import Courier, Ending
from worker.journal import Journal


@pytest.fixture
def server():
    with FakeServer() as running:
        yield running


@pytest.fixture
def client(server):
    with Client(server.url, server.token) as made:
        yield made


class Desk:
    """A run's folder with a journal that training writes and a courier that is turned by hand."""

    def __init__(self, folder, client, server, **fields):
        self.job = server.offer(claim(**fields))
        self.path, self.log = folder / "a1.journal", folder / "stdout.log"
        self.notes = Journal(self.path)
        self.client = client
        self.commands, self.fenced = [], []
        self.now = 0.0
        self.courier = None
        self.open()

    def open(self):
        """A courier as a new agent would make it."""
        self.close()
        self.courier = Courier(
            self.client, Claim.model_validate(self.job.claim), self.path, self.log,
            on_command=self.commands.append, on_fenced=lambda: self.fenced.append(True),
        )  # fmt: skip

    def close(self):
        if self.courier is not None:
            self.courier.close()

    def turn(self, times=1, step_s=1.0):
        for _ in range(times):
            self.now += step_s
            self.courier.turn(self.now)

    def steps(self, first, last):
        for step in range(first, last + 1):
            self.notes.points(step, {"train/loss": 1 / step})


@pytest.fixture
def desk(tmp_path, client, server):
    made = Desk(tmp_path, client, server)
    yield made
    made.close()


def test_points_events_telemetry_and_printed_lines_arrive(desk):
    desk.steps(1, 3)
    desk.notes.event("phase", 0, "compiling")
    desk.notes.telemetry(device="cpu")
    desk.log.write_bytes(b"loading\n\nstep 1\rstep 2\nhalf a line")
    desk.turn()
    assert desk.job.points == {"train/loss": {1: 1.0, 2: 0.5, 3: 1 / 3}}
    assert desk.job.log == ["loading", "step 2"]
    assert [event["text"] for event in desk.job.events] == ["compiling"]
    assert desk.job.telemetry == {"device": "cpu"}


def test_an_empty_batch_every_quarter_lease_is_the_heartbeat(desk):
    desk.turn(61, step_s=1.0)
    assert 4 <= desk.job.posts <= 5
    assert desk.job.points == {}


def test_nothing_new_is_posted_before_the_batch_is_old_enough(desk):
    desk.steps(1, 1)
    desk.turn()
    desk.steps(2, 2)
    desk.turn(step_s=0.05)
    assert desk.job.posts == 1
    desk.turn(step_s=0.2)
    assert desk.job.posts == 2


def test_a_batch_keeps_within_the_protocols_limits(desk):
    wide = {f"group/key_{i}": float(i) for i in range(100)}
    for step in range(1, 401):
        desk.notes.points(step, wide)
    desk.courier.end(Ending("finished", 0))
    desk.turn(20)
    assert desk.courier.state == "closed"
    sizes = [len(body) for body in desk.job.bodies.values()]
    counts = [sum(len(c["step"]) for c in json.loads(body)["columns"].values()) for body in desk.job.bodies.values()]
    assert sum(counts) == 40_000
    assert max(counts) <= BATCH_MAX_POINTS
    assert max(sizes) <= BATCH_MAX_BYTES


def test_a_storm_of_control_characters_still_fits_a_batch(desk):
    desk.log.write_bytes(b"\x01" * 3000 + b"\n" + b"\x02" * 200_000)
    desk.courier.end(Ending("failed", 1, "error"))
    desk.turn(30)
    assert desk.courier.state == "closed"
    assert max(len(body) for body in desk.job.bodies.values()) <= BATCH_MAX_BYTES


def test_the_journal_is_on_disk_before_it_is_posted(desk, monkeypatch):
    happened = []
    real_fsync, real_post = os.fsync, desk.client.post_batch
    monkeypatch.setattr(os, "fsync", lambda fd: happened.append(os.readlink(f"/proc/self/fd/{fd}")) or real_fsync(fd))
    monkeypatch.setattr(desk.client, "post_batch", lambda *a: happened.append("post") or real_post(*a))
    desk.steps(1, 3)
    desk.turn()
    assert [name.rpartition("/")[2] for name in happened] == ["a1.journal", "a1.journal.sent", "post"]


def test_training_goes_on_while_the_server_is_away_and_all_arrives_later(desk, server):
    server.stop()
    for step in range(1, 200):
        desk.steps(step, step)
        desk.turn(step_s=0.1)
    server.start()
    desk.turn(10, step_s=11)
    assert list(desk.job.points["train/loss"]) == list(range(1, 200))


def test_an_answer_lost_after_the_commit_makes_no_duplicate(tmp_path, server):
    proxy = ChaosProxy(server.port)
    with Client(proxy.url, server.token) as client:
        desk = Desk(tmp_path, client, server)
        desk.steps(1, 5)
        proxy.set("swallow")
        desk.turn()
        proxy.set("pass")
        desk.turn(2, step_s=11)
        desk.close()
    proxy.close()
    assert desk.job.acked_seq == 1
    assert desk.job.posts == 2


def test_a_restarted_agent_sends_the_same_number_with_the_same_content(desk, server):
    desk.steps(1, 5)
    server.problem = (503, {})
    desk.turn()
    desk.steps(6, 9)
    server.problem = None
    desk.job.batch(ledger.body(desk.courier._ledger.last, desk.courier.claim, desk.path, desk.log))  # it did arrive
    desk.open()
    desk.turn(5)
    assert list(desk.job.points["train/loss"]) == list(range(1, 10))  # the fake asserts equal content


def test_a_server_restored_from_a_backup_gets_everything_again(desk):
    for step in range(1, 7):
        desk.steps(step, step)
        desk.turn()
    desk.job.acked_seq = 2
    desk.job.points["train/loss"] = {1: 1.0, 2: 0.5}
    desk.job.bodies = {seq: body for seq, body in desk.job.bodies.items() if seq <= 2}
    desk.steps(7, 7)
    desk.turn(10)
    assert list(desk.job.points["train/loss"]) == list(range(1, 8))


def test_a_gap_answer_rewinds(desk):
    desk.steps(1, 1)
    desk.turn()
    desk.job.acked_seq = 0
    desk.job.bodies.clear()
    desk.steps(2, 2)
    desk.turn(5)
    assert list(desk.job.points["train/loss"]) == [1, 2]
    assert desk.job.acked_seq == 2


def test_a_torn_line_of_the_ledger_is_forgotten(desk):
    desk.steps(1, 1)
    desk.turn()
    with desk.path.with_name("a1.journal.sent").open("ab") as file:
        file.write(b"[2,17")
    desk.steps(2, 2)
    desk.open()
    desk.turn(3)
    assert list(desk.job.points["train/loss"]) == [1, 2]


def test_a_resume_travels_alone(desk):
    desk.steps(1, 2)
    desk.notes.event("resume", 1, first_step=1)
    desk.steps(2, 3)
    desk.courier.end(Ending("finished", 0))
    desk.turn(10)
    batches = [json.loads(body) for body in desk.job.bodies.values()]
    assert [(bool(batch["columns"]), len(batch["events"])) for batch in batches] == [(True, 0), (False, 1), (True, 0)]
    assert list(desk.job.points["train/loss"]) == [1, 2, 3]


def test_each_command_is_obeyed_once(desk):
    desk.job.commands = [{"id": 1, "command": "save"}]
    desk.turn(3, step_s=16)
    desk.job.commands.append({"id": 2, "command": "stop"})
    desk.turn(3, step_s=16)
    assert [command["command"] for command in desk.commands] == ["save", "stop"]


def test_fenced_ends_the_courier_and_keeps_the_journal_aside(desk):
    desk.steps(1, 3)
    desk.job.fenced = True
    desk.turn()
    assert desk.courier.state == "fenced"
    assert desk.fenced == [True]
    kept = desk.path.with_name("a1.journal.fenced")
    assert [frame["p"][0] for frame in journal.read(kept, 0)[0]] == [1, 2, 3]


def test_a_wrong_token_is_tried_again_slowly_and_loses_nothing(desk, server, caplog):
    server.token = "another"
    desk.steps(1, 3)
    desk.turn(10, step_s=1)
    assert len(server.requests) == 1
    assert "token" in caplog.text
    server.token = "secret"
    desk.turn(2, step_s=15)
    assert list(desk.job.points["train/loss"]) == [1, 2, 3]


def test_a_refused_batch_becomes_an_alarm_and_does_not_stop_what_follows(desk, server):
    desk.steps(1, 1)
    server.problem = (422, {"title": "Invalid.", "errors": [{"pointer": "/columns", "message": "too odd"}]})
    desk.turn()
    server.problem = None
    desk.steps(2, 2)
    desk.turn(3)
    assert [event["kind"] for event in desk.job.events] == ["alarm"]
    assert "too odd" in desk.job.events[0]["text"]
    assert list(desk.job.points["train/loss"]) == [2]


def test_finished_implies_a_complete_curve(desk):
    desk.steps(1, 2000)
    desk.courier.end(Ending("finished", 0, None, {"step": 2000}))
    desk.turn(1)
    assert desk.job.finish is None
    desk.turn(10)
    assert desk.job.finish is not None
    assert desk.job.finish["final_seq"] == desk.job.acked_seq
    assert len(desk.job.points["train/loss"]) == 2000


def test_the_agents_note_lets_a_full_journal_go_on(desk):
    desk.steps(1, 100)
    desk.turn(2)
    assert journal.read_acked(journal.acked_path(desk.path)) == desk.path.stat().st_size


def test_a_full_disk_keeps_the_lease_and_loses_nothing(desk, monkeypatch):
    desk.steps(1, 2)
    desk.turn()

    def full(record):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(desk.courier, "_note", full)
    desk.steps(3, 4)
    posts = desk.job.posts
    desk.turn(40, step_s=1)
    assert desk.job.posts > posts  # heartbeats go on
    assert list(desk.job.points["train/loss"]) == [1, 2]
    monkeypatch.undo()
    desk.turn(5, step_s=3)
    assert list(desk.job.points["train/loss"]) == [1, 2, 3, 4]


def test_a_short_write_of_the_ledger_leaves_no_torn_line(desk):
    desk.steps(1, 2)
    desk.turn()
    book = desk.courier._ledger
    before, raw = book._path.read_bytes(), book._file

    class Short:
        def write(self, data):
            return raw.write(data[:4])

        def __getattr__(self, name):
            return getattr(raw, name)

    book._file = Short()
    with pytest.raises(OSError, match="space"):
        book.append(book.last._replace(seq=2))
    book._file = raw
    assert book._path.read_bytes() == before
