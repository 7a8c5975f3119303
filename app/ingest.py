"""What workers report: a batch is parsed without ceremony and accepted in one transaction.

Fence, sequence, points, log, events, lease, feed rows: all of it or nothing. What is acknowledged is on disk;
the same batch delivered again changes nothing. `points` is the hot path: it stays on the driver's connection.
"""

import json
import math
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app import (
    appending,
    checkpoints,
    datasets,
    drift,
    evaluations,
    events,
    feed,
    imports,
    jobs,
    reports,
    runs,
    sample_texts,
    samples,
    series,
    workers,
)
from app.contract import protocol
from app.contract.metrics import KEY
from app.contract.protocol import Ack, Event, LogLine
from app.contract.states import JobKind
from app.db import Tx
from app.errors import FieldError, Invalid, SeqGap, TooLarge, from_pydantic

MOST_LINES = 1000
"""Log lines, and events, in one batch."""
MOST_SERIES = 2000
"""Metric keys of one run."""
LAST_STEP = 2**53

Column = tuple[NDArray[np.int64], NDArray[np.float64]]


class _Envelope(BaseModel):
    """Everything of a batch but its columns, which are too many for pydantic."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    claim_id: str = Field(min_length=1, max_length=100)
    attempt: int = Field(ge=1)
    seq: int = Field(ge=1, le=LAST_STEP)
    log: list[LogLine] = Field([], max_length=MOST_LINES)
    events: list[Event] = Field([], max_length=MOST_LINES)
    telemetry: dict[str, Any] = {}


class ParsedBatch(NamedTuple):
    claim_id: str
    attempt: int
    seq: int
    columns: dict[str, Column]
    log: list[LogLine]
    events: list[Event]
    telemetry: dict[str, Any]


def parse_batch(body: bytes) -> ParsedBatch:
    """Raises TooLarge, or Invalid with a pointer to what is wrong."""
    if len(body) > protocol.BATCH_MAX_BYTES:
        raise TooLarge(f"A batch has at most {protocol.BATCH_MAX_BYTES:,} bytes; this one has {len(body):,}.")
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Invalid([FieldError("", f'is not JSON: {error}. Non-finite values travel as the string "NaN"')]) from None
    if not isinstance(message, dict):
        raise Invalid([FieldError("", "must be an object")])
    columns = _columns(message.pop("columns", {}))
    try:
        envelope = _Envelope.model_validate(message)
    except ValidationError as error:
        raise from_pydantic(error, "", _Envelope) from None
    return ParsedBatch(
        envelope.claim_id, envelope.attempt, envelope.seq, columns, envelope.log, envelope.events, envelope.telemetry
    )


def _columns(found: Any) -> dict[str, Column]:
    if not isinstance(found, dict):
        raise Invalid([FieldError("/columns", "must be an object: {key: {step: […], value: […]}}")])
    columns, points = {}, 0
    read: tuple[list[int], NDArray[np.int64]] | None = None  # most often all keys have the same steps
    for key, column in found.items():
        pointer = f"/columns/{key[:80].replace('~', '~0').replace('/', '~1')}"
        if len(key) > 200 or not KEY.fullmatch(key):
            raise Invalid([FieldError(pointer, "is not a metric key: section/name, at most 200 characters")])
        if not isinstance(column, dict) or column.keys() != {"step", "value"}:
            raise Invalid([FieldError(pointer, "must be {step: […], value: […]}")])
        steps, values = column["step"], column["value"]
        if not isinstance(steps, list) or not isinstance(values, list) or len(steps) != len(values):
            raise Invalid([FieldError(pointer, "must have as many steps as values")])
        points += len(steps)
        if points > protocol.BATCH_MAX_POINTS:
            raise Invalid(
                [FieldError("/columns", f"has more than {protocol.BATCH_MAX_POINTS:,} points; send several batches")]
            )
        if steps:
            if read is None or read[0] != steps or set(map(type, steps)) != {int}:  # 1 == True
                read = steps, _steps(steps, pointer)
            columns[key] = (read[1], _values(values, pointer))
    return columns


def _steps(steps: list[Any], pointer: str) -> NDArray[np.int64]:
    # `type`, not isinstance: true is no step
    if set(map(type, steps)) != {int} or min(steps) < 0 or max(steps) > LAST_STEP:
        raise Invalid([FieldError(f"{pointer}/step", "must hold whole numbers from 0 to 2^53")])
    return np.array(steps, dtype=np.int64)


def _values(values: list[Any], pointer: str) -> NDArray[np.float64]:
    if set(map(type, values)) <= {float, int}:
        return np.array(values, dtype=np.float64)
    try:
        return np.array([protocol.NON_FINITE[value] if type(value) is str else _plain(value) for value in values])
    except (KeyError, TypeError):
        raise Invalid(
            [FieldError(f"{pointer}/value", 'must hold numbers, or the strings "NaN", "Infinity", "-Infinity"')]
        ) from None


def _plain(value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError(type(value).__name__)
    return float(value)


def accept(tx: Tx, job_id: int, batch: ParsedBatch, *, now: float, lease_s: float) -> Ack:
    """One transaction. Raises Fenced, SeqGap, Invalid; a batch that was accepted before is acknowledged again."""
    held = jobs.fence(tx.raw, job_id, batch.claim_id)
    if batch.seq > held.acked_seq + 1:
        raise SeqGap(held.acked_seq)
    acked = max(held.acked_seq, batch.seq)
    jobs.renew(tx.raw, job_id, acked_seq=acked, now=now, lease_s=lease_s)
    if held.claimed_by is not None:
        workers.heard(tx, held.claimed_by, now=now)
    if held.kind == JobKind.train.value:
        assert held.run_id is not None
        assert held.run_state is not None
        fresh = batch.seq == acked and acked > held.acked_seq
        if fresh:
            _run(tx, held, held.run_id, batch, now)
        runs.heard(tx, held.run_id, held.run_state, training=fresh and bool(batch.columns), now=now)
    elif batch.seq > held.acked_seq:
        _other(tx, held, batch, now)
    return Ack(acked_seq=acked, lease_s=lease_s, commands=held.commands)


def _run(tx: Tx, held: jobs.Held, run_id: int, batch: ParsedBatch, now: float) -> None:
    for index, event in enumerate(batch.events):
        _event(tx, held, run_id, event, f"/events/{index}/data", now)
    if batch.columns:
        _points(tx, held, run_id, batch.columns, now)
    if batch.log:
        events.log(tx, batch.log, attempt=held.attempt, run_id=run_id)
    if batch.telemetry:
        # json_patch would drop keys whose new value is null, which says "not known any more"
        old = json.loads(tx.raw.execute("SELECT telemetry FROM runs WHERE id = ?", (run_id,)).fetchone()[0]) or {}
        tx.raw.execute("UPDATE runs SET telemetry = ? WHERE id = ?", (json.dumps(old | batch.telemetry), run_id))


def _points(tx: Tx, held: jobs.Held, run_id: int, columns: dict[str, Column], now: float) -> None:
    raw = tx.raw
    if appending.append(raw, run_id, columns):
        (series_now,) = raw.execute("SELECT count(*) FROM series WHERE run_id = ?", (run_id,)).fetchone()
        if series_now > MOST_SERIES:  # what was written so far is taken back with the refusal
            raise Invalid([FieldError("/columns", f"would give the run more than {MOST_SERIES:,} metrics")])
    all_steps = {id(steps): steps for steps, _ in columns.values()}.values()  # most often one array for all keys
    last = max(int(steps.max()) for steps in all_steps)
    raw.execute("UPDATE runs SET step = max(step, ?), updated_at = ? WHERE id = ?", (last, now, run_id))
    if "train/tok_per_s" in columns:
        speeds = columns["train/tok_per_s"][1]
        speeds = speeds[np.isfinite(speeds)]
        if len(speeds):  # the median: one slow step is no news
            raw.execute("UPDATE runs SET tok_per_s = ? WHERE id = ?", (float(np.median(speeds)), run_id))
    if "val/loss" in columns:
        note_best(tx, run_id)
    if drift.KEY in columns and (found := drift.compare(raw, run_id, *columns[drift.KEY])) is not None:
        data = found._asdict() | {"largest": None if math.isinf(found.largest) else found.largest}
        events.record(tx, run_id, "drift", found.text, at=now, attempt=held.attempt, step=last, data=data)
    feed.post(tx, "run", run_id, "points", min(int(steps.min()) for steps in all_steps))


def note_best(tx: Tx, run_id: int) -> None:
    """The lowest validation loss so far, from the stored series, so that it is right after a truncation too."""
    summary = series.summaries(tx.raw, run_id, ("val/loss",)).get("val/loss")
    best = error = None
    step = summary.min_step if summary else None
    if summary is not None and step is not None:
        best = summary.min
        at = series.read(tx.raw, run_id, "val/loss_se", step, step)
        error = float(at.value[0]) if len(at.value) and np.isfinite(at.value[0]) else None
    tx.raw.execute(
        "UPDATE runs SET best_val = ?, best_val_se = ?, best_step = ? WHERE id = ?", (best, error, step, run_id)
    )  # fmt: skip


def restart(tx: Tx, run_id: int, after_step: int, *, attempt: int | None = None) -> int:
    """Training goes on from `after_step`: what older attempts wrote after it is taken back. Returns points dropped."""
    if drift.extended_since(tx.raw, run_id):
        drift.forget(tx.raw, run_id)
    else:
        drift.remember(tx.raw, run_id, after_step)
    dropped = series.truncate(tx.raw, run_id, after_step)
    evaluations.truncate(tx.raw, run_id, after_step)
    samples.taken_back(tx, run_id, after_step)
    tx.raw.execute("UPDATE runs SET step = ? WHERE id = ?", (max(0, after_step), run_id))
    note_best(tx, run_id)
    if attempt is not None:
        tx.raw.execute(
            "UPDATE attempts SET first_step = ? WHERE run_id = ? AND number = ?", (max(0, after_step), run_id, attempt)
        )
    feed.post(tx, "run", run_id, "truncate", after_step)
    return dropped


def _event(tx: Tx, held: jobs.Held, run_id: int, event: Event, pointer: str, now: float) -> None:
    data = dict(event.data)
    match event.kind:
        case "resume":
            first = data.get("first_step", event.step)
            if type(first) is not int or not 0 <= first <= LAST_STEP:
                raise Invalid([FieldError(f"{pointer}/first_step", "must be the step that training goes on from")])
            data["dropped"] = restart(tx, run_id, first, attempt=held.attempt)
        case "checkpoint":
            checkpoints.saved(tx, run_id, held.claimed_by, data, now=now, pointer=pointer)
            data.pop("manifest", None)  # it stays with the checkpoint
        case "evaluation":  # kept by itself: a row per window is no news for the list of events
            evaluations.keep(tx.raw, run_id, event.step, data.get("losses"), pointer)
            return
        case "sample":  # kept by itself as well
            sample_texts.of_run(tx, run_id, event, pointer, now=now)
            return
        case "checkpoint_deleted":
            checkpoints.deleted(tx, run_id, data.get("attempt"), data.get("step"), now=now)
    events.record(tx, run_id, event.kind, event.text, at=now, attempt=held.attempt, step=event.step, data=data)


def _other(tx: Tx, held: jobs.Held, batch: ParsedBatch, now: float) -> None:
    """A batch of a job that trains nothing: progress and log lines."""
    if batch.columns:
        raise Invalid([FieldError("/columns", f"a {held.kind} job has no points")])
    if held.kind == JobKind.sample.value:  # what its process printed is no part of the run's log
        sample_texts.told(tx, held.id, batch.events)
        return
    if held.kind == JobKind.adopt.value:
        imports.told(tx, held, batch.events, now=now)
    if batch.log:
        events.log(tx, batch.log, attempt=held.attempt, run_id=held.run_id, dataset_id=held.dataset_id)
    if batch.telemetry and held.dataset_id is not None:
        progressed = reports.progressed if held.kind == JobKind.report.value else datasets.progressed
        progressed(tx, held.dataset_id, batch.telemetry)
