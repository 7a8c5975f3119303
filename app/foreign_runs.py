"""Logs from elsewhere become runs: read at once or behind the reader's back, followed live, completed by what people know.

telemetry["imported"] holds what is known of such a run (app/foreign/account.py) and, under "told", what that was made of.
"""

import io
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from app import appending, artifacts, events, feed, ingest, jobs, runs, series
from app.contract import ids
from app.contract.elsewhere import FactsChange, LogImport, RunFacts
from app.contract.protocol import LEASE_S
from app.contract.states import JobKind, RunState
from app.db import Database, Tx
from app.errors import Conflict, FieldError, Invalid, PlateauError, TooLarge
from app.foreign.account import Account, account, imported
from app.foreign.log import Column, Curves, Log, NotALog, Note
from app.foreign.reader import read
from app.tables import Job, Run

S = RunState
SMALL = 16 << 20
"""Bytes that are read while the client waits; a longer log is read behind it, and its run says how far that is."""
LARGEST = 4 << 30
SAY_EVERY_S = 1.0
KINDS = {"nanogpt": "nanoGPT", "table": "CSV", "wandb": "W&B", "tensorboard": "TensorBoard"}
_log = logging.getLogger(__name__)


def take_in(
    db: Database,
    store: Path,
    asked: LogImport,
    *,
    data: bytes | None = None,
    clock: Callable[[], float],
    behind: "Behind",
) -> int:
    """The new run's number; `data` is the log where it came as bytes. Raises NotALog, Invalid, TooLarge."""
    now = clock()
    if asked.live:
        return db.write(lambda tx: _follow(tx, asked, now=now).id)
    if asked.sha256 is not None:
        path = artifacts.path(store, asked.sha256)
        if not path.is_file():
            raise Invalid([FieldError("/sha256", "is no file that was uploaded; PUT it to /artifacts first")])
        if (size := path.stat().st_size) > LARGEST:
            raise TooLarge(f"A log has at most {LARGEST >> 30} GiB; this one has {size / (1 << 30):.1f}.")
        if size > SMALL:
            number = db.write(lambda tx: _begin(tx, asked, now=now).id)
            behind.submit(number, path, asked)
            return number
        data = path.read_bytes()
    elif asked.text is not None:
        data = asked.text.encode("utf-8", "replace")
    elif data is None:
        raise Invalid([FieldError("/text", "is missing: give the log's text, or the sha256 of its upload")])
    curves = Curves()
    log = read(io.BytesIO(data), curves)

    def enter(tx: Tx) -> int:
        run = _begin(tx, asked, now=now)
        put(tx, run.id, curves.all())
        _end(tx, run, log.as_json(), asked, now=now)
        return run.id

    return db.write(enter)


def _begin(tx: Tx, asked: LogImport, *, now: float) -> Run:
    """A run that is being read."""
    run = _new(account(_nothing(), config=asked.config, args=asked.args), asked, source="imported", now=now)
    run.telemetry = {"imported": {"reading": True}}
    runs.enter(tx, run, key=None, body_sha256="", now=now)
    runs.transition(tx, run, S.starting, detail="the log is being read", now=now)
    return run


def _nothing() -> dict[str, Any]:
    return Log(Curves()).as_json()


def _new(found: Account, asked: LogImport, *, source: str, now: float) -> Run:
    return Run(
        name=asked.name or "Imported log", state=S.queued.value, detail="a log has come in", source=source,
        config=found.config.model_dump(mode="json"), tags=[], notes="", dataset_id=None,
        created_at=now, updated_at=now, step=0, steps=found.steps, telemetry={},
    )  # fmt: skip


def put(tx: Tx, run_id: int, columns: Mapping[str, Column]) -> None:
    """Points of a log, all of them."""
    if not columns:
        return
    appending.append(tx.raw, run_id, columns)
    last = max(int(steps.max()) for steps, _ in columns.values())
    tx.raw.execute("UPDATE runs SET step = max(step, ?) WHERE id = ?", (last, run_id))
    speeds = columns.get("train/tok_per_s")
    if speeds is not None and np.isfinite(speeds[1]).any():
        tx.raw.execute("UPDATE runs SET tok_per_s = ? WHERE id = ?", (float(np.nanmedian(speeds[1])), run_id))
    if "val/loss" in columns:
        ingest.note_best(tx, run_id)
    feed.post(tx, "run", run_id, "points", min(int(steps.min()) for steps, _ in columns.values()))


def _end(tx: Tx, run: Run, log: Mapping[str, Any], asked: LogImport, *, now: float) -> None:
    """The log has been read: the run gets its configuration, its facts and the state that the log shows."""
    tx.session.flush()
    tx.session.refresh(run)
    told = {
        "log": dict(log),
        "config": asked.config,
        "args": asked.args,
        "supplied": asked.facts.model_dump(exclude_none=True),
    }
    found = _tell(run, told)
    if asked.name is None:
        run.name = f"{KINDS.get(log['format'], log['format'])}, {run.step:,} steps"
    for step in log["resumes"]:
        events.record(tx, run.id, "resume", "resumed, as the log says", at=now, step=step)
    runs.transition(tx, run, S(found.state), reason=found.reason, detail=found.detail[:1000], now=now)


def _tell(run: Run, told: dict[str, Any]) -> Account:
    """Put together what is told, and write it into the run."""
    found = account(told["log"], config=told["config"], args=told["args"], supplied=told["supplied"])
    run.config, run.steps = found.config.model_dump(mode="json"), found.steps
    run.telemetry = run.telemetry | {"imported": imported(found) | {"format": told["log"]["format"], "told": told}}
    return found


def supply(tx: Tx, run: Run, change: FactsChange, *, now: float) -> None:
    """Facts that a person adds, changes (another value) or takes back (None). Raises Conflict."""
    told = run.telemetry.get("imported", {}).get("told")
    if told is None:
        raise Conflict(f"{ids.show('run', run.id)} is not from elsewhere: its facts are known, not supplied.")
    told_now = change.facts.model_fields_set
    given = {name: getattr(change.facts, name) for name in RunFacts.model_fields if name in told_now}
    told = told | {"supplied": {name: value for name, value in (told["supplied"] | given).items() if value is not None}}
    told |= {name: getattr(change, name) for name in ("config", "args") if getattr(change, name) is not None}
    told["log"] = told["log"] | {"last_step": max(run.step, told["log"]["last_step"])}
    _tell(run, told)
    run.updated_at = max(now, run.updated_at + 1)  # a diagnosis made before is stale
    words = [f"{name} = {value}" for name, value in given.items()]
    words += [name for name in ("config", "args") if getattr(change, name)]
    tx.session.flush()
    if words:
        events.record(tx, run.id, "facts", f"supplied: {', '.join(words)}"[:1000], at=now)
    feed.post(tx, "run", run.id, "state")


def notes(run: Run) -> list[Note]:
    """What was skipped or assumed when its log was read."""
    return [Note(one["kind"], one["values"]) for one in run.telemetry.get("imported", {}).get("notes", ())]


def _follow(tx: Tx, asked: LogImport, *, now: float) -> Run:
    """A log that is still growing: an external run; its client holds the claim and posts batches, as any client does."""
    log = _nothing() | asked.log.model_dump(exclude={"facts"}, mode="json")
    log["facts"] = asked.log.facts.model_dump(exclude_none=True)
    told = {
        "log": log,
        "config": asked.config,
        "args": asked.args,
        "supplied": asked.facts.model_dump(exclude_none=True),
    }
    run = _new(account(log, config=asked.config, args=asked.args), asked, source="external", now=now)
    if asked.name is None:
        run.name = "Followed log"
    _tell(run, told)
    runs.enter(tx, run, key=None, body_sha256="", now=now)
    job = jobs.enqueue(tx, JobKind.train, run_id=run.id, now=now)
    jobs.hold(tx, job, None, now=now, lease_s=LEASE_S)
    run.started_at = now
    runs.transition(tx, run, S.starting, detail="followed by a client", now=now)
    return run


def claim(tx: Tx, run: Run, lease_s: float) -> dict[str, Any] | None:
    """With which the client of an external run posts its batches; None where there is none."""
    job: Job | None = jobs.current_job(tx, run.id) if run.source == "external" else None
    if job is None or job.claim_id is None:
        return None
    return {"job": ids.show("job", job.id), "claim_id": job.claim_id, "attempt": job.attempt, "lease_s": lease_s}


class _Stored:
    """A Sink: straight into the database, a transaction for each handful of points."""

    def __init__(self, db: Database, run_id: int) -> None:
        self._db, self._run_id = db, run_id

    def take(self, columns: Mapping[str, Column]) -> None:
        self._db.write(lambda tx: put(tx, self._run_id, columns))

    def restart(self, after_step: int) -> None:
        def cut(tx: Tx) -> None:
            series.truncate(tx.raw, self._run_id, after_step)
            tx.raw.execute("UPDATE runs SET step = ? WHERE id = ?", (after_step, self._run_id))
            ingest.note_best(tx, self._run_id)
            feed.post(tx, "run", self._run_id, "truncate", after_step)

        self._db.write(cut)


class _Stopping(Exception):
    """The server is stopping."""


class Behind:
    """Reads long logs one after the other, on a thread that exists only while there are some."""

    def __init__(self, db: Database, clock: Callable[[], float]) -> None:
        self._db, self._clock = db, clock
        self._stopping = threading.Event()
        self._threads: ThreadPoolExecutor | None = None

    def submit(self, run_id: int, path: Path, asked: LogImport) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(1, "plateau-importer")
        self._threads.submit(self._read, run_id, path, asked)

    def stop(self) -> None:
        self._stopping.set()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def _read(self, run_id: int, path: Path, asked: LogImport) -> None:
        size, said_at = path.stat().st_size, time.monotonic()

        def progress(done: int) -> None:
            nonlocal said_at
            if self._stopping.is_set():
                raise _Stopping
            if time.monotonic() - said_at >= SAY_EVERY_S:
                said_at = time.monotonic()
                detail = f"the log is being read: {done / size:.0%} of {size / (1 << 20):,.0f} MiB"
                self._db.write(lambda tx: _say(tx, run_id, detail))

        try:
            with path.open("rb") as stream:
                log = read(stream, _Stored(self._db, run_id), progress)
            told = log.as_json()
            self._db.write(lambda tx: _end(tx, tx.session.get_one(Run, run_id), told, asked, now=self._clock()))
        except _Stopping:
            return  # `interrupted` says so at the next start
        except (NotALog, OSError) as error:
            why = error.detail if isinstance(error, NotALog) else f"The log could not be read: {error}."
            self._db.write(lambda tx: _failed(tx, run_id, why, now=self._clock()))
        except PlateauError as error:  # a full disk, a stopping database
            _log.warning("importing %s was not possible: %s", ids.show("run", run_id), error)


def _say(tx: Tx, run_id: int, detail: str) -> None:
    tx.raw.execute("UPDATE runs SET detail = ? WHERE id = ?", (detail, run_id))
    feed.post(tx, "run", run_id, "state")


def _failed(tx: Tx, run_id: int, why: str, *, now: float) -> None:
    run = tx.session.get_one(Run, run_id, populate_existing=True)
    run.telemetry = {key: value for key, value in run.telemetry.items() if key != "imported"}
    runs.transition(tx, run, S.failed, reason="error", detail=why[:1000], now=now)


def interrupted(tx: Tx, *, now: float) -> None:
    """At the server's start: what was being read when it stopped."""
    found = tx.raw.execute(
        "SELECT id FROM runs WHERE source = 'imported' AND state = 'starting' AND json_extract(telemetry, '$.imported.reading')"
    )
    for (number,) in found.fetchall():
        _failed(tx, number, "The server stopped while it read the log; import it again.", now=now)
