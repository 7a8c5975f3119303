"""Whose numeric path a run takes over: its sweep's first run's, that of the run it forks, or of the one it was cloned from.

Two arms of a comparison that differ by the library of their products, or by the pieces their batch was read in, differ
by that too. So what one run has chosen before its step 0 is told to the others at their claim.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from sqlalchemy import select

from app import forks
from app.contract import ids
from app.contract.arithmetic import ASKED_FOR, CHOSEN, CUT, LEFT_OPEN, SHARED_OUT
from app.db import Tx
from app.tables import Run, Worker


class Sibling(NamedTuple):
    run: str  #: r-0003
    telemetry: Mapping[str, Any]  #: holds its numeric path once it has begun
    system: Mapping[str, Any]  #: of its configuration: what it has left open
    same_batch: bool  #: whether its configuration cuts the batch alike


def path(tx: Tx, run: Run, worker: Worker) -> dict[str, Any] | None:
    """A claim's `numeric_path` on this worker; None where nobody has begun yet, or on another kind of device."""
    asked = run.config["system"]["device"]
    kinds = {str(device.get("kind")) for device in worker.devices} if asked == "auto" else {asked}
    return nearest((_told(run, one) for one in _relatives(tx, run)), kinds)


def nearest(siblings: Iterable[Sibling], kinds: Collection[str]) -> dict[str, Any] | None:
    """The numeric path of the first that has begun on a device of these kinds, with whose it is."""
    for one in siblings:
        if one.telemetry.get("device") not in kinds:
            continue
        keys = (*ASKED_FOR, *SHARED_OUT, *CHOSEN, *(CUT if one.same_batch else ()))
        asked = {key: one.system[key] for key in LEFT_OPEN if key in one.system}
        return {"run": one.run, "asked": asked} | {key: one.telemetry[key] for key in keys if key in one.telemetry}
    return None


def _told(run: Run, other: Run) -> Sibling:
    same_batch = other.config["batch"] == run.config["batch"]
    return Sibling(ids.show("run", other.id), other.telemetry, other.config["system"], same_batch)


def _relatives(tx: Tx, run: Run) -> Iterator[Run]:
    """Nearest first. The run itself leads: an attempt that starts afresh repeats the one before it."""
    yield run
    if run.sweep_id is not None:
        yield from tx.session.scalars(
            select(Run).where(Run.sweep_id == run.sweep_id, Run.id != run.id).order_by(Run.started_at, Run.id)
        )
    yield from (parent for parent, _ in forks.ancestors(tx, run))
    source = run
    while source.cloned_from is not None:
        source = tx.session.get_one(Run, source.cloned_from)
        yield source
