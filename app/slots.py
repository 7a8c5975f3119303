"""Runs on several devices: whose turn it is, and why one waits.

First come, first served: a run that asks for more devices than are free at the moment is not overtaken by later
runs on a worker that could hold it. What that worker has free stays free until it is enough.
"""

import sqlite3

from app import feed
from app.contract import ids
from app.db import Tx
from app.tables import Run, Worker

DEVICES = "coalesce(json_extract(runs.config, '$.system.devices'), 1)"
"""SQL: how many devices a run asks for; configurations from before there was a choice ask for one."""
_WAITS = ("waiting for a worker with ", "waiting until ")


def explain(tx: Tx) -> None:
    """Say on the page of every queued run that asks for several devices what it waits for. Writes only what is new."""
    tx.session.flush()
    for run_id, worker_id, devices, detail in tx.raw.execute(_WAITING).fetchall():
        others = [part for part in detail.split("; ") if part and not part.startswith(_WAITS)]
        told = "; ".join([*others, _reason(tx, devices, worker_id)])
        if told != detail:
            tx.session.get_one(Run, run_id, populate_existing=True).detail = told
            feed.post(tx, "run", run_id, "state")


_WAITING = f"""
    SELECT runs.id, jobs.worker_id, {DEVICES} AS devices, runs.detail FROM jobs
    JOIN runs ON runs.id = jobs.run_id JOIN datasets ON datasets.id = jobs.dataset_id
    WHERE jobs.state = 'queued' AND jobs.kind = 'train' AND datasets.state = 'ready' AND devices > 1
"""  # noqa: S608  # of this module's own words


def _reason(tx: Tx, devices: int, worker_id: int | None) -> str:
    if worker_id is not None:  # it asks for this worker, or its checkpoint lies there
        worker = tx.session.get_one(Worker, worker_id)
        if len(worker.devices) < devices:
            return f"waiting for a worker with {devices} devices (it needs {ids.show('worker', worker_id)}, which has {len(worker.devices)})"
        return f"waiting until {devices} devices of {ids.show('worker', worker_id)} are free"
    most = _most_devices(tx.raw)
    if most < devices:
        return f"waiting for a worker with {devices} devices (the largest so far has {most})"
    return f"waiting until {devices} devices of one worker are free"


def _most_devices(raw: sqlite3.Connection) -> int:
    row = raw.execute("SELECT coalesce(max(json_array_length(devices)), 0) FROM workers WHERE enabled").fetchone()
    return int(row[0])
