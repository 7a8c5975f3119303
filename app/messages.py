"""What a stream is told: rows of the feed, turned into encoded server-sent events for one topic.

A message is `event:` and `data:` lines without the empty line that ends it, so that the stream can put the
`id:` on the last one of a write. Points are read as they are now: the same step sent twice replaces itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from sqlalchemy import select

from app import sample_json, series, shapes
from app.contract import ids
from app.db import Tx
from app.feed import FeedRow
from app.tables import Dataset, Event, LogRow, Run, Sample, Worker

MOST_POINTS = 50_000
"""In one message; a page that missed more reads its charts again, down-sampled."""
MOST_LINES = 500
MOST_EVENTS = 200
MOST_SAMPLES = 20

Changes = Mapping[str, int]  #: kind → the smallest ref of its rows


def encode(event: str, data: Any) -> bytes:
    return b"event: " + event.encode() + b"\ndata: " + orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n"


def compose(tx: Tx, rows: Sequence[FeedRow], topic: int) -> bytes:
    """All messages about one run; with topic 0 the states of all runs, datasets and workers."""
    changes = _changes(rows)
    if topic:
        mine = changes.get(("run", topic))
        return b"\n".join(_run(tx, topic, mine)) + b"\n" if mine else b""
    told = [message for noun in ("run", "dataset", "worker") for message in _states(tx, noun, changes)]
    return b"\n".join(told) + b"\n" if told else b""


def _changes(rows: Sequence[FeedRow]) -> dict[tuple[str, int], dict[str, int]]:
    changes: dict[tuple[str, int], dict[str, int]] = {}
    for row in rows:
        mine = changes.setdefault((row.noun, row.noun_id), {})
        mine[row.kind] = min(row.ref, mine.get(row.kind, row.ref))
    return changes


def _run(tx: Tx, number: int, changes: Changes) -> list[bytes]:
    shown = ids.show("run", number)
    messages: list[bytes] = []
    if "truncate" in changes:
        messages.append(encode("truncate", {"run": shown, "after": changes["truncate"]}))
    if "points" in changes:
        columns = series.since(tx.raw, number, changes["points"])
        if sum(len(steps) for steps, _ in columns.values()) > MOST_POINTS:
            return [encode("resync", {"run": shown})]
        told = {key: {"step": steps, "value": values_json(values)} for key, (steps, values) in columns.items()}
        messages.append(encode("points", {"run": shown, "columns": told}))
    if "state" in changes or "points" in changes:
        messages += _run_states(tx, [number])
    if "log" in changes:
        lines = select(LogRow).where(LogRow.run_id == number, LogRow.id >= changes["log"]).order_by(LogRow.id.desc())
        newest = list(tx.session.scalars(lines.limit(MOST_LINES)))
        messages.append(encode("log", {"run": shown, "lines": [shapes.line(row) for row in reversed(newest)]}))
    if "event" in changes:
        events = select(Event).where(Event.run_id == number, Event.id >= changes["event"]).order_by(Event.id.desc())
        latest = list(tx.session.scalars(events.limit(MOST_EVENTS)))
        messages.append(encode("event", {"run": shown, "events": [shapes.event(row) for row in reversed(latest)]}))
    if "sample" in changes:
        texts = select(Sample).where(Sample.run_id == number, Sample.id >= changes["sample"]).order_by(Sample.id.desc())
        written = list(tx.session.scalars(texts.limit(MOST_SAMPLES)))
        messages.append(
            encode("sample", {"run": shown, "samples": [sample_json.sample(row) for row in reversed(written)]})
        )
    return messages


def values_json(values: Any) -> Any:
    """A float64 column for JSON: as it is when finite, else a list with the three strings."""
    finite = np.isfinite(values)
    if finite.all():
        return values
    return [value if ok else name_of(value) for value, ok in zip(values.tolist(), finite.tolist(), strict=True)]


def name_of(value: float) -> str:
    """ "NaN", "Infinity" or "-Infinity"."""
    if value != value:
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _states(tx: Tx, noun: str, changes: Mapping[tuple[str, int], Changes]) -> list[bytes]:
    numbers = sorted(number for (of, number), kinds in changes.items() if of == noun and "state" in kinds)
    if not numbers:
        return []
    if noun == "run":
        return _run_states(tx, numbers)
    if noun == "dataset":
        prepared = tx.session.scalars(select(Dataset).where(Dataset.id.in_(numbers)))
        shown = (shapes.dataset(row, manifest=False) for row in prepared)
        return [encode("state", {"dataset": one["id"], **one}) for one in shown]
    machines = list(tx.session.scalars(select(Worker).where(Worker.id.in_(numbers))))
    return [encode("state", {"worker": one["id"], **one}) for one in shapes.worker_list(tx, machines)]


_HEAVY = ("config", "notes", "telemetry")


def _run_states(tx: Tx, numbers: Sequence[int]) -> list[bytes]:
    rows = list(tx.session.scalars(select(Run).where(Run.id.in_(numbers)).order_by(Run.id)))
    return [
        encode("state", {"run": one["id"], **{name: value for name, value in one.items() if name not in _HEAVY}})
        for one in shapes.run_list(tx, rows)
    ]
