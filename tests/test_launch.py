"""worker.launch: several processes that start, leave and end as one. They are a few lines of Python without torch."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import wait_until

from worker.launch import threads_each, verdict
from worker.release import members

# Each process notes that it is there, then does what its rank's line says.
PROCESS = """
import os, signal, sys, time, pathlib
rank = int(os.environ["RANK"])
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[1], f"told{rank}").touch(), os._exit(75)))
pathlib.Path(sys.argv[1], f"here{rank}").touch()
exec(sys.argv[2 + rank])
time.sleep(60)
"""


class Launched:
    def __init__(self, folder: Path, *lines: str) -> None:
        self.folder = folder
        command = [
            sys.executable,
            "-m",
            "worker.launch",
            str(len(lines)),
            sys.executable,
            "-c",
            PROCESS,
            str(folder),
            *lines,
        ]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, text=True
        )  # fmt: skip

    def all_there(self, count: int = 2) -> None:
        wait_until(lambda: len(list(self.folder.glob("here*"))) == count)

    def code(self, within_s: float = 15.0) -> int:
        return self.process.wait(within_s)


@pytest.fixture
def launched(tmp_path):
    started = []

    def launch(*lines: str) -> Launched:
        started.append(Launched(tmp_path, *lines))
        return started[-1]

    yield launch
    for each in started:
        if each.process.poll() is None:
            os.killpg(each.process.pid, signal.SIGKILL)
        each.process.communicate()


def test_each_has_torchruns_environment_and_rank_0_alone_the_standard_input(launched):
    say = "print(os.environ['LOCAL_RANK'], os.environ['WORLD_SIZE'], os.environ['MASTER_ADDR'], sys.stdin.read()); sys.exit()"
    started = launched(say, f"time.sleep(0.3); {say}")
    out, _ = started.process.communicate("stop", timeout=15)
    assert out.splitlines() == ["0 2 127.0.0.1 stop", "1 2 127.0.0.1 "]
    assert started.code() == 0


def test_a_killed_process_ends_all_at_once_and_the_whole_ends_like_it(launched):
    started = launched("", "time.sleep(0.2); os.kill(os.getpid(), signal.SIGKILL)")
    started.all_there()
    began = time.monotonic()
    assert started.code() == -signal.SIGKILL
    assert time.monotonic() - began < 8
    assert members(started.process.pid) == []


def test_sigterm_goes_to_all_and_what_they_exit_with_is_told(launched, tmp_path):
    started = launched("", "")
    started.all_there()
    started.process.send_signal(signal.SIGTERM)
    assert started.code() == 75
    assert len(list(tmp_path.glob("told*"))) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the agent's pipe ends them")
def test_they_die_with_their_launcher(launched):
    started = launched("", "")
    started.all_there()
    group = started.process.pid
    assert len(members(group)) == 3
    started.process.kill()
    started.code()
    wait_until(lambda: members(group) == [])


@pytest.mark.parametrize(
    ("codes", "whole"),
    [
        ({0: 0, 1: 0}, 0),
        ({0: 0, 1: -9}, 0),  # what was to be done is done
        ({0: 1, 1: -9}, -9),  # rank 0 complains that the other is gone
        ({0: -6, 1: -9}, -9),  # and so loudly that it aborts
        ({0: 1, 1: 4}, 4),
        ({1: 3}, 3),
        ({0: 75, 1: 75}, 75),
        ({0: 1}, 1),
    ],
)
def test_the_process_that_broke_it_names_the_end(codes, whole):
    assert verdict(codes) == whole


def test_the_cores_are_shared_out(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert [threads_each(count) for count in (1, 2, 3, 16)] == [8, 4, 2, 1]
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert 1 <= threads_each(1) <= (os.cpu_count() or 1)
