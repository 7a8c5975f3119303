"""A sweep as the API answers it: its specification, its runs' states, what can be asked of it."""

import math
from typing import Any

from app import shapes
from app.contract import ids
from app.contract.states import ENDED, RunState
from app.db import Tx
from app.sweeps import members, steering
from app.sweeps.arms import name_of
from app.sweeps.members import Member
from app.tables import Sweep


def sweep(tx: Tx, row: Sweep, *, whole: bool = True) -> dict[str, Any]:
    """`whole` adds its runs, one by one."""
    shown: dict[str, Any] = {
        "id": ids.show("sweep", row.id),
        "name": row.name,
        "state": row.state,
        "priority": row.priority,
        "notes": row.spec.get("notes", ""),
        "runs": progress(tx, row),
        "actions": list(steering.actions(row)),
        "created_at": shapes.iso(row.created_at),
        "updated_at": shapes.iso(row.updated_at),
        "ended_at": shapes.maybe_iso(row.ended_at),
    }
    if whole:
        shown["spec"] = row.spec
        shown["members"] = [_member(tx, one) for one in members.of(tx, row)]
    return shown


def progress(tx: Tx, row: Sweep) -> dict[str, Any]:
    """How many runs in each state, and the share of all steps that is done; without reading the runs themselves."""
    states: dict[str, int] = {}
    steps = done = linked = 0
    for state, count, planned, reached, links in tx.raw.execute(_PROGRESS, (row.id, row.id)):
        states[state] = count
        steps, linked = steps + planned, linked + links
        done += planned if state == RunState.finished else reached
    return {
        "total": sum(states.values()),
        "ended": sum(count for state, count in states.items() if RunState(state) in ENDED),
        "linked": linked,
        "states": {state.value: states[state] for state in RunState if state in states},
        "share": done / steps if steps else 0.0,
    }


_PROGRESS = """
    SELECT runs.state, count(*), sum(runs.steps), sum(runs.step), sum(sweep_links.sweep_id IS NOT NULL) FROM runs
    LEFT JOIN sweep_links ON sweep_links.run_id = runs.id AND sweep_links.sweep_id = ?
    WHERE (runs.sweep_id = ? OR sweep_links.sweep_id IS NOT NULL) AND runs.deleted_at IS NULL GROUP BY runs.state
"""


def _member(tx: Tx, one: Member) -> dict[str, Any]:
    final = members.final(tx, one.run)
    return {
        "run": ids.show("run", one.run.id),
        "name": one.run.name,
        "arm": one.arm,
        "label": name_of(one.arm),
        "seed_index": one.seed_index,
        "seed": one.run.config["system"]["seed"],
        "linked": one.linked,
        "state": one.run.state,
        "step": shapes.countable(one.run.step),
        "steps": shapes.countable(one.run.steps),
        "final_val": final if final is None or math.isfinite(final) else None,
        "diverged": final is not None and not math.isfinite(final),
    }
