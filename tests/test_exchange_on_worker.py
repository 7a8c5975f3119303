"""A real server and a real worker: a ckpt.pt becomes a run, which is sampled and given back with the same weights."""

import hashlib
import subprocess
import sys
from pathlib import Path

import httpx
import torch
from conftest import ROOT, environment, wait_until

from worker import nanogpt
from worker.model import GPT

SIZES = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "bias": True, "dropout": 0.0}
SETTINGS = {"learning_rate": 0.01, "max_iters": 300, "batch_size": 4, "eval_interval": 100}


def ckpt(path: Path, rows: int) -> dict[str, torch.Tensor]:
    """A checkpoint of nanoGPT's at step 250; returns its weights."""
    torch.manual_seed(rows)
    weights = {name: p.detach() for name, p in GPT(rows, **SIZES).named_parameters()}
    made = nanogpt.Checkpoint({**SIZES, "vocab_size": rows}, weights, {}, 250, 2.5, SETTINGS)
    nanogpt.write(path, made, lr=0.01, betas=(0.9, 0.95), eps=1e-8, decay=0.1)
    return weights


def upload(http: httpx.Client, name: str, content: bytes) -> dict[str, str]:
    sha256 = hashlib.sha256(content).hexdigest()
    http.put(f"/api/v1/artifacts/{sha256}?kind=upload", content=content).raise_for_status()
    return {"name": name, "sha256": sha256}


def test_a_checkpoint_from_elsewhere_is_sampled_and_given_back(server, worker, tmp_path):
    weights = ckpt(tmp_path / "ckpt.pt", 320)  # 257 entries of the bytes' vocabulary, padded

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-c", "from app.cli import main; main()", *words]
        env = environment(url=server.url, token=server.token, home=server.home)
        return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=90, env=env)

    with server.client() as http:
        text = "".join(f"Once upon a time there were {i} cafés.\n\n" for i in range(500)).encode()
        spec = {"name": "story", "kind": "text", "files": [upload(http, "s.txt", text)], "tokenizer": {"kind": "bytes"}}
        http.post("/api/v1/datasets", json=spec).raise_for_status()
        wait_until(lambda: http.get("/api/v1/datasets/story").json()["state"] == "ready", 60, lambda: worker.output)

        answer = command("import", "checkpoint", str(tmp_path / "ckpt.pt"), "--dataset", "story")
        assert answer.returncode == 0, answer.stderr + worker.output
        run = answer.stdout.split()[0]
        shown = http.get(f"/api/v1/runs/{run}").json()
        assert (shown["state"], shown["source"], shown["step"], shown["best_val"]) == ("finished", "imported", 250, 2.5)
        assert (shown["config"]["schedule"]["lr"], shown["config"]["model"]["n_embd"]) == (0.01, 16)
        assert shown["actions"] == ["archive", "trash"], "it never trains"

        made = http.post(f"/api/v1/runs/{run}/samples", json={"prompt": "Once", "tokens": 9, "temperature": 0}).json()
        path = f"/api/v1/runs/{run}/samples/{made['id']}"
        text_of = wait_until(
            lambda: (one := http.get(path).json())["state"] == "done" and one, 60, lambda: worker.output
        )
        assert text_of["texts"][0].startswith("Once")

        (checkpoint,) = http.get(f"/api/v1/runs/{run}/checkpoints").json()["checkpoints"]
        files = f"/api/v1/checkpoints/{checkpoint['id']}"
        assert http.get(f"{files}/files/model.safetensors").status_code == 409, "on its worker only"
        http.post(f"{files}/send").raise_for_status()
        got = wait_until(
            lambda: (one := http.get(f"{files}/files/model.safetensors", follow_redirects=True)).is_success and one
        )
        manifest = {file["name"]: file["sha256"] for file in checkpoint["manifest"]["files"]}
        assert hashlib.sha256(got.content).hexdigest() == manifest["model.safetensors"]
        assert http.get(f"{files}/files/passwd").status_code == 404

    back = command("export", run, "--out", str(tmp_path / "back.pt"))
    assert back.returncode == 0, back.stderr
    found = nanogpt.read(tmp_path / "back.pt")
    assert found.step == 250
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in weights.items())
