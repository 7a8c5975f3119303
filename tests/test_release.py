"""After a child: its processes are gone, and its devices' memory is free, or somebody is told."""

import os
import signal
import subprocess
import sys

from conftest import wait_until

from worker import release
from worker.child import Child
from worker.release import Memory, free_again, gone, members

FORKS = "import os, time\nif not os.fork(): time.sleep(60)\nelse: time.sleep(0.1)\n"


def test_a_process_that_outlives_its_leader_is_found_and_killed(tmp_path):
    child = Child([sys.executable, "-c", FORKS], tmp_path / "log", {})
    assert wait_until(lambda: child.poll() is not None)
    assert len(child.left_behind) == 1
    verdict = gone(child.pid, len(child.left_behind))
    assert verdict.well
    assert verdict.text == "No process of the run is left, and its memory is free. 1 that outlived it had to be killed."
    assert members(child.pid) == []


def test_a_process_that_does_not_end_is_named(monkeypatch):
    monkeypatch.setattr(release, "GONE_WITHIN_S", 0.1)
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        verdict = gone(sleeper.pid, 0)
        assert not verdict.well
        assert str(sleeper.pid) in verdict.text
    finally:
        os.killpg(sleeper.pid, signal.SIGKILL)
        sleeper.wait()


def test_device_memory_is_asked_for_until_it_is_as_free_as_before():
    answers = [[{"free_gib": 3.0, "memory_gib": 12.0}], [{"free_gib": 11.1, "memory_gib": 12.0}]]
    verdict = free_again([Memory("cuda:0", 11.2)], {"CUDA_VISIBLE_DEVICES": "2"}, ask=lambda seen: answers.pop(0))
    assert verdict == ("Device memory is free again: cuda:0 11.1 of 12.0 GiB.", True)


def test_device_memory_that_stays_held_is_a_warning(monkeypatch):
    monkeypatch.setattr(release, "FREE_WITHIN_S", 0.0)
    both = [{"free_gib": 11.2, "memory_gib": 12.0}, {"free_gib": 3.0, "memory_gib": 12.0}]
    before = [Memory("cuda:0", 11.2), Memory("cuda:1", 11.0)]
    text, well = free_again(before, {}, ask=lambda seen: both)
    assert not well
    assert "cuda:1 3.0 of 12.0 GiB" in text
    assert text.endswith("when the worker started: cuda:1 11.0 GiB.")


def test_memory_that_cannot_be_looked_at_does_not_end_in_an_error():
    def broken(seen):
        raise subprocess.CalledProcessError(1, "worker.devices")

    text, well = free_again([Memory("cuda:0", 11.2)], {}, ask=broken)
    assert not well
    assert text.startswith("The memory of cuda:0 could not be looked at")
