"""The agent: claims, children and what becomes of a run when any of them dies. The trainer is a fake without torch."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import wait_until
from fake_trainer import loss
from fakes import COMMANDS, MANIFEST_FILES, FakeServer, claim, manifest

from app.contract.protocol import WorkerInfo
from worker import allocator, datasets
from worker.agent import Agent, HomeInUse, Slot, instance_of, lock, slots_for
from worker.client import Client

INFO = WorkerInfo(name="here", instance="0123456789abcdef", devices=[{"kind": "cpu", "name": "a CPU"}])

AGENT = """
import logging, sys, pathlib
sys.path.insert(0, {tests!r})
from fakes import COMMANDS
from worker.agent import Agent, Slot
from worker.client import Client
from app.contract.protocol import WorkerInfo
logging.basicConfig(level=logging.INFO)
info = WorkerInfo(name="here", instance="0123456789abcdef", devices=[{{"kind": "cpu", "name": "a CPU"}}])
sys.exit(Agent(Client({url!r}, "secret"), pathlib.Path({home!r}), info, [Slot("cpu", {{}})], commands=COMMANDS).run())
"""


@pytest.fixture
def server():
    with FakeServer() as running:
        yield running


@pytest.fixture
def home(tmp_path):
    """A worker's home that has the dataset already."""
    home = tmp_path / "worker"
    folder = datasets.folder_of(home, manifest())
    folder.mkdir(parents=True)
    for split, content in MANIFEST_FILES.items():
        (folder / f"{split}-000.bin").write_bytes(content)
    return home


@pytest.fixture
def agent(server, home):
    with Client(server.url, server.token) as client:
        made = Agent(client, home, INFO, [Slot("cpu", {})], commands=COMMANDS)
        yield made
        made.close()
        wait_until(lambda: all(assignment.over for assignment in made.assignments), 10)


def turned(agent, what, timeout_s=15.0):
    """Turn the agent by hand until `what()`."""

    def once():
        agent.turn(time.monotonic())
        return what()

    return wait_until(once, timeout_s)


@pytest.fixture
def process(server, home):
    """An agent as a process of its own; call it to start one."""
    started = []

    def start():
        code = AGENT.format(tests=str(Path(__file__).parent), url=server.url, home=str(home))
        log = (home / "agent.log").open("ab")
        started.append(subprocess.Popen([sys.executable, "-c", code], stderr=log, start_new_session=True))
        log.close()
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()


def child_of(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else None


def test_a_run_is_trained_and_reported_whole(server, agent):
    job = server.offer(claim(config={"steps": 300, "seed": 7, "print": "hello"}))
    turned(agent, lambda: job.finish)
    assert job.points["train/loss"] == {step: loss(7, step) for step in range(1, 301)}
    assert job.finish["outcome"] == "finished"
    assert job.finish["exit"] == 0
    assert job.finish["summary"]["step"] == 300
    assert "hello" in job.log


def test_a_closed_run_leaves_no_journal_and_no_claim(server, agent, home):
    job = server.offer(claim())
    turned(agent, lambda: job.finish and not agent.assignments)
    assert list((home / "runs" / "r-0001" / "journal").iterdir()) == []


@pytest.mark.parametrize(
    ("code", "outcome", "reason"),
    [
        (1, "failed", "error"),
        (3, "failed", "non_finite"),
        (4, "failed", "oom"),
        (75, "requeue", None),
        (-11, "failed", "error"),
    ],
)
def test_each_exit_code_has_its_outcome(server, agent, code, outcome, reason):
    job = server.offer(claim(config={"steps": 20, "seed": 1, "crash_at": {"5": code}, "print": "last words"}))
    turned(agent, lambda: job.finish)
    assert (job.finish["outcome"], job.finish["reason"], job.finish["exit"]) == (outcome, reason, code)
    assert "last words" in job.finish["log_tail"]
    assert max(job.points["train/loss"]) == 5


@pytest.mark.parametrize(
    ("command", "outcome"), [("stop", "stopped"), ("pause", "paused"), ("terminate", "stopped"), ("kill", "stopped")]
)
def test_a_command_reaches_the_child_at_its_next_step(server, agent, command, outcome):
    job = server.offer(claim(lease_s=1.0, config={"steps": 10_000, "seed": 1, "step_ms": 5}))
    turned(agent, lambda: job.points)
    job.commands = [{"id": 1, "command": command}]
    turned(agent, lambda: job.finish)
    assert job.finish["outcome"] == outcome


def test_save_and_delete_reach_the_child(server, agent):
    job = server.offer(claim(lease_s=1.0, config={"steps": 10_000, "seed": 1, "step_ms": 5}))
    job.commands = [
        {"id": 1, "command": "save"},
        {"id": 2, "command": "delete_checkpoint", "attempt": 1, "step": 3},
    ]
    turned(agent, lambda: len(job.events) >= 2)
    assert [event["kind"] for event in job.events] == ["checkpoint", "checkpoint_deleted"]
    assert job.events[1]["data"] == {"attempt": 1, "step": 3}
    job.commands.append({"id": 3, "command": "stop"})
    turned(agent, lambda: job.finish)


def test_one_device_trains_one_run_at_a_time_while_data_is_prepared(server, agent, tmp_path):
    first = server.offer(claim(config={"steps": 10_000, "seed": 1, "step_ms": 5}, lease_s=1.0))
    second = server.offer(claim("j-0002", run="r-0002"))
    turned(agent, lambda: first.points)
    assert {"prepare", "send", "free"} == set(server.claims[-1]["kinds"])
    first.commands = [{"id": 1, "command": "stop"}]
    turned(agent, lambda: second.finish)
    assert second.finish["outcome"] == "finished"


def test_a_fenced_child_is_killed_and_its_journal_kept(server, agent, home):
    job = server.offer(claim(config={"steps": 10_000, "seed": 1, "step_ms": 5}))
    turned(agent, lambda: job.points)
    pid = agent.assignments[0].pid
    job.fenced = True
    turned(agent, lambda: not agent.assignments)
    assert not Path(f"/proc/{pid}").exists()
    names = sorted(path.name for path in (home / "runs" / "r-0001" / "journal").iterdir())
    assert "a1.journal.fenced" in names
    assert "a1.claim.json" not in names


def test_a_resumed_run_starts_from_its_checkpoint_on_this_worker(server, agent, home):
    folder = home / "runs" / "r-0001" / "checkpoints" / "a1" / "step-00000010"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text('{"step": 10}')
    (folder / "manifest.json").write_text("{}")
    job = server.offer(claim(attempt=2, resume={"attempt": 1, "step": 10, "files": []}))
    turned(agent, lambda: job.finish)
    assert [event["kind"] for event in job.events] == ["resume"]
    assert list(job.points["train/loss"]) == list(range(11, 21))


def test_a_checkpoint_of_another_worker_is_fetched(server, agent):
    state = b'{"step": 15}'
    sha256 = hashlib.sha256(state).hexdigest()
    server.artifacts[sha256] = state
    file = {"name": "state.json", "sha256": sha256, "bytes": len(state)}
    job = server.offer(claim(attempt=2, resume={"attempt": 1, "step": 15}, files=[file]))
    turned(agent, lambda: job.finish)
    assert list(job.points["train/loss"]) == list(range(16, 21))


def test_a_checkpoint_that_is_nowhere_fails_with_the_way_out(server, agent):
    job = server.offer(claim(attempt=2, resume={"attempt": 1, "step": 15}))
    turned(agent, lambda: job.finish)
    assert job.finish["outcome"] == "failed"
    assert "send it to the server" in job.finish["log_tail"][0]


def test_a_preparation_hands_its_files_and_manifest_over(server, agent, home):
    text = b"some text to read"
    sha256 = hashlib.sha256(text).hexdigest()
    server.artifacts[sha256] = text
    spec = {"name": "a", "kind": "text", "files": [{"name": "../../a.txt", "sha256": sha256, "path": None}]}
    job = server.offer(claim("j-0005", "prepare", config=spec, dataset="d-0002"))
    turned(agent, lambda: job.finish)
    assert job.finish["outcome"] == "finished"
    manifest = job.finish["summary"]
    folder = datasets.folder_of(home, manifest)
    assert (folder / "train-000.bin").read_bytes() == text
    assert (folder / "manifest.json").read_bytes() == datasets.canonical(manifest)
    assert server.artifacts[manifest["val"]["shards"][0]["sha256"]] == text[:10]


def test_a_checkpoint_asked_for_is_sent(server, agent, home):
    folder = home / "runs" / "r-0001" / "checkpoints" / "a1" / "step-00000010"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    file = {"name": "model.safetensors", "sha256": sha256, "bytes": 7}
    job = server.offer(claim("j-0006", "send", run="r-0001", config={"attempt": 1, "step": 10}, files=[file]))
    turned(agent, lambda: job.finish)
    assert job.finish["outcome"] == "finished"
    assert server.artifacts[sha256] == b"weights"


@pytest.mark.parametrize("name", ["../worker.json", "/etc/passwd", "a/b", ".hidden"])
def test_no_file_outside_a_checkpoint_ever_leaves(server, agent, name):
    file = {"name": name, "sha256": "0" * 64, "bytes": 7}
    job = server.offer(claim("j-0006", "send", run="r-0001", config={"attempt": 1, "step": 10}, files=[file]))
    turned(agent, lambda: job.finish)
    assert job.finish["outcome"] == "failed"
    assert not any("PUT" in request for request in server.requests)


def test_a_lost_claim_answer_is_asked_for_with_the_same_key(server, agent):
    server.problem = (503, {})
    for now in (0.0, 100.0):
        agent.turn(now)
    server.problem = None
    agent.turn(200.0)
    agent.turn(300.0)
    assert server.requests.count("POST /api/v1/jobs/claim") == 4
    assert len({request["idempotency_key"] for request in server.claims}) == 1


def test_another_protocol_version_ends_the_worker_with_a_sentence(server, agent, caplog):
    server.problem = (426, {"title": "This server speaks protocol 2.", "detail": "Install plateau-runs 0.9."})
    agent.turn(0.0)
    agent.turn(1.0)
    assert "Install plateau-runs 0.9." in caplog.text
    assert agent._exit == 1


def test_once_takes_one_job_and_ends(server, home):
    job, later = server.offer(claim()), server.offer(claim("j-0002", run="r-0002"))
    with Client(server.url, server.token) as client:
        agent = Agent(client, home, INFO, [Slot("cpu", {})], once=True, commands=COMMANDS)
        turned(agent, lambda: agent._exit is not None)
    assert agent._exit == 0
    assert job.finish
    assert later in server.queue


def test_the_child_dies_with_a_killed_agent_and_the_next_agent_requeues_the_run(server, home, process):
    job = server.offer(claim(config={"steps": 10_000, "seed": 3, "step_ms": 2}))
    agent = process()
    wait_until(lambda: job.points)
    pid = child_of(agent.pid)
    assert pid is not None
    server.problem = (503, {})  # what is in the journal now has to survive the agent
    time.sleep(0.3)
    agent.kill()
    agent.wait()
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])
    server.problem = None
    process()
    wait_until(lambda: job.finish)
    assert job.finish["outcome"] == "requeue"
    reached = max(job.points["train/loss"])
    assert job.points["train/loss"] == {step: loss(3, step) for step in range(1, reached + 1)}
    assert job.finish["summary"]["step"] == reached


def test_sigterm_saves_delivers_and_requeues(server, process):
    job = server.offer(claim(config={"steps": 10_000, "seed": 3, "step_ms": 2}))
    agent = process()
    wait_until(lambda: job.points)
    started = time.monotonic()
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(20) == 0
    assert time.monotonic() - started < 5
    assert job.finish["outcome"] == "requeue"
    assert job.finish["exit"] == 75
    assert job.events[-1]["kind"] == "checkpoint"
    reached = max(job.points["train/loss"])
    assert job.points["train/loss"] == {step: loss(3, step) for step in range(1, reached + 1)}


def test_a_second_signal_ends_the_agent_at_once(server, home, process):
    job = server.offer(claim(config={"steps": 10_000, "seed": 3, "step_ms": 2}))
    agent = process()
    wait_until(lambda: job.points)
    server.stop()  # nothing can be delivered: one signal would wait
    for _ in range(2):
        agent.send_signal(signal.SIGINT)
        time.sleep(0.2)
    assert agent.wait(4) == 0


def test_an_outage_does_not_slow_training_and_loses_nothing(server, agent, home):
    job = server.offer(claim(config={"steps": 400, "seed": 5, "step_ms": 2}))
    turned(agent, lambda: job.points)
    server.stop()
    turned(agent, lambda: agent.assignments[0].phase == "delivering")
    server.start()
    turned(agent, lambda: job.finish)
    assert job.points["train/loss"] == {step: loss(5, step) for step in range(1, 401)}


def test_a_slot_per_device_within_the_visible_ones():
    two = [{"kind": "cuda", "name": "x"}, {"kind": "cuda", "name": "x"}]
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots_for(two)] == ["0", "1"]
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots_for(two, "2,GPU-abc")] == ["2", "GPU-abc"]
    assert slots_for([{"kind": "cpu", "name": "x"}]) == [Slot("cpu", allocator.huge_pages(os.environ))]


def test_a_home_is_one_workers_and_keeps_its_instance(tmp_path):
    with lock(tmp_path), pytest.raises(HomeInUse, match="--home"):
        lock(tmp_path)
    assert instance_of(tmp_path) == instance_of(tmp_path)


def test_the_child_gets_no_token(server, agent, monkeypatch):
    monkeypatch.setenv("PLATEAU_TOKEN", "secret")
    job = server.offer(claim(config={"steps": 300, "seed": 1, "step_ms": 5}, lease_s=1.0))
    turned(agent, lambda: job.points)
    environment = Path(f"/proc/{agent.assignments[0].pid}/environ").read_bytes()
    assert b"PLATEAU_TOKEN" not in environment
    assert b"PLATEAU_WORKER_HOME" in environment
