"""What a step is on each axis of a chart: tokens, epochs, seconds of training, FLOPs, the time of day."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from app import series
from app.contract.metrics import X_AXES
from app.db import Tx
from app.tables import Attempt, Dataset, Event, Run

Axis = Literal["step", "tokens", "epochs", "wall_s", "clock", "flops"]
AXES: tuple[str, ...] = get_args(Axis)

Floats = NDArray[np.float64]


def ruler(tx: Tx, run_id: int, axis: str) -> Callable[[NDArray[np.int64]], Floats]:
    """A function from steps to x; NaN where the run does not tell. wall_s is training time since the run's first step,
    clock is Unix time, epochs are tokens over the dataset's training tokens."""
    match axis:
        case "epochs":
            per_epoch = train_tokens(tx, tx.session.get_one(Run, run_id)) or np.nan
            return lambda steps: series.x_at(tx.raw, run_id, "tokens", steps) / per_epoch
        case "clock":
            parts = clock(tx, run_id)
            return lambda steps: series.x_at(tx.raw, run_id, "wall_s", steps) + _offsets(parts, steps)
    assert axis in X_AXES, f"{axis} is no axis"
    return lambda steps: series.x_at(tx.raw, run_id, axis, steps)


def train_tokens(tx: Tx, run: Run) -> int | None:
    """Tokens of one epoch; None while the dataset is not prepared."""
    dataset = tx.session.get(Dataset, run.dataset_id) if run.dataset_id else None
    tokens = dataset.manifest["train"]["tokens"] if dataset is not None and dataset.manifest else 0
    return int(tokens) or None


def clock(tx: Tx, run_id: int) -> list[tuple[int, float]]:
    """(step, offset): after this step, and up to the next entry's, a moment is wall_s + offset in Unix time.

    Training time stands still between attempts, so each has an offset of its own. It is taken from what the server
    heard of the attempt at a known step; news can be late but never early, hence the smallest.
    """
    attempts = list(tx.session.scalars(select(Attempt).where(Attempt.run_id == run_id).order_by(Attempt.number)))
    heard = tx.session.execute(
        select(Event.attempt, Event.step, Event.at)
        .where(Event.run_id == run_id, Event.step.is_not(None), Event.kind.in_(("checkpoint", "best", "resume")))
        .order_by(Event.id)
        .limit(2000)
    )
    known: dict[int, list[tuple[int, float]]] = {}
    for number, step, moment in heard:
        if number is not None and step is not None:
            known.setdefault(number, []).append((step, moment))
    parts: list[tuple[int, float]] = []
    for attempt in attempts:
        first = attempt.first_step or 0
        seen = [one for one in known.get(attempt.number, []) if one[0] >= first] or [(first, attempt.started_at)]
        # what a resume took back belongs to the attempt that trained it again
        parts = [one for one in parts if one[0] < first]
        wall = series.x_at(tx.raw, run_id, "wall_s", [step for step, _ in seen])
        offset = float(np.min(np.array([moment for _, moment in seen]) - wall))
        if np.isfinite(offset):
            parts.append((first, offset))
    return parts


def _offsets(parts: list[tuple[int, float]], steps: NDArray[Any]) -> Floats:
    if not parts:
        return np.full(len(steps), np.nan)
    after, offset = (np.array(column) for column in zip(*parts, strict=True))
    # the step an attempt resumed from was trained before it
    place = np.clip(np.searchsorted(after, steps, "left") - 1, 0, len(parts) - 1)
    return np.asarray(offset[place], np.float64)
