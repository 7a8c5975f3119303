"""More steps for a run that has ended: what it goes on from, with which schedule, and when that is refused."""

import pytest

from app import extension, runs
from app.errors import Conflict, Invalid
from app.extension import Extension
from tests.domain import World


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.ready()
    yield world
    world.db.close()


def extend(world: World, run: str, steps: int) -> None:
    world.write(lambda tx: extension.extend(tx, runs.get(tx, run), Extension(steps=steps), now=world.now))


def ended(world: World, outcome: str, **schedule: int) -> str:
    """A run of 100 steps that has ended at step 100 with a checkpoint there."""
    run = world.launch(config={"schedule": {"steps": 100, "warmup_steps": 10, **schedule}})
    claim = world.claim()
    world.points(claim, 1, *range(1, 101))
    world.checkpoint(claim, 2, 100)
    world.finish(claim, 2, outcome)
    return run


@pytest.mark.parametrize("outcome", ["finished", "stopped", "paused"])
def test_an_ended_run_goes_on_from_its_newest_checkpoint_to_the_new_last_step(world, outcome):
    run = ended(world, outcome)
    extend(world, run, 250)
    row = world.run(run)
    assert (row.state, row.steps, row.ended_at) == ("queued", 250, None)
    assert world.events(run, "extended") == [("Extended from 100 to 250 steps at step 100.", {"from": 100, "to": 250})]
    claim = world.claim()
    assert (claim.resume["step"], claim.attempt, claim.config["schedule"]["steps"]) == (100, 2, 250)
    world.points(claim, 1, 101, events=[{"kind": "resume", "step": 100, "data": {"first_step": 100}}])
    assert world.run(run).step == 101


def test_a_decay_that_ended_with_the_run_is_stretched_and_one_that_ended_before_is_not(world):
    for decay_steps, expected in ((100, 200), (80, 80), (None, None)):
        run = ended(world, "finished", decay_steps=decay_steps)
        extend(world, run, 200)
        assert world.run(run).config["schedule"]["decay_steps"] == expected
        world.finish(world.claim(), 0, "stopped")


def test_what_cannot_be_extended_says_why(world):
    run = ended(world, "finished")
    with pytest.raises(Invalid) as caught:
        extend(world, run, 100)
    assert list(caught.value.errors) == [("/steps", "must be more than the 100 steps that r-0001 has now")]
    world.launch()
    with pytest.raises(Conflict, match="only a finished, stopped or paused run can be extended"):
        extend(world, "r-0002", 5000)
    assert "extend" in runs.actions(world.run(run))
