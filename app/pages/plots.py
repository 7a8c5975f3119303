"""What the charts' scripts must know of a run beyond its points, for the run page and the compare page alike."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from app import axes, decay_outlook, forks
from app.contract import ids
from app.contract.config import RunConfig
from app.db import Tx
from app.tables import Event, Run

MARKED = ("resume", "alarm", "note")
"""Kinds of events that stand on the chart."""


def plan(tx: Tx, run: Run) -> dict[str, Any]:
    """How steps join the axes, and where the run is planned to end."""
    batch = run.config["batch"]
    return {
        "run": ids.show("run", run.id),
        "name": run.name,
        "steps": run.steps,
        "firstStep": int(run.telemetry.get("first_step", 0)),
        "tokensPerStep": batch["micro_batch"] * batch["accumulation"] * run.config["model"]["block_size"],
        "totalTokens": forks.tokens_at(run, run.steps),
        "trainTokens": axes.train_tokens(tx, run),
        "clock": axes.clock(tx, run.id),
        "weightDecay": run.config["optim"]["weight_decay"],
    }


def ahead(config: RunConfig, first: int) -> list[int]:
    """Steps at which a plan is drawn: from `first` to the end, with the end of the warm-up."""
    schedule = config.schedule
    even = {first + round(i * (schedule.steps - first) / 160) for i in range(161)}
    return sorted(even | {max(first, schedule.warmup_steps)})


def settling(config: RunConfig, steps: Sequence[int]) -> list[float | None]:
    """The size that decay and updates bring the blocks' matrices to, at each step, whatever the coupling and the schedule."""
    return [decay_outlook.settles_at(config, max(0, step - 1)) for step in steps]


def marks(tx: Tx, run: Run) -> list[dict[str, Any]]:
    """Resumes, alarms and notes with the step they stand at; an alarm about memory is an "oom"."""
    wanted = select(Event).where(Event.run_id == run.id, Event.step.is_not(None), Event.kind.in_(MARKED))
    return [
        {
            "step": one.step,
            "kind": "oom" if one.kind == "alarm" and "before" in one.data else one.kind,
            "text": one.text,
        }
        for one in tx.session.scalars(wanted.order_by(Event.id))
    ]


def places(numbers: list[int]) -> dict[int, tuple[int, int]]:
    """(colour 1 to 8, dash 0 to 2) for each run, in the order of the address: a run's own colour by its number; one that
    is taken already gives way to the next free one. So a run that is added never changes the others' colours."""
    taken: dict[int, tuple[int, int]] = {}
    for number in numbers:
        start = (number - 1) % 8
        tried = [((start + i) % 8 + 1, dash) for dash in range(3) for i in range(8)]
        taken[number] = next((one for one in tried if one not in taken.values()), tried[0])
    return taken
