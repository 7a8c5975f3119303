"""What happened to a run, in words: events (state changes, resumes, checkpoints, notes) and log lines."""

import json
from collections.abc import Iterable
from typing import Any

from app import feed
from app.contract.protocol import LogLine
from app.db import Tx


def record(
    tx: Tx,
    run_id: int,
    kind: str,
    text: str,
    *,
    at: float,
    attempt: int | None = None,
    step: int | None = None,
    data: dict[str, Any] | None = None,
) -> int:
    """Write an event and its feed row; returns the event's id. The run's row must be flushed before."""
    cursor = tx.raw.execute(
        "INSERT INTO events (run_id, attempt, at, step, kind, text, data) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (run_id, attempt, at, step, kind, text, json.dumps(data or {})),
    )
    event_id = cursor.lastrowid
    assert event_id is not None
    feed.post(tx, "run", run_id, "event", event_id)
    return event_id


def log(
    tx: Tx, lines: Iterable[LogLine], *, attempt: int, run_id: int | None = None, dataset_id: int | None = None
) -> None:
    """Append log lines to a run's or a dataset's log, with one feed row that points at the first."""
    first = 0
    for line in lines:
        cursor = tx.raw.execute(
            "INSERT INTO log (run_id, dataset_id, attempt, at, level, text) VALUES (?, ?, ?, ?, ?, ?)",
            (run_id, dataset_id, attempt, line.at, line.level, line.text),
        )
        first = first or cursor.lastrowid or 0
    if first and run_id is not None:
        feed.post(tx, "run", run_id, "log", first)
    elif first and dataset_id is not None:
        feed.post(tx, "dataset", dataset_id, "log", first)
