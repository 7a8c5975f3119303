"""An agent with two slots: who holds them, and what becomes of a run when one of its two processes dies.

The last test is the real thing: the server, the agent, and torch in two processes.
"""

import hashlib
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import Program, environment, wait_until
from fakes import COMMANDS, MANIFEST_FILES, FakeServer, claim, manifest

from app.contract.protocol import WorkerInfo
from worker import datasets
from worker.agent import Agent, joined, slots_for
from worker.client import Client
from worker.release import members

AGENT = """
import logging, pathlib, sys
from app.contract.protocol import WorkerInfo
from worker.agent import Agent, instance_of, slots_for
from worker.client import Client
logging.basicConfig(level=logging.INFO)
home = pathlib.Path({home!r})
cpus = [{{"kind": "cpu", "name": "half a CPU"}}] * 2
info = WorkerInfo(name="pair", instance=instance_of(home), devices=cpus)
sys.exit(Agent(Client({url!r}, {token!r}), home, info, slots_for(cpus)).run())
"""


def turned(agent, what, timeout_s=20.0):
    """Turn the agent by hand until `what()`."""

    def once():
        agent.turn(time.monotonic())
        return what()

    return wait_until(once, timeout_s)


@pytest.fixture
def fake():
    with FakeServer() as running:
        yield running


@pytest.fixture
def pair(fake, tmp_path):
    """An agent with two devices and a home that has the dataset already; its trainer needs no torch."""
    folder = datasets.folder_of(tmp_path / "worker", manifest())
    folder.mkdir(parents=True)
    for split, content in MANIFEST_FILES.items():
        (folder / f"{split}-000.bin").write_bytes(content)
    cpu = {"kind": "cpu", "name": "a CPU"}
    info = WorkerInfo(name="pair", instance="0123456789abcdef", devices=[cpu, cpu])
    with Client(fake.url, fake.token) as client:
        made = Agent(client, tmp_path / "worker", info, slots_for([cpu, cpu]), commands=COMMANDS)
        yield made
        made.close()
        wait_until(lambda: all(assignment.over for assignment in made.assignments), 10)


def test_two_runs_of_one_device_train_side_by_side(fake, pair):
    jobs = [
        fake.offer(claim(f"j-000{n}", run=f"r-000{n}", lease_s=1.0, config={"steps": 10_000, "seed": n, "step_ms": 5}))
        for n in (1, 2)
    ]
    turned(pair, lambda: all(job.points for job in jobs))
    pair.turn(time.monotonic() + 60)
    assert [request["free_devices"] for request in fake.claims][:3] == [2, 1, 0]
    assert "train" not in fake.claims[-1]["kinds"]
    for job in jobs:
        job.commands = [{"id": 1, "command": "stop"}]
    turned(pair, lambda: all(job.finish for job in jobs))
    assert "No process of the run is left, and its memory is free." in jobs[0].log


def test_a_run_for_two_devices_is_started_once_for_each_and_holds_both(fake, pair):
    config = {"steps": 10_000, "seed": 1, "step_ms": 5, "system": {"devices": 2}}
    job = fake.offer(claim(lease_s=1.0, config=config))
    turned(pair, lambda: job.points)
    assert len(members(pair.assignments[0].pid)) == 3, "the launcher and two processes"
    pair.turn(time.monotonic() + 60)
    assert fake.claims[-1]["free_devices"] == 0
    job.commands = [{"id": 1, "command": "pause"}]
    turned(pair, lambda: job.finish)
    assert (job.finish["outcome"], job.finish["exit"]) == ("paused", 0)
    assert min(job.points["train/loss"]) == 1, "one of the two writes"


def test_a_killed_process_of_several_sends_the_run_back_to_the_queue(fake, pair):
    config = {"steps": 10_000, "seed": 1, "step_ms": 5, "system": {"devices": 2}}
    job = fake.offer(claim(lease_s=1.0, config=config))
    turned(pair, lambda: job.points)
    group = pair.assignments[0].pid
    os.kill(next(pid for pid in members(group) if psutil.Process(pid).environ().get("RANK") == "1"), signal.SIGKILL)
    turned(pair, lambda: job.finish)
    assert (job.finish["outcome"], job.finish["reason"]) == ("requeue", "killed")
    assert members(group) == []


def test_a_run_on_several_devices_sees_them_all_and_nothing_else():
    found = [{"kind": "cuda", "name": "x", "free_gib": 11.2}] * 3
    _, second, third = slots_for(found, "4,5,6")
    both = joined([second, third])
    assert (both.device, both.environment) == ("cuda:0", {"CUDA_VISIBLE_DEVICES": "5,6"})
    assert [memory.name for memory in both.memory] == ["cuda:1", "cuda:2"]


@pytest.fixture
def agent(server, tmp_path):
    code = AGENT.format(url=server.url, token=server.worker_token, home=str(tmp_path / "worker"))
    made = Program([sys.executable, "-c", code], environment(), tmp_path / "agent.log")
    made.start()
    yield made
    made.kill()


def process_of_rank(agent: Program, rank: int) -> int | None:
    assert agent.process is not None
    for child in psutil.Process(agent.process.pid).children(recursive=True):
        try:
            if child.environ().get("RANK") == str(rank):
                return child.pid
        except psutil.Error:
            continue
    return None


def test_a_run_on_two_devices_outlives_a_killed_process_and_stops_when_told(server, agent: Program) -> None:
    with server.client() as http:
        text = "".join(f"Story {i}: once upon a time.\n\n" for i in range(3000)).encode()
        sha256 = hashlib.sha256(text).hexdigest()
        http.put(f"/api/v1/artifacts/{sha256}?kind=upload", content=text).raise_for_status()
        file = {"name": "s.txt", "sha256": sha256}
        spec = {"name": "stories", "kind": "text", "files": [file], "tokenizer": {"kind": "bytes"}}
        dataset = http.post("/api/v1/datasets", json=spec).raise_for_status().json()["id"]
        config = {
            "data": {"dataset": dataset},
            "model": {"n_layer": 1, "n_head": 1, "n_embd": 16, "block_size": 16},
            "batch": {"micro_batch": 2, "accumulation": 2},
            "schedule": {"steps": 100_000},
            "eval": {"windows": 4, "every": 1000},
            "checkpoint": {"every": 20},
        }

        def launch(devices: int, accumulation: int) -> str:
            batch = config["batch"] | {"accumulation": accumulation}
            body = {"config": config | {"batch": batch, "system": {"devices": devices, "threads": 1}}}
            return str(http.post("/api/v1/runs", json=body).raise_for_status().json()["id"])

        run, larger = launch(2, accumulation=2), launch(3, accumulation=3)

        def now(of: str = run) -> dict:
            return http.get(f"/api/v1/runs/{of}").json()

        def reached(step: int) -> int:
            return wait_until(lambda: (seen := now()["step"]) >= step and seen, 60, lambda: agent.output[-3000:])

        at = reached(30)
        assert now(larger)["detail"] == "waiting for a worker with 3 devices (the largest so far has 2)"
        victim = process_of_rank(agent, 1)
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        wait_until(
            lambda: now()["attempts"] == 2, 30, lambda: f"{now()['state']}: {now()['detail']}\n{agent.output[-3000:]}"
        )
        at = reached(at + 30)
        http.post(f"/api/v1/runs/{run}/stop").raise_for_status()
        ended = wait_until(lambda: now()["state"] == "stopped" and now(), 30, lambda: agent.output[-3000:])
        assert ended["step"] >= at
        curve = http.get("/api/v1/metrics", params={"run": run, "key": "train/loss", "width": 4000}).json()
        assert curve["runs"][run]["train/loss"]["step"] == list(range(1, ended["step"] + 1))
        assert process_of_rank(agent, 0) is None
        assert agent.output.count("No process of the run is left, and its memory is free.") == 2
    assert Path(f"/proc/{victim}").exists() is False
