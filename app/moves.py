"""From each state of a run, where it may go and what a person may ask of it."""

from app.contract.states import RunState
from app.tables import Run

S = RunState
LEGAL: dict[RunState, frozenset[RunState]] = {
    S.queued: frozenset({S.starting, S.stopped, S.failed}),
    S.starting: frozenset({S.running, S.stopping, S.lost, S.queued, S.paused, S.finished, S.failed, S.stopped}),
    S.running: frozenset({S.stopping, S.lost, S.queued, S.paused, S.finished, S.failed, S.stopped}),
    S.stopping: frozenset({S.stopped, S.paused, S.finished, S.failed}),
    S.paused: frozenset({S.queued, S.stopped}),
    # a lost run's worker may come back within the grace period, or report its end
    S.lost: frozenset({S.starting, S.running, S.stopping, S.queued, S.paused, S.finished, S.failed, S.stopped}),
    S.finished: frozenset({S.queued}),  # extended
    S.failed: frozenset({S.queued}),
    S.stopped: frozenset({S.queued}),
}
"""From each state, where a run may go."""


_ENDED = {S.failed: ("resume",), S.stopped: ("resume", "extend"), S.finished: ("extend",)}


def actions(run: Run) -> list[str]:
    """What can be done to the run now."""
    if run.deleted_at is not None:
        return ["restore"]
    possible = _while(run, RunState(run.state))
    if "trash" in possible and run.state != S.queued:
        possible.insert(possible.index("trash"), "unarchive" if run.archived_at is not None else "archive")
    return possible


def _while(run: Run, state: RunState) -> list[str]:
    theirs = run.source != "worker"
    if run.source == "imported" and state is S.starting:
        return []
    if state in (S.starting, S.running):
        return ["stop", "pause", "save", "evaluate"] + (["sample"] if not theirs else [])
    if state is S.stopping:
        return ["terminate", "kill"]
    if state is S.lost:
        return ["stop", "terminate", "kill"]
    if state is S.paused:
        return ["resume", "extend", "stop", "trash"]
    if state in (S.failed, S.stopped, S.finished) and not theirs:
        return [*_ENDED[state], "trash"]
    return ["stop", "trash"] if state is S.queued else ["trash"]
