"""The server's own clockwork: a thread that does one thing every second and another every few minutes."""

import logging
import threading
from collections.abc import Callable

from app.errors import PlateauError

SWEEP_S = 1.0
TIDY_EVERY = 300
"""Sweeps between two rounds of tidying."""

_log = logging.getLogger(__name__)


class Sweeper:
    """Started and stopped with the app; `beat` is when a sweep last succeeded."""

    def __init__(
        self, clock: Callable[[], float], *, sweep: Callable[[float], None], tidy: Callable[[float], None] | None = None,
        every_s: float = SWEEP_S, name: str = "plateau-sweeper",
    ) -> None:  # fmt: skip
        self._clock = clock
        self._sweep = sweep
        self._tidy = tidy
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self.beat = clock()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _loop(self) -> None:
        count = 0
        while not self._stopping.wait(self._every_s):
            now = self._clock()
            try:
                self._sweep(now)
                if self._tidy is not None and count % TIDY_EVERY == 0:
                    self._tidy(now)
                self.beat = now
                count += 1
            except PlateauError as error:  # a full disk or a busy database: the next round tries again
                _log.warning("sweeping was not possible: %s", error)
            except Exception:  # leases must go on expiring whatever one row made go wrong
                _log.exception("sweeping failed")
