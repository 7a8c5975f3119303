"""A real server and a real worker: a run that writes while it trains, then text from its checkpoints by REST and command line."""

import hashlib
import os
import subprocess
import sys

from conftest import ROOT, environment, wait_until

TINY = {
    "model": {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16},
    "batch": {"micro_batch": 4},
    "schedule": {"steps": 20, "lr": 0.01, "warmup_steps": 2},
    "eval": {"every": 10, "windows": 8, "sample_every": 10, "sample_prompt": "Once", "sample_tokens": 12},
    "system": {"device": "cpu", "threads": 1},
}


def test_text_is_written_by_a_run_that_trains_and_from_its_checkpoints(server, worker):
    text = "".join(f"Once upon a time there were {i} cafés — naïve, old.\n\n" for i in range(1000)).encode()
    sha256 = hashlib.sha256(text).hexdigest()
    with server.client() as http:
        http.put(f"/api/v1/artifacts/{sha256}?kind=upload", content=text).raise_for_status()
        spec = {
            "name": "story",
            "kind": "text",
            "files": [{"name": "s.txt", "sha256": sha256}],
            "tokenizer": {"kind": "bytes"},
        }
        http.post("/api/v1/datasets", json=spec).raise_for_status()
        config = TINY | {"data": {"dataset": "story"}}
        run = http.post("/api/v1/runs", json={"config": config}).raise_for_status().json()["id"]
        wait_until(lambda: http.get(f"/api/v1/runs/{run}").json()["state"] == "finished", 90, lambda: worker.output)

        def listed():
            return http.get(f"/api/v1/runs/{run}/samples").json()["samples"]

        own = sorted(listed(), key=lambda one: one["step"])
        assert [one["step"] for one in own] == [0, 10, 20]
        assert all(one["texts"][0].startswith("Once") and one["checkpoint"] is None for one in own)

        def sampled(**asked):
            made = http.post(f"/api/v1/runs/{run}/samples", json=asked).raise_for_status().json()
            path = f"/api/v1/runs/{run}/samples/{made['id']}"
            ended = wait_until(lambda: (one := http.get(path).json())["state"] not in ("queued", "writing") and one, 60)
            assert (ended["state"], ended["detail"]) == ("done", ""), worker.output
            return ended

        three = sampled(at="best", prompt="Once ", samples=3, tokens=40, temperature=1.0)
        assert len(set(three["texts"])) == 3
        assert all(written.startswith("Once ") for written in three["texts"])
        refused = http.post(f"/api/v1/runs/{run}/samples", json={"at": "now"})
        assert refused.status_code == 409

    program = [sys.executable, "-c", "from app.cli import main; main()"]
    asked = ["--at", "best", "--prompt", "Once ", "--tokens", "40", "--temperature", "1"]
    answer = subprocess.run(
        [*program, "sample", run, *asked], cwd=ROOT, capture_output=True, text=True, timeout=60,
        env=environment(url=server.url, token=server.token, home=server.home),
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == three["texts"][0] + "\n", "the first of three is the one it would be alone"
    # the agent tidies up once the server has accepted the end
    jobs = worker.home / "jobs"
    wait_until(
        lambda: len(list(jobs.iterdir())) <= 1,
        90,
        lambda: (
            f"more than the preparation's folder stays: {[[one.name, *(f.name for f in one.iterdir())] for one in jobs.iterdir()]}"
        ),
    )
    assert os.path.isdir(worker.home / "runs" / run / "checkpoints")
