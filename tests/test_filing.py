"""Runs put away and taken out again, many at once, by their ids or by what the list shows."""

from typing import Any

import pytest

from app import filing, runs
from app.contract.states import RunState
from app.errors import Conflict, Invalid
from app.filing import UNDO
from app.run_query import RunQuery
from tests.domain import World


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.ready()
    yield world
    world.db.close()


def do(world: World, action: str, *chosen: str, tag: str = "") -> filing.Filed:
    numbers = [world.run(one).id for one in chosen]
    return filing.act(world.db, numbers, action, tag=tag, now=world.now)


def listed(world: World, place: Any = "list") -> set[str]:
    with world.db.read() as tx:
        return {run.name for run in runs.find(tx, RunQuery(place=place)).rows}


def ended(world: World, name: str) -> str:
    run = world.launch(name=name)
    world.write(lambda tx: runs.stop(tx, runs.get(tx, run), now=world.now))
    return run


def state_of(world: World) -> list[Any]:
    with world.db.read() as tx:
        return tx.raw.execute(
            "SELECT id, tags, archived_at IS NULL, deleted_at IS NULL FROM runs ORDER BY id"
        ).fetchall()


def test_the_archive_is_out_of_the_list_and_nothing_else(world):
    kept, away = ended(world, "kept"), ended(world, "away")
    do(world, "archive", away)
    assert listed(world) == {"kept"}
    assert listed(world, "archive") == {"away"}
    assert "unarchive" in runs.actions(world.run(away))
    assert "resume" in runs.actions(world.run(away)), "it is a run like any other"
    do(world, "unarchive", away)
    assert listed(world) == {"kept", "away"}
    assert kept != away


def test_a_run_that_may_train_is_not_put_away(world):
    waiting = world.launch(name="waiting")
    (passed,) = do(world, "archive", waiting).passed
    assert passed.run == waiting
    assert "queued" in passed.why
    with pytest.raises(Conflict):
        world.write(lambda tx: filing.archive(tx, runs.get(tx, waiting), now=world.now))


@pytest.mark.parametrize("action", sorted(UNDO))
def test_the_opposite_on_what_was_changed_gives_back_what_was(world, action):
    names = [ended(world, f"run {n}") for n in range(4)]
    do(world, "tag", names[0], tag="study")
    do(world, "archive", names[1])
    do(world, "trash", names[2])
    before = state_of(world)
    filed = do(world, action, *names, tag="study")
    assert set(filed.changed) | {one.run for one in filed.passed} == set(names)
    assert filed.changed
    assert state_of(world) != before
    undone = do(world, UNDO[action], *filed.changed, tag="study")
    assert undone.changed == filed.changed
    assert state_of(world) == before


def test_what_a_filter_lists_on_all_its_pages_is_what_is_changed(world):
    for n in range(60):
        ended(world, f"{'odd' if n % 2 else 'even'} {n}")
    with world.db.read() as tx:
        chosen = filing.matching(tx, RunQuery(text="odd", limit=5, offset=20))
    assert len(chosen) == 30
    filed = filing.act(world.db, chosen, "tag", tag="the odd ones", now=world.now)
    assert len(filed.changed) == 30
    with world.db.read() as tx:
        assert {run.name.split()[0] for run in runs.find(tx, RunQuery(text='tag:"the odd ones"')).rows} == {"odd"}


def test_too_many_unknown_and_unnamed_are_said(world):
    run = ended(world, "one")
    with pytest.raises(Invalid, match="at most 20,000"):
        filing.act(world.db, list(range(20_001)), "trash", now=world.now)
    with pytest.raises(Invalid) as refused:
        do(world, "tag", run, tag="x" * 51)
    assert refused.value.errors[0].pointer == "/tag"
    with pytest.raises(Invalid):
        do(world, "tag", run, tag="  ")
    filed = filing.act(world.db, [999], "trash", now=world.now)
    assert filed.passed == [filing.Passed("r-0999", "there is no such run")]
    assert world.run(run).state == RunState.stopped
