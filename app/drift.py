"""Resume drift: whether a resumed run repeats, to the bit, the losses that were taken back when it went on.

What is dropped after the checkpoint is kept until its steps come again. Each new loss is compared with the old one;
once they are caught up an event says "resume drift: 0 of N", or where it began to differ.
"""

import sqlite3
from typing import NamedTuple

import numpy as np

from app import series
from app.chunks import Steps, Values

KEY = "train/loss"


class Drift(NamedTuple):
    compared: int
    differing: int
    first: int | None  #: the first step that differed
    largest: float  #: difference, in nats per token; infinite where only one side was finite

    @property
    def text(self) -> str:
        if not self.differing:
            return f"Resume drift: 0 of {self.compared} steps; the loss was repeated to the bit."
        return (
            f"Resume drift: {self.differing} of {self.compared} steps differ from the attempt before,"
            f" from step {self.first} on and by at most {self.largest:.2g}."
        )


def remember(raw: sqlite3.Connection, run_id: int, after_step: int) -> None:
    """Call before the points after `after_step` are dropped. What an earlier resume still waits for is kept as well."""
    steps, values = series.since(raw, run_id, after_step + 1, {KEY}).get(KEY, _nothing())
    waiting, losses = _waiting(raw, run_id)
    older = ~np.isin(waiting, steps) & (waiting > after_step)
    steps, values = np.concatenate((waiting[older], steps)), np.concatenate((losses[older], values))
    raw.execute("DELETE FROM resent WHERE run_id = ?", (run_id,))
    if len(steps):
        order = np.argsort(steps)
        packed = (steps[order].astype("<i8").tobytes(), values[order].astype("<f8").tobytes())
        raw.execute(
            'INSERT INTO resent (run_id, steps, "values", compared, differing, first, largest)'
            " VALUES (?, ?, ?, 0, 0, NULL, 0.0)",
            (run_id, *packed),
        )


def compare(raw: sqlite3.Connection, run_id: int, steps: Steps, values: Values) -> Drift | None:
    """Newly arrived losses against those taken back; the result once the last of them has come again. Cheap without any."""
    row = raw.execute("SELECT compared, differing, first, largest FROM resent WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        return None
    waiting, losses = _waiting(raw, run_id)
    both, new, old = np.intersect1d(steps, waiting, return_indices=True)
    differs = ~((values[new] == losses[old]) | (np.isnan(values[new]) & np.isnan(losses[old])))
    compared, differing, first, largest = row
    if differs.any():
        first = int(both[differs][0]) if first is None else first
        with np.errstate(invalid="ignore"):
            gaps = np.abs(values[new][differs] - losses[old][differs])
        largest = max(largest, float(np.where(np.isnan(gaps), np.inf, gaps).max()))
    drift = Drift(compared + len(both), differing + int(differs.sum()), first, largest)
    if int(steps.max()) >= int(waiting[-1]):
        raw.execute("DELETE FROM resent WHERE run_id = ?", (run_id,))
        return drift
    raw.execute(
        "UPDATE resent SET compared = ?, differing = ?, first = ?, largest = ? WHERE run_id = ?", (*drift, run_id)
    )
    return None


def forget(raw: sqlite3.Connection, run_id: int) -> None:
    """What was taken back had another recipe: what comes is another curve, and its differences are no drift."""
    raw.execute("DELETE FROM resent WHERE run_id = ?", (run_id,))


def extended_since(raw: sqlite3.Connection, run_id: int) -> bool:
    """Whether the run's schedule was stretched after the points that are there now were made."""
    row = raw.execute(
        "SELECT max(CASE kind WHEN 'extended' THEN id END) > coalesce(max(CASE kind WHEN 'resume' THEN id END), 0)"
        " FROM events WHERE run_id = ? AND kind IN ('extended', 'resume')",
        (run_id,),
    ).fetchone()
    return bool(row[0])


def _waiting(raw: sqlite3.Connection, run_id: int) -> tuple[Steps, Values]:
    row = raw.execute('SELECT steps, "values" FROM resent WHERE run_id = ?', (run_id,)).fetchone()
    if row is None:
        return _nothing()
    return np.frombuffer(row[0], "<i8").astype(np.int64), np.frombuffer(row[1], "<f8").astype(np.float64)


def _nothing() -> tuple[Steps, Values]:
    return np.empty(0, np.int64), np.empty(0, np.float64)
