"""One child process: started from the agent's main thread, commanded by its stdin, dead when the agent is.

And what its end means: `ending` turns an exit code and the last telemetry into an outcome.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.contract.protocol import EXIT_REQUEUE, REASON_KILLED, Outcome
from worker.courier import Ending
from worker.release import members

PR_SET_PDEATHSIG = 1
EXIT_NON_FINITE = 3
EXIT_OOM = 4
KILLED = (-int(signal.SIGKILL), 128 + int(signal.SIGKILL))
SECRETS = ("PLATEAU_TOKEN", "PLATEAU_TOKEN_FILE")
"""The training process needs no access to the server and gets none."""
RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Of a launcher that started the agent itself; a run's processes are counted by worker.launch alone."""

# Looked up before any fork: between fork and exec nothing may be imported or allocated that another thread has locked.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def dies_with_its_parent() -> Callable[[], None]:
    """A preexec_fn: on Linux the process that is started gets SIGKILL when the thread that started it ends."""
    parent = os.getpid()

    def between_fork_and_exec() -> None:
        if _prctl is not None:
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died between fork and here
                os._exit(1)

    return between_fork_and_exec


class Child:
    """A running process and the group it leads."""

    def __init__(self, command: Sequence[str], log_path: Path, environment: Mapping[str, str]) -> None:
        """Call from the main thread: on Linux the child dies with the *thread* that started it."""
        kept = {key: value for key, value in os.environ.items() if key not in (*SECRETS, *RANKS)}
        self.oom_kills_before = oom_kills()
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**kept, "PYTHONUNBUFFERED": "1", **environment},
                start_new_session=True,  # the terminal's Ctrl-C reaches `plateau up` only
                preexec_fn=dies_with_its_parent(),
            )
        self.pid = self._process.pid
        self.left_behind: list[int] = []  #: once it has ended: what of its group still ran, and was killed

    def command(self, line: str) -> None:
        """One line to its stdin. A child that is gone, or does not read, misses nothing it could still do."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def terminate(self) -> None:
        """Ask it to save and leave (exit 75)."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and everything it started, now."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def poll(self) -> int | None:
        """Its exit code once it has ended; also ends whatever of its group is left (data loaders, compilers)."""
        code = self._process.poll()
        if code is not None and self._process.stdin is not None and not self._process.stdin.closed:
            self.left_behind = members(self.pid)
            self.kill()
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        return code


def oom_kills() -> int:
    """How often the kernel has killed a process of this control group for memory; 0 where that cannot be read."""
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return 0
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            v2, v1 = Path("/sys/fs/cgroup") / path.lstrip("/"), Path("/sys/fs/cgroup/memory") / path.lstrip("/")
            for file in (v2 / "memory.events", v1 / "memory.oom_control", Path("/sys/fs/cgroup/memory.events")):
                with contextlib.suppress(OSError, ValueError):
                    counts = dict(entry.split() for entry in file.read_text().splitlines())
                    return int(counts["oom_kill"]) if "oom_kill" in counts else 0
    return 0


def ending(
    exit: int,
    telemetry: Mapping[str, Any],
    log_tail: list[str],
    *,
    leaving: bool,
    terminated: bool,
    oom_killed: bool,
    summary: dict[str, Any],
    processes: int = 1,
) -> Ending:
    """What this exit means. `leaving`: the agent is being stopped; `terminated`: a person pressed stop twice.

    One of several `processes` that somebody killed takes the others with it: the run goes on from its checkpoint.
    """
    if exit == 0:
        outcome = telemetry.get("outcome", "finished")
        known: dict[Any, Outcome] = {"finished": "finished", "stopped": "stopped", "paused": "paused"}
        return Ending(known.get(outcome, "finished"), exit, None, summary)
    if terminated:
        return Ending("stopped", exit, None, summary, log_tail)
    if exit == EXIT_REQUEUE or leaving:
        return Ending("requeue", exit, None, summary, log_tail)
    if processes > 1 and exit in KILLED and not oom_killed:
        return Ending("requeue", exit, REASON_KILLED, summary, log_tail)
    reason = "error"
    if exit == EXIT_NON_FINITE:
        reason = "non_finite"
    elif exit == EXIT_OOM or (exit in KILLED and oom_killed):
        reason = "oom"
    if not log_tail:
        log_tail = [f"The process printed nothing and ended with {describe(exit)}."]
    return Ending("failed", exit, reason, summary, log_tail)


def describe(exit: int) -> str:
    """An exit code in words."""
    if exit < 0:
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-exit).name}"
    return f"exit code {exit}"
