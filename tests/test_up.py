"""`plateau up`: two programs, one Ctrl-C, and a sentence when they cannot start."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from conftest import ROOT, Program, environment, free_port, wait_until

PLATEAU = [sys.executable, "-c", "from app.cli import main; main()"]


def pids_with(text):
    """Processes of this machine whose command line holds `text`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text.encode() in path.read_bytes().replace(b"\0", b" "):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_up_starts_both_and_ctrl_c_leaves_nothing(tmp_path):
    port = free_port()
    up = Program(
        [*PLATEAU, "up", "--port", str(port), "--no-demo"], environment(home=tmp_path / "home"), tmp_path / "up.log"
    )
    up.start()
    try:
        wait_until(lambda: "works for" in up.output, 60, "the worker did not start")
        assert up.output.count("/login?code=") == 1
        assert f"Plateau is at http://127.0.0.1:{port}" in up.output
        assert len(pids_with(f"--port {port}")) == 2  # up and the server
        started = time.monotonic()
        assert up.stop(signal.SIGINT) == 0
        assert time.monotonic() - started < 10
        assert pids_with(str(tmp_path)) == []
        assert pids_with(f"--port {port}") == []
    finally:
        for pid in pids_with(f"--port {port}"):
            os.kill(pid, signal.SIGKILL)
        up.kill()


def test_up_on_a_port_in_use_is_one_sentence_and_exit_code_1(server, tmp_path):
    command = [*PLATEAU, "up", "--port", str(server.port), "--no-worker"]
    env = environment(home=tmp_path / "home2")
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=60)
    code, out, err = done.returncode, done.stdout, done.stderr
    assert code == 1
    assert f"Port {server.port} is in use" in out + err
    assert len((out + err).splitlines()) == 1
