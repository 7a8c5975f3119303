"""The real server and the real agent, with a trainer that needs no torch: the protocol as both sides mean it."""

import hashlib
import signal
import sys
from pathlib import Path

import pytest
from conftest import Program, environment, wait_until
from fake_trainer import loss

AGENT = """
import logging, sys, pathlib
sys.path.insert(0, {tests!r})
from fakes import COMMANDS
from app.contract.protocol import WorkerInfo
from app.contract.states import JobKind
from worker.agent import Agent, Slot, instance_of
from worker.assignment import COMMANDS as REAL
from worker.client import Client
logging.basicConfig(level=logging.INFO)
home = pathlib.Path({home!r})
info = WorkerInfo(name="here", instance=instance_of(home), devices=[{{"kind": "cpu", "name": "a CPU"}}])
commands = {{JobKind.train: COMMANDS[JobKind.train], JobKind.prepare: REAL[JobKind.prepare]}}
sys.exit(Agent(Client({url!r}, {token!r}), home, info, [Slot("cpu", {{}})], commands=commands).run())
"""


@pytest.fixture
def agent(server, tmp_path):
    home = tmp_path / "worker"
    code = AGENT.format(
        tests=str(Path(__file__).parent), url=server.url, token=server.worker_token, home=str(home)
    )  # fmt: skip
    made = Program([sys.executable, "-c", code], environment(), tmp_path / "agent.log")
    made.start()
    yield made
    made.kill()


def test_upload_prepare_train_pause_kill_and_resume_make_one_whole_curve(server, agent):
    with server.client() as http:
        text = "".join(f"Story {i}: once upon a time.\n\n" for i in range(3000)).encode()
        sha256 = hashlib.sha256(text).hexdigest()
        http.put(f"/api/v1/artifacts/{sha256}?kind=upload", content=text).raise_for_status()
        spec = {
            "name": "stories",
            "kind": "text",
            "files": [{"name": "s.txt", "sha256": sha256}],
            "tokenizer": {"kind": "bytes"},
        }
        dataset = http.post("/api/v1/datasets", json=spec).raise_for_status().json()
        config = {"data": {"dataset": dataset["id"]}, "schedule": {"steps": 1500}, "system": {"seed": 4}}
        run = http.post("/api/v1/runs", json={"preset": "tiny", "config": config}).raise_for_status().json()["id"]

        def now():
            return http.get(f"/api/v1/runs/{run}").json()

        def reached(step):
            return wait_until(
                lambda: (now()["step"] >= step) and now(), 60, f"step {step} was not reached: {agent.output}"
            )

        reached(1)
        http.post(f"/api/v1/runs/{run}/pause").raise_for_status()
        paused = wait_until(lambda: now()["state"] == "paused" and now())
        http.post(f"/api/v1/runs/{run}/resume").raise_for_status()
        reached(paused["step"] + 50)
        agent.send(signal.SIGKILL)
        agent.wait()
        agent.start()
        ended = wait_until(lambda: now()["state"] == "finished" and now(), 60, agent.output)
        assert ended["step"] == 1500
        assert ended["attempts"] == 3
        curve = http.get("/api/v1/metrics", params={"run": run, "key": "train/loss", "width": 2000}).json()
        series = curve["runs"][run]["train/loss"]
        assert series["step"] == list(range(1, 1501))
        assert series["y"] == [loss(4, step) for step in range(1, 1501)]
