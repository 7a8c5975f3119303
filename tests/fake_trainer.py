"""A training process without torch: loss = f(seed, step), checkpoints, commands, exit codes. Run as a child program.

DIR/config.json's "config" may hold: steps, seed, step_ms, checkpoint_every, crash_at {step: exit code}, print.
"""

import hashlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from worker.journal import Journal


def loss(seed: int, step: int) -> float:
    """The same number for the same (seed, step), falling, with noise that looks like training."""
    noise = int.from_bytes(hashlib.sha256(f"{seed}/{step}".encode()).digest()[:4], "big") / 2**32
    return 2.0 + 2.0 / (1 + step / 50) + 0.1 * noise


def main() -> int:
    directory, attempt = Path(sys.argv[1]), int(sys.argv[sys.argv.index("--attempt") + 1])
    given = json.loads((directory / "config.json").read_bytes())
    config = given["config"]
    if "schedule" in config:  # a real RunConfig
        config = {"steps": config["schedule"]["steps"], "seed": config["system"]["seed"], "step_ms": 2}
    if os.environ.get("RANK", "0") != "0":  # one of several: only the first writes
        while True:
            time.sleep(60)
    journal = Journal(directory / "journal" / f"a{attempt}.journal")
    wanted: list[str] = []

    def listen() -> None:
        rest = b""
        while chunk := os.read(0, 1024):  # not sys.stdin: a reader blocked in it would hold its lock at exit
            *lines, rest = (rest + chunk).split(b"\n")
            wanted.extend(line.decode() for line in lines)
        os._exit(1)  # the agent is dead

    def checkpoint(step: int) -> None:
        folder = directory / "checkpoints" / f"a{attempt}" / f"step-{step:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        state = json.dumps({"step": step}).encode()
        (folder / "state.json").write_bytes(state)
        file = {"name": "state.json", "sha256": hashlib.sha256(state).hexdigest(), "bytes": len(state)}
        manifest = {"attempt": attempt, "step": step, "files": [file]}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        journal.event(
            "checkpoint", step, attempt=attempt, step=step, kept="interval", bytes=len(state), manifest=manifest
        )

    threading.Thread(target=listen, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: wanted.append("leave"))
    first = 0
    if given["resume"]:
        first = json.loads((Path(given["resume"]) / "state.json").read_bytes())["step"]
        journal.event("resume", first, first_step=first)
    print(config.get("print", f"training from step {first} on {given['device']}"), flush=True)
    for step in range(first + 1, config["steps"] + 1):
        time.sleep(config.get("step_ms", 0) / 1000)
        journal.points(step, {"train/loss": loss(config["seed"], step), "train/lr": 1e-3})
        if step % config.get("checkpoint_every", 10**9) == 0:
            checkpoint(step)
        code = config.get("crash_at", {}).get(str(step))
        if code is not None:
            if code < 0:
                os.kill(os.getpid(), -code)
            return code
        while wanted:
            word, *rest = wanted.pop(0).split()
            if word in ("stop", "pause"):
                checkpoint(step)
                journal.telemetry(outcome={"stop": "stopped", "pause": "paused"}[word])
                return 0
            if word == "leave":
                checkpoint(step)
                return 75
            if word == "save":
                checkpoint(step)
            if word == "delete":
                journal.event("checkpoint_deleted", int(rest[1]), attempt=int(rest[0]), step=int(rest[1]))
    journal.telemetry(outcome="finished")
    return 0


if __name__ == "__main__":
    sys.exit(main())
