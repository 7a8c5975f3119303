"""Many runs at once: told to stop, tagged, put into the archive or the trash, and taken out again.

The archive is for runs that are done with: out of the list, everything kept, read and compared as before. The trash is on the way out.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from app import feed, runs
from app.contract import ids
from app.db import Database, Tx
from app.errors import Conflict, FieldError, Invalid
from app.launches import TAG_CHARACTERS, Labels
from app.moves import actions
from app.run_query import RunQuery
from app.tables import Run

Action = Literal["stop", "archive", "unarchive", "trash", "restore", "tag", "untag"]
UNDO: dict[Action, Action] = {
    "archive": "unarchive", "unarchive": "archive", "trash": "restore", "restore": "trash", "tag": "untag", "untag": "tag",
}  # fmt: skip
MOST_RUNS = 20_000
"""Changed by one request."""
AT_ONCE = 200
"""Runs changed in one transaction, about a millisecond each: other writers wait no longer than that takes."""


class Passed(NamedTuple):
    """A run that was left as it is."""

    run: str  #: its id
    why: str


class Filed(NamedTuple):
    changed: list[str]  #: ids; undoing the action on these gives back what was
    passed: list[Passed]


def archive(tx: Tx, run: Run, *, now: float) -> None:
    """Out of the list; nothing else changes. Raises Conflict while it may still train."""
    if "archive" not in actions(run):
        raise Conflict(f"{ids.show('run', run.id)} is {_where(run)} and cannot go into the archive.")
    run.archived_at = now
    feed.post(tx, "run", run.id, "state")


def unarchive(tx: Tx, run: Run, *, now: float) -> None:
    """Back on the list."""
    if "unarchive" not in actions(run):
        raise Conflict(f"{ids.show('run', run.id)} is {_where(run)}, not in the archive.")
    run.archived_at = None
    feed.post(tx, "run", run.id, "state")


def act(db: Database, chosen: list[int], action: Action, *, tag: str = "", now: float) -> Filed:
    """Do it to each; what cannot be done to a run now, or has been done, passes it over and says why.

    Raises Invalid for more than MOST_RUNS runs, or a tag that cannot be one.
    """
    if len(chosen) > MOST_RUNS:
        raise Invalid([FieldError("/runs", f"at most {MOST_RUNS:,} runs at once; these are {len(chosen):,}")])
    do, numbers = _doing(action, tag, now), list(dict.fromkeys(chosen))
    changed: list[str] = []
    passed: list[Passed] = []
    for first in range(0, len(numbers), AT_ONCE):
        filed = db.write(partial(_each, numbers[first : first + AT_ONCE], do))
        changed += filed.changed
        passed += filed.passed
    return Filed(changed, passed)


def _each(numbers: list[int], do: Callable[[Tx, Run], str], tx: Tx) -> Filed:
    changed, passed = [], []
    for number in numbers:
        run = tx.session.get(Run, number)
        text_id = ids.show("run", number)
        if run is None:
            passed.append(Passed(text_id, "there is no such run"))
            continue
        try:
            why = do(tx, run)
        except Conflict as error:
            why = error.detail
        if why:
            passed.append(Passed(text_id, why))
        else:
            changed.append(text_id)
    return Filed(changed, passed)


def matching(tx: Tx, query: RunQuery) -> list[int]:
    """The numbers of every run that a list shows on all its pages. Raises Invalid as `find` does, and beyond MOST_RUNS."""
    page = runs.find(tx, query._replace(offset=0, limit=MOST_RUNS))
    if page.total > MOST_RUNS:
        raise Invalid([FieldError("/q", f"matches {page.total:,} runs; at most {MOST_RUNS:,} are changed at once")])
    return [run.id for run in page.rows]


def _doing(action: Action, tag: str, now: float) -> Callable[[Tx, Run], str]:
    """What to do to one run; it returns why nothing was to be done, or nothing."""
    if action in ("tag", "untag"):
        try:
            wanted = Labels(tags=[tag]).tags
        except ValidationError:
            wanted = None
        if not wanted:
            raise Invalid([FieldError("/tag", f"a tag has 1 to {TAG_CHARACTERS} characters")])
        return lambda tx, run: _tag(tx, run, wanted[0], add=action == "tag")
    verb: Any = {
        "stop": runs.stop, "archive": archive, "unarchive": unarchive, "trash": runs.trash, "restore": _restore,
    }[action]  # fmt: skip

    def do(tx: Tx, run: Run) -> str:
        if action == "trash" and run.deleted_at is not None:
            return "it is in the trash already"
        verb(tx, run, now=now)
        return ""

    return do


def _tag(tx: Tx, run: Run, tag: str, *, add: bool) -> str:
    has = tag in run.tags
    if has == add:
        return "it has this tag already" if add else "it does not have this tag"
    changed = [*run.tags, tag] if add else [one for one in run.tags if one != tag]
    try:
        tags = Labels(tags=changed).tags
    except ValidationError:
        return "it has as many tags as a run can have"
    runs.patch(tx, run, tags=tags)
    return ""


def _restore(tx: Tx, run: Run, *, now: float) -> None:
    if run.deleted_at is None:
        raise Conflict("it is not in the trash")
    runs.restore(tx, run)


def _where(run: Run) -> str:
    return (
        "in the trash" if run.deleted_at is not None else "in the archive" if run.archived_at is not None else run.state
    )
