"""How far a preparation has come, told twice a second, and the one place where it hears that it must stop."""

import time
from collections.abc import Callable
from typing import Protocol

from app.contract.dataset import PrepareProgress

EVERY_S = 0.5


class Stopped(Exception):
    """Somebody asked for an end; `outcome` is what that makes of the job (stopped or requeue)."""

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class Telemetry(Protocol):
    def telemetry(self, **values: object) -> None: ...


class Progress:
    """Counts of the phase under way. Set `stop` from anywhere: the next `at` raises Stopped with it."""

    def __init__(self, journal: Telemetry, now: Callable[[], float] = time.monotonic) -> None:
        self.stop: str | None = None
        self._journal = journal
        self._now = now
        self._state = PrepareProgress()
        self._started = self._next = now()
        self._share_before = 0.0
        self._bytes_before = 0

    def phase(self, name: str, *, share: float = 0.0, text_bytes: int = 0) -> None:
        """A new phase begins; `share` and `text_bytes` of it were done by an earlier process."""
        self._state = PrepareProgress(phase=name, came_by=self._state.came_by)
        self._started = self._now()
        self._share_before, self._bytes_before = share, text_bytes
        self._tell(self._started)

    def resumed(self) -> None:
        """What an interrupted preparation left is gone on with."""
        self._state.came_by = "resumed"
        self._tell(self._now())

    def taken(self, *, documents: int, text_bytes: int, tokens: int) -> None:
        """Nothing is made: this is what was prepared before. No speed, for nothing was read."""
        self._state = PrepareProgress(
            phase=self._state.phase, share=1.0, documents=documents, text_mb=round(text_bytes / 1e6, 3), tokens=tokens,
            came_by="reused",
        )  # fmt: skip
        self._tell(self._now())

    @property
    def way(self) -> str:
        """How the data comes about: new, resumed or reused."""
        return self._state.came_by

    def at(self, share: float, *, documents: int = 0, text_bytes: int = 0, tokens: int = 0) -> None:
        """The phase has done `share` (0..1) of its work. Cheap: call it for every document."""
        if self.stop is not None:
            raise Stopped(self.stop)
        now = self._now()
        if now >= self._next or share >= 1:  # the end is told whenever it comes
            self._count(now, share, documents, text_bytes, tokens)
            self._tell(now)

    def _count(self, now: float, share: float, documents: int, text_bytes: int, tokens: int) -> None:
        elapsed_s = now - self._started
        state = self._state
        state.share = round(share, 4)
        state.documents = documents
        state.text_mb = round(text_bytes / 1e6, 3)
        state.tokens = tokens
        state.mb_per_s = round((text_bytes - self._bytes_before) / 1e6 / elapsed_s, 2) if elapsed_s > 0 else None
        done = share - self._share_before
        state.eta_s = round(elapsed_s * (1 - share) / done, 1) if done > 0.01 else None

    def _tell(self, now: float) -> None:
        self._next = now + EVERY_S
        self._journal.telemetry(**self._state.model_dump())
