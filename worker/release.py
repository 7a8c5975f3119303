"""What a child leaves behind: whether its processes are gone, and whether the memory of its devices is free again.

Asked after a run was stopped, killed or failed, before its slot is given to the next: a process that outlives its
leader keeps the device's memory, and the next run would meet it as an out-of-memory that nobody can explain.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import psutil

GONE_WITHIN_S = 5.0
FREE_WITHIN_S = 15.0
"""A driver takes a process's memory back a moment after its end."""
ASK_WITHIN_S = 60.0
SPARE_GIB = 0.5
"""So much less than before still counts as free: a desktop's windows come and go."""


class Memory(NamedTuple):
    """A device's memory as it was found when the worker started."""

    name: str  #: cuda:0
    free_gib: float


class Verdict(NamedTuple):
    text: str
    well: bool


def members(group: int) -> list[int]:
    """The processes of a process group that still run."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getpgid(pid) == group and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def gone(group: int, left_behind: int) -> Verdict:
    """Once the group's leader has ended and the rest was killed; `left_behind` of them outlived it."""
    until = time.monotonic() + GONE_WITHIN_S
    while (rest := members(group)) and time.monotonic() < until:
        time.sleep(0.05)
    if rest:
        return Verdict(f"Processes of the run do not end: {', '.join(map(str, rest))}. They keep their memory.", False)
    killed = f" {left_behind} that outlived it had to be killed." if left_behind else ""
    return Verdict(f"No process of the run is left, and its memory is free.{killed}", True)


def free_again(
    before: Sequence[Memory],
    environment: Mapping[str, str],
    *,
    ask: Callable[[Mapping[str, str]], list[dict[str, Any]]] | None = None,
) -> Verdict:
    """Whether the devices that `environment` shows have about as much free memory as `before`, in that order."""
    until = time.monotonic() + FREE_WITHIN_S
    while True:
        try:
            now = (ask or _devices)(environment)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            return Verdict(
                f"The memory of {', '.join(one.name for one in before)} could not be looked at: {error}", False
            )
        pairs = list(zip(before, now, strict=False))
        held = [was for was, here in pairs if here["free_gib"] < was.free_gib - SPARE_GIB]
        if not held or time.monotonic() >= until:
            break
        time.sleep(0.5)
    told = "; ".join(f"{was.name} {here['free_gib']:.1f} of {here['memory_gib']:.1f} GiB" for was, here in pairs)
    if held:
        usual = "; ".join(f"{was.name} {was.free_gib:.1f} GiB" for was in held)
        return Verdict(
            f"Device memory is still held by another process. Free: {told}; when the worker started: {usual}.", False
        )
    return Verdict(f"Device memory is free again: {told}.", True)


def _devices(environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """In a process of its own, for only that one imports torch."""
    found = subprocess.run(
        [sys.executable, "-m", "worker.devices"],
        env={**os.environ, **environment}, capture_output=True, text=True, check=True, timeout=ASK_WITHIN_S,
    )  # fmt: skip
    devices: list[dict[str, Any]] = json.loads(found.stdout)
    return devices
