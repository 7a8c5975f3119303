"""Do the steps of a log go on, come again, or jump back? A resume rewrites; two runs in one file are refused."""

from app.foreign.log import Log, NotALog

SHORT = 3
"""An attempt of fewer lines than this is no attempt, but a sign of two runs that write into one file."""
MOST_SHORT = 5
MOST_REPEATED = 10


class Order:
    """One for a log. `kind` is what is counted by itself: evaluations and updates come at the same steps."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._last: dict[str, int] = {}
        self._values: dict[str, tuple[float, ...]] = {}
        self._length = SHORT  #: measurements since the last jump back
        self._jumps = self._short = self._measurements = self._repeated = 0
        self._resuming = 0  #: line of "Resuming training", until the step it goes on from is known

    def resuming(self, line: int) -> None:
        self._resuming = line

    def take(self, kind: str, step: int, values: tuple[float, ...], line: int) -> bool:
        """False where the very same measurement has been taken already. Raises NotALog for two runs in one."""
        last = self._last.get(kind)
        self._measurements += 1
        if last is not None and step < last:
            self._back(step, max(self._last.values()), line)
        elif step == last:
            if values == self._values[kind]:
                self._log.count("twice")
                return False
            if not self._resuming:
                self._repeated += 1
                self._log.count("replaced")
                if self._repeated >= MOST_REPEATED and 4 * self._repeated > self._measurements:
                    raise NotALog(_two_runs(f"{self._repeated} steps stand there twice with different values", line))
        if self._resuming:
            if self._last and (not self._log.resumes or self._log.resumes[-1] != step):
                self._log.resumes.append(step)
                self._log.note("continued", step=step, line=self._resuming)
            self._resuming = 0
        self._length += 1
        self._last[kind], self._values[kind] = step, values
        return True

    def _back(self, step: int, last: int, line: int) -> None:
        self._jumps += 1
        self._short += self._length < SHORT
        self._length = 0
        if self._short >= MOST_SHORT and 2 * self._short > self._jumps:
            raise NotALog(_two_runs(f"the steps jump back {self._jumps} times", line))
        if step == 0:
            self._log.resumes.clear()
            self._log.note("restart", line=line, last=last)
        else:
            self._log.resumes = [*(one for one in self._log.resumes if one < step), step]
            self._log.note("resume", step=step, line=self._resuming or line, last=last)
        self._resuming = 0
        self._log.restart(step)
        self._last = {kind: min(one, step) for kind, one in self._last.items()}


def _two_runs(evidence: str, line: int) -> str:
    return (
        f"Two runs seem to write into this file, or its rows are in no order: {evidence} (up to line {line:,})."
        " Separate them, or sort a table by its steps, and import each by itself."
    )
