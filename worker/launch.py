"""Several processes for one run: started together, told to leave together, ended together.

    python -m worker.launch N COMMAND …

Starts COMMAND once for each of N devices of this machine, in torchrun's environment (RANK, LOCAL_RANK, WORLD_SIZE,
MASTER_ADDR, MASTER_PORT); torchrun itself starts the same command as well. What the agent relies on and torchrun does
not do: every process stays in this one's group and dies with it; only rank 0 has its standard input; SIGTERM goes to
all; and the whole ends as the process ended that broke it, with its exit code or its signal. Nothing is started
again here: that is the server's business. Imports no torch.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

import psutil

from worker.child import dies_with_its_parent

GRACE_S = 2.0
"""Once one process has broken off, the others have this long to end by themselves: rank 0 may be saying why."""
LOOK_EVERY_S = 0.05
TELLING = (3, 4, 75)
"""Exit codes that say more than 1: not finite, out of memory, told to leave. See worker.train."""
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


class Family:
    """The processes of one run, the first of them rank 0."""

    def __init__(self, count: int, command: Sequence[str]) -> None:
        """Call from the main thread: on Linux a process dies with the *thread* that started it."""
        self._told_to_leave = False
        signal.signal(signal.SIGTERM, lambda *_: self.terminate())
        self._processes: list[subprocess.Popen[bytes]] = []
        # The meeting place's port is bound before anybody is told of it, so that no other program can take it.
        with socket.create_server(("127.0.0.1", 0)) as meeting:
            shared = {
                "WORLD_SIZE": str(count),
                "LOCAL_WORLD_SIZE": str(count),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(meeting.getsockname()[1]),
                "RANKS_STORE_FD": str(meeting.fileno()),
                "OMP_NUM_THREADS": str(threads_each(count)),
                "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", LOOPBACK),
            }
            for rank in range(count):
                self._processes.append(
                    subprocess.Popen(
                        command,
                        stdin=None if rank == 0 else subprocess.DEVNULL,
                        env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                        pass_fds=(meeting.fileno(),) if rank == 0 else (),
                        preexec_fn=dies_with_its_parent(),
                    )
                )
        if self._told_to_leave:
            self.terminate()

    def terminate(self) -> None:
        self._told_to_leave = True
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)

    def run(self) -> int:
        """Wait for all; returns the exit code of the whole, -n for signal n."""
        by_themselves: dict[int, int] = {}  # rank → exit code
        kill_at = float("inf")
        while len(by_themselves) < len(self._processes):
            for rank, process in enumerate(self._processes):
                if rank not in by_themselves and (code := process.poll()) is not None:
                    by_themselves[rank] = code
                    if code or rank == 0:
                        kill_at = min(kill_at, time.monotonic() + GRACE_S)
            if time.monotonic() >= kill_at:
                self._kill()
                break
            time.sleep(LOOK_EVERY_S)
        return verdict(by_themselves)

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()


def verdict(codes: dict[int, int]) -> int:
    """What the whole ended with, from the exit codes of the ranks that ended by themselves: at least one."""
    if codes.get(0) == 0:
        return 0
    if killed := [code for code in codes.values() if code < 0]:
        # The others' complaints are that one's doing, and some libraries complain by SIGABRT; nobody kills himself.
        return -int(signal.SIGKILL) if -int(signal.SIGKILL) in killed else killed[0]
    failed = [codes[rank] for rank in sorted(codes) if codes[rank]]
    return next((code for code in failed if code in TELLING), failed[0])


def threads_each(count: int) -> int:
    """The CPU threads of each process: $OMP_NUM_THREADS or the physical cores it may use, shared out."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = min(allowed, psutil.cpu_count(logical=False) or allowed)
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, (int(asked) if asked.isdecimal() else cores) // count)


def main(arguments: Sequence[str]) -> int:
    count, *command = arguments
    code = Family(int(count), command).run()
    if code < 0:  # as that process ended: the agent reads a signal as one
        with contextlib.suppress(OSError):  # SIGKILL has no handler that could be in the way
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
