"""One claim, from its files to its finish: fetch what it needs, run its child, hand the end to the courier.

Blocking work (worker/errands.py) happens in the assignment's own thread, delivery in the courier's. Only
`start` and `reap` belong to the agent's main thread, which must be the one that starts children.
The claim is written beside its journal first: an agent that starts again finds what it left behind.
"""

import json
import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.contract.protocol import Claim
from app.contract.states import JobKind
from worker import ledger
from worker.child import Child, ending, oom_kills
from worker.client import Client, WorkerError
from worker.commands import spoken
from worker.courier import Courier, Ending
from worker.errands import HANDED_OVER, Errands, Place
from worker.folders import claim_path, folder_of, last_words, write_durably
from worker.release import Memory, free_again, gone

log = logging.getLogger(__name__)

COMMANDS: dict[JobKind, list[str]] = {
    JobKind.train: [sys.executable, "-m", "worker.train"],
    JobKind.prepare: [sys.executable, "-m", "worker.prepare"],
    JobKind.sample: [sys.executable, "-m", "worker.sample"],
    JobKind.adopt: [sys.executable, "-m", "worker.take_in"],
    JobKind.export: [sys.executable, "-m", "worker.give_out"],
    JobKind.report: [sys.executable, "-m", "worker.report_data"],
}
LAUNCH = [sys.executable, "-m", "worker.launch"]
"""Before the command of a run on several devices: its number of processes comes next."""
TERMINATE_GRACE_S = 30.0
"""After SIGTERM the child has this long to save."""
CLOSED = ("finished", "failed", "stopped")
FLEETING = frozenset(
    {JobKind.prepare, JobKind.sample, JobKind.adopt, JobKind.export, JobKind.report, JobKind.send, JobKind.free}
)
"""Kinds of work of which nothing on this disk is needed once the server has the result."""


class Assignment:
    """`phase` goes fetching → ready → running → wrapping → delivering; `over` once the courier is done with it."""

    def __init__(
        self,
        claim: Claim,
        home: Path,
        client: Client,
        *,
        quit: threading.Event,
        data_roots: Sequence[Path] = (),
        device: str = "cpu",
        environment: Mapping[str, str] | None = None,
        processes: int = 1,
        memory: Sequence[Memory] = (),
        commands: Mapping[JobKind, Sequence[str]] = COMMANDS,
        log_start: int | None = None,
    ) -> None:
        self.claim = claim
        self.phase = "fetching"
        self.device = device
        self.folder = folder_of(claim, home)
        self.journal_path = self.folder / "journal" / f"a{claim.attempt}.journal"
        self.log_path = self.folder / "stdout.log"
        self._home = home
        self._environment = dict(environment or {})
        self._processes = processes  #: one a device
        self._memory = memory  #: of the devices, as the worker found it
        self._commands = commands
        self._wait: Callable[[float], bool] = quit.wait
        store = Path(claim.store) if claim.store else None
        place = Place(self.folder, self.journal_path, home, store, data_roots, device)
        self._errands = Errands(claim, place, client, self._wait)
        self._child: Child | None = None
        self._lock = threading.Lock()  # commands come from the courier's thread while the main thread starts the child
        self._early: list[str] = []  # commands that came before the child was there
        self._leaving = False
        self._terminated = False
        self._kill_at: float | None = None
        self.journal_path.parent.mkdir(parents=True, exist_ok=True)
        self.log_start = (
            log_start if log_start is not None else self.log_path.stat().st_size if self.log_path.exists() else 0
        )
        self.courier = Courier(
            client, claim, self.journal_path, self.log_path, self.log_start,
            on_command=self._obey, on_fenced=self._kill,
        )  # fmt: skip
        self._threads = [
            threading.Thread(target=self.courier.run, args=(self._wait,), name=f"courier-{claim.job}", daemon=True)
        ]

    @property
    def over(self) -> bool:
        """Nothing more will be delivered, and the child, if any, has ended."""
        dead = self._child is None or self._child.poll() is not None
        return dead and not any(thread.is_alive() for thread in self._threads)

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    def begin(self) -> None:
        """Note the claim, then deliver and fetch in threads."""
        note = {"claim": self.claim.model_dump(mode="json"), "log_start": self.log_start}
        write_durably(claim_path(self.journal_path), json.dumps(note).encode())
        self._threads[0].start()
        self._in_thread(self._fetch)

    def recover(self) -> None:
        """Deliver what an earlier agent left; its child died with it, so the run goes on from its last checkpoint."""
        words = last_words(self.journal_path)
        said = words.telemetry.get("outcome")
        if self.claim.kind == JobKind.train and said in ("finished", "stopped", "paused"):
            self.courier.end(Ending(said, 0, None, words.summary))
        else:
            self.courier.end(Ending("requeue", None, None, words.summary, ["The worker restarted."]))
        self.phase = "delivering"
        self._threads[0].start()

    def start(self) -> None:
        """Start the child (main thread only). A job that was stopped meanwhile ends here instead."""
        with self._lock:
            if self._end_if_unwanted():
                return
            if self.courier.state == "fenced":
                self.phase = "delivering"
                return
            if self._leaving:
                self._end(Ending("requeue"))
                return
            together = [*LAUNCH, str(self._processes)] if self._processes > 1 else []
            what = self._commands[self.claim.kind]
            command = [*together, *what, str(self.folder), "--attempt", str(self.claim.attempt)]
            try:
                self._child = Child(
                    command, self.log_path, {"PLATEAU_WORKER_HOME": str(self._home), **self._environment}
                )
            except OSError as error:  # no memory or no process left
                self._end(Ending("failed", None, "error", {}, [f"The process could not be started: {error}"]))
                return
            self.phase = "running"
            for line in self._early:
                self._child.command(line)
        log.info("%s: %s started, process %d", self.claim.job, self.claim.kind, self._child.pid)

    def reap(self, now: float) -> None:
        """See whether the child has ended (main thread), and end one that was told to and did not."""
        assert self._child is not None
        if self._kill_at is not None and now >= self._kill_at:
            log.warning("%s: not gone %.0f s after SIGTERM; killed", self.claim.job, TERMINATE_GRACE_S)
            self._child.kill()
            self._kill_at = None
        exit = self._child.poll()
        if exit is None:
            return
        words = last_words(self.journal_path)
        end = ending(
            exit,
            words.telemetry,
            [*ledger.last_lines(self.log_path, self.log_start), *words.errors],
            leaving=self._leaving,
            terminated=self._terminated,
            oom_killed=oom_kills() > self._child.oom_kills_before,
            summary=words.summary,
            processes=self._processes,
        )
        log.info("%s: the process ended with exit code %d: %s", self.claim.job, exit, end.outcome)
        if self.claim.kind in HANDED_OVER and end.outcome == "finished":
            self.phase = "wrapping"
            self._in_thread(lambda: self._end(self._errands.hand_over()))
        elif self.claim.kind == JobKind.train and end.outcome != "finished" and self.courier.state == "open":
            self.phase = "wrapping"
            self._in_thread(lambda: self._end_freed(end))
        else:
            self._end(end)

    def leave(self, now: float) -> None:
        """The agent is being stopped: the child saves and exits, the run goes back to the queue."""
        self._leaving = True
        if self._child is not None and self.phase == "running":
            self._child.terminate()
            self._kill_at = self._kill_at or now + TERMINATE_GRACE_S / 2
        elif self.phase == "fetching":
            self._end(Ending("requeue"))

    def kill(self) -> None:
        """Without ceremony; the journal stays for the next start."""
        self._kill()

    def tidy(self) -> None:
        """After `over`: forget the claim, and the journals of a run that is closed."""
        if self.courier.state == "open":
            return
        claim_path(self.journal_path).unlink(missing_ok=True)
        if self.claim.kind in FLEETING:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        if self.courier.state == "closed" and self.courier.ending and self.courier.ending.outcome in CLOSED:
            for path in self.journal_path.parent.glob("a*.journal*"):
                if not path.name.endswith((".fenced", ".claim.json")):
                    path.unlink(missing_ok=True)

    def _end_if_unwanted(self) -> bool:
        """Stopped or paused before its child began: nothing to save, so it ends at once."""
        unwanted = [command for command in self._early if command in ("stop", "terminate", "kill", "pause")]
        if unwanted:
            self._end(Ending("paused" if unwanted == ["pause"] else "stopped"))
        return bool(unwanted)

    def _end_freed(self, end: Ending) -> None:
        """The slot goes to the next run only when this one's processes and device memory are gone."""
        assert self._child is not None
        verdicts = [gone(self._child.pid, len(self._child.left_behind))]
        if self._memory and not self._leaving:  # an agent that leaves has no next run
            verdicts.append(free_again(self._memory, self._environment))
        for verdict in verdicts:
            log.log(logging.INFO if verdict.well else logging.WARNING, "%s: %s", self.claim.job, verdict.text)
        self._errands.say([(verdict.text, "info" if verdict.well else "warn") for verdict in verdicts])
        self._end(end)

    def _end(self, end: Ending) -> None:
        self.phase = "delivering"
        self.courier.end(end)

    def _kill(self) -> None:
        self._leaving = True
        if self._child is not None:
            self._child.kill()

    def _obey(self, command: Mapping[str, Any]) -> None:
        """A command of the server, in the courier's thread."""
        word = str(command.get("command"))
        log.info("%s: %s", self.claim.job, word)
        with self._lock:
            if word == "terminate":
                self._terminated = True
                if self._child is not None:
                    self._child.terminate()
                    self._kill_at = time.monotonic() + TERMINATE_GRACE_S
            if word == "kill":
                self._terminated = True
                if self._child is not None:
                    self._child.kill()
            line = spoken(command)
            if self._child is None:
                self._early.append(line)
                if self.phase == "fetching":
                    self._end_if_unwanted()
            elif word not in ("terminate", "kill"):
                self._child.command(line)

    def _in_thread(self, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except (WorkerError, OSError) as error:
                log.error("%s: %s", self.claim.job, error)
                self._end(Ending("failed", None, "error", {}, [str(error)]))

        self._threads.append(threading.Thread(target=guarded, name=f"errand-{self.claim.job}", daemon=True))
        self._threads[-1].start()

    def _fetch(self) -> None:
        if self.claim.kind == JobKind.send:
            self._end(self._errands.send_checkpoint())
            return
        if self.claim.kind == JobKind.free:
            self._end(self._errands.free())
            return
        config = self._errands.inputs()
        write_durably(self.folder / "config.json", json.dumps({**config, "journal": str(self.journal_path)}).encode())
        self.phase = "ready"
