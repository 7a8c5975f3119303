"""A run's curves as the diagnosis reads them: whole where they are short; of long ones the beginning, the end, and looks between.

A million steps are more than a verdict needs. What is read between beginning and end are whole chunks, so that neighbours
stay neighbours and a running median means something: some at equal distances, those with the highest peaks, and those that
hold what is not finite. So no spike and no NaN is missed, and a diagnosis costs the same for a long run as for a short one.
"""

import sqlite3
from collections.abc import Iterable

import numpy as np

from app import chunkrows
from app.diagnosis.observations import Curve

WHOLE = 24
"""Chunks, about 1,024 points each, up to which a curve is read as it is."""
HEAD, TAIL, BETWEEN, PEAKS, TROUBLED = 4, 10, 6, 3, 2
"""Chunks of a longer one."""

KEYS = (
    "train/loss", "train/lr", "train/grad_norm", "train/loss_scale", "train/skipped", "train/tok_per_s", "train/step_ms",
    "train/mfu", "eval/train_loss", "eval/train_loss_se", "val/loss", "val/loss_se", "x/wall_s",
)  # fmt: skip
FAMILIES = ("rms/", "update_ratio/", "rotation/", "decay_share/", "decay/", "noise/")


def curves(raw: sqlite3.Connection, run_id: int) -> dict[str, Curve]:
    """{key: curve} of what the rules look at."""
    rows = raw.execute("SELECT id, key FROM series WHERE run_id = ? AND count > 0", (run_id,)).fetchall()
    return {key: _curve(raw, number) for number, key in rows if key in KEYS or key.startswith(FAMILIES)}


def counts(raw: sqlite3.Connection, run_id: int) -> dict[str, int]:
    """{key: points in all}: how rare a peak is depends on how many there were to choose from."""
    rows = raw.execute("SELECT key, count FROM series WHERE run_id = ? AND count > 0", (run_id,)).fetchall()
    return {key: count for key, count in rows if key in KEYS}


def _curve(raw: sqlite3.Connection, series_id: int) -> Curve:
    (last,) = raw.execute("SELECT max(number) FROM chunks WHERE series_id = ?", (series_id,)).fetchone()
    if last < WHOLE:
        return Curve(*chunkrows.between(raw, series_id, 0, last))
    return Curve(*chunkrows.decoded(chunkrows.numbered(raw, series_id, _chosen(raw, series_id, last))))


def _chosen(raw: sqlite3.Connection, series_id: int, last: int) -> Iterable[int]:
    spread = np.linspace(HEAD, last - TAIL, BETWEEN + 2)[1:-1].astype(int).tolist()
    peaks = raw.execute(
        "SELECT number FROM chunks WHERE series_id = ? AND number BETWEEN ? AND ? AND count > non_finite"
        " ORDER BY max - sum / (count - non_finite) DESC LIMIT ?",
        (series_id, HEAD, last - TAIL, PEAKS),
    ).fetchall()
    troubled = raw.execute(
        "SELECT number FROM chunks WHERE series_id = ? AND non_finite > 0 ORDER BY number LIMIT ?",
        (series_id, TROUBLED),
    ).fetchall()
    ends = {*range(HEAD), *range(last - TAIL + 1, last + 1)}
    return sorted(ends | set(spread) | {row[0] for row in (*peaks, *troubled)})
