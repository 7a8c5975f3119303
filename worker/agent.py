"""The agent: claims jobs for free slots, starts their children, and leaves nothing behind when told to go.

One slot per device for training; beside them one for each other kind of work, so that a checkpoint somebody
asks for does not wait for a run of days. Never imports torch: it has to start at once
and to outlive its children's out-of-memory deaths. `turn(now)` does what is due; `run` turns it until the end.
"""

import fcntl
import json
import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, NamedTuple

from app.contract.protocol import PROTOCOL, Claim, ClaimRequest, WorkerInfo
from app.contract.states import JobKind
from worker import allocator
from worker.assignment import COMMANDS, Assignment
from worker.client import Backoff, Client, Refused, ServerAway, Unauthorized, WorkerError, WrongProtocol
from worker.folders import left_behind, write_durably
from worker.release import Memory

log = logging.getLogger(__name__)

CLAIM_EVERY_S = 1.0
TURN_EVERY_S = 0.1
REFUSED_RETRY_S = 15.0
LEAVE_WITHIN_S = 20.0
VISIBLE = "CUDA_VISIBLE_DEVICES"
DELIVER_WITHIN_S = 5.0
"""Once the children have ended, an agent that was told to go tries this long to deliver what is left."""


class Slot(NamedTuple):
    """One device for one training process at a time, or several devices for one run."""

    device: str  #: for the run's config.json: cpu, cuda:0 (the first its processes see), mps
    environment: Mapping[str, str]
    memory: tuple[Memory, ...] = ()  #: of each device, as far as it is known, to be found free again


class HomeInUse(WorkerError):
    """Another worker is using this home."""


def slots_for(devices: Sequence[Mapping[str, object]], visible: str = "") -> list[Slot]:
    """A slot per device. `visible` is the agent's own CUDA_VISIBLE_DEVICES: slots keep within it."""
    names = [name.strip() for name in visible.split(",") if name.strip()]
    slots = []
    for index, device in enumerate(devices):
        if device["kind"] == "cuda":
            name = names[index] if index < len(names) else str(index)
            free = device.get("free_gib")
            memory = (Memory(f"cuda:{index}", free),) if isinstance(free, float | int) else ()
            slots.append(Slot("cuda:0", {VISIBLE: name}, memory))
        else:
            kind = str(device["kind"])
            slots.append(Slot(kind, allocator.huge_pages(os.environ) if kind == "cpu" else {}))
    return slots


def joined(slots: Sequence[Slot]) -> Slot:
    """Several devices for one run: its processes see all of them, the process of rank r takes the r-th."""
    names = [slot.environment[VISIBLE] for slot in slots if VISIBLE in slot.environment]
    environment = {**slots[0].environment, **({VISIBLE: ",".join(names)} if names else {})}
    return Slot(slots[0].device, environment, tuple(memory for slot in slots for memory in slot.memory))


def instance_of(home: Path) -> str:
    """This home's random name, made once: the server knows the same worker after a restart by it."""
    path = home / "worker.json"
    try:
        return str(json.loads(path.read_bytes())["instance"])
    except (FileNotFoundError, ValueError, KeyError):
        instance = secrets.token_hex(16)
        write_durably(path, json.dumps({"instance": instance}).encode())
        return instance


def devices_of(claim: Claim) -> int:
    """How many devices a run asks for."""
    return int(claim.config.get("system", {}).get("devices", 1))


def lock(home: Path) -> IO[str]:
    """Hold the home until the returned file is closed. Raises HomeInUse."""
    home.mkdir(parents=True, exist_ok=True)
    file = (home / "worker.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise HomeInUse(f"Another worker is using {home}; give this one its own with --home.") from None
    return file


class Agent:
    """All methods belong to the main thread, which must be the one that starts children."""

    def __init__(
        self,
        client: Client,
        home: Path,
        info: WorkerInfo,
        slots: Sequence[Slot],
        *,
        data_roots: Sequence[Path] = (),
        once: bool = False,
        commands: Mapping[JobKind, Sequence[str]] = COMMANDS,
    ) -> None:
        self.assignments: list[Assignment] = []
        self._client = client
        self._home = home
        self._info = info
        self._slots = list(slots)
        self._data_roots = data_roots
        self._once = once
        self._commands = commands
        self._quit = threading.Event()  #: threads give up
        self._slots_of: dict[int, list[int]] = {}  #: id of an assignment → the numbers of the slots it holds
        self._claim_at = float("-inf")
        self._key = secrets.token_hex(16)
        self._backoff = Backoff(cap_s=5.0)
        self._complained = ""
        self._signals = 0
        self._leave_by: float | None = None
        self._exit: int | None = None
        self._outdated = False
        self._only: Assignment | None = None  #: with `once`: the job that was taken

    def run(self) -> int:
        """Work until told to go (SIGTERM or SIGINT; a second one: at once); returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self.recover()
        while self._exit is None:
            self.turn(time.monotonic())
            if self._exit is None:
                time.sleep(TURN_EVERY_S)
        self.close()
        return self._exit

    def recover(self) -> None:
        """Deliver and finish what an earlier agent in this home did not."""
        for claim, log_start in left_behind(self._home):
            log.info("%s: found unfinished; delivering what is left of it", claim.job)
            assignment = Assignment(claim, self._home, self._client, quit=self._quit, log_start=log_start)
            self.assignments.append(assignment)
            assignment.recover()

    def turn(self, now: float) -> None:
        for assignment in list(self.assignments):
            if assignment.phase == "ready":
                assignment.start()
            elif assignment.phase == "running":
                assignment.reap(now)
            if assignment.over:
                self._gone(assignment)
        if self._leave_by is None and self._signals:
            self._leave(now)
        if self._leave_by is not None:
            self._leaving(now)
        elif self._outdated:
            self._exit = None if self.assignments else 1
        elif self._exit is None and now >= self._claim_at and (kinds := self._free_kinds()):
            self._claim(kinds, now)

    def close(self) -> None:
        """End what is still running; journals and claims stay for the next start."""
        self._quit.set()
        for assignment in self.assignments:
            assignment.kill()

    def _claim(self, kinds: list[JobKind], now: float) -> None:
        self._claim_at = now + CLAIM_EVERY_S
        free = self._free_slots()
        request = ClaimRequest(
            worker=self._info, kinds=kinds, protocol=PROTOCOL, idempotency_key=self._key, free_devices=len(free)
        )  # fmt: skip
        try:
            claim = self._client.claim(request)
        except WrongProtocol as error:
            log.error("%s This worker takes no more jobs.", error)
            self._outdated = True
            return
        except (ServerAway, Unauthorized, Refused) as error:
            delay = self._backoff.next_s(error) if isinstance(error, ServerAway) else REFUSED_RETRY_S
            self._claim_at = now + delay
            if str(error) != self._complained:
                log.warning("%s Trying again.", error)
                self._complained = str(error)
            return
        if self._complained:
            log.info("The server is back.")
            self._complained = ""
        self._backoff.reset()
        if claim is None:
            return
        self._key = secrets.token_hex(16)  # kept until there is an answer: a lost one is asked for again
        self._claim_at = now
        taken = free[: devices_of(claim)] if claim.kind == JobKind.train else []
        slot = joined([self._slots[number] for number in taken]) if taken else Slot("cpu", {})
        log.info(
            "%s: claimed %s %s%s",
            claim.job,
            claim.kind,
            claim.run or claim.dataset or "",
            f" ({claim.name})" if claim.name else "",
        )
        try:
            if claim.kind == JobKind.train and len(taken) < devices_of(claim):
                raise WorkerError(f"It asks for {devices_of(claim)} devices, and {len(free)} are free.")
            assignment = Assignment(
                claim, self._home, self._client, quit=self._quit, data_roots=self._data_roots,
                device=slot.device, environment=slot.environment, processes=max(1, len(taken)), memory=slot.memory,
                commands=self._commands,
            )  # fmt: skip
            assignment.begin()
        except (WorkerError, OSError) as error:  # an id that is none, a full disk: the lease runs out by itself
            log.error("%s: cannot be taken on: %s", claim.job, error)
            self._claim_at = now + REFUSED_RETRY_S
            return
        if claim.kind == JobKind.train:
            self._slots_of[id(assignment)] = taken
        self.assignments.append(assignment)
        self._only = assignment

    def _free_kinds(self) -> list[JobKind]:
        """What this worker can take on now."""
        for assignment in self.assignments:
            if assignment.phase == "delivering":  # its device is idle again, whatever the network does
                self._slots_of.pop(id(assignment), None)
        if self._once and self._only is not None:
            return []
        working = {assignment.claim.kind for assignment in self.assignments if assignment.phase != "delivering"}
        able = {JobKind.send, JobKind.free, *self._commands} - {JobKind.train}
        kinds = [kind for kind in JobKind if kind in able and kind not in working]
        return [JobKind.train, *kinds] if self._free_slots() else kinds

    def _free_slots(self) -> list[int]:
        held = {number for numbers in self._slots_of.values() for number in numbers}
        return [number for number in range(len(self._slots)) if number not in held]

    def _gone(self, assignment: Assignment) -> None:
        assignment.tidy()
        self.assignments.remove(assignment)
        self._slots_of.pop(id(assignment), None)
        self._claim_at = float("-inf")
        if self._once and assignment is self._only and self._leave_by is None:
            end = assignment.courier.ending
            self._exit = 0 if end is not None and end.outcome != "failed" else 1

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1

    def _leave(self, now: float) -> None:
        log.info("Stopping: %d jobs save and go back to the queue. Once more to stop at once.", len(self.assignments))
        self._leave_by = now + LEAVE_WITHIN_S
        for assignment in self.assignments:
            assignment.leave(now)

    def _leaving(self, now: float) -> None:
        assert self._leave_by is not None
        if all(assignment.phase == "delivering" for assignment in self.assignments):
            self._leave_by = min(self._leave_by, now + DELIVER_WITHIN_S)
        if not self.assignments or now >= self._leave_by or self._signals > 1:
            if self.assignments:
                log.warning("Leaving with %d jobs undelivered; the next start delivers them.", len(self.assignments))
            self._exit = 0
