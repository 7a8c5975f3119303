"""Resume drift: re-sent losses against those that were taken back, whatever the batches and however often it dies."""

import pytest

from app import extension, runs
from tests.domain import World


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.ready()
    yield world
    world.db.close()


def losses(world: World, claim, seq: int, values: dict[int, float | str], **body) -> None:
    columns = {"train/loss": {"step": list(values), "value": list(values.values())}}
    world.post(claim, seq, columns=columns, **body)


def resumed(world: World, claim, seq: int, first_step: int):
    """The attempt ends, the next one goes on from `first_step`."""
    world.checkpoint(claim, seq, first_step)
    world.finish(claim, seq, "requeue")
    again = world.claim()
    world.post(again, 1, events=[{"kind": "resume", "step": first_step, "data": {"first_step": first_step}}])
    return again


def test_a_resume_that_repeats_every_bit_says_so_once_it_has_caught_up(world):
    run = world.launch()
    claim = world.claim()
    losses(world, claim, 1, {step: 4.0 - step / 7 for step in range(1, 8)} | {8: "NaN"})
    again = resumed(world, claim, 2, 4)
    losses(world, again, 2, {5: 4.0 - 5 / 7, 6: 4.0 - 6 / 7})
    assert world.events(run, "drift") == []
    losses(world, again, 3, {7: 3.0, 8: "NaN", 9: 1.0})
    [(text, data)] = world.events(run, "drift")
    assert text == "Resume drift: 0 of 4 steps; the loss was repeated to the bit."
    assert (data["compared"], data["differing"], data["first"]) == (4, 0, None)
    losses(world, again, 4, {10: 1.0})
    assert len(world.events(run, "drift")) == 1
    assert world.count("SELECT count(*) FROM resent") == 0


def test_a_difference_in_the_last_bit_is_counted(world):
    run = world.launch()
    claim = world.claim()
    losses(world, claim, 1, {1: 4.0, 2: 3.0, 3: 2.5, 4: 2.0})
    again = resumed(world, claim, 2, 1)
    losses(world, again, 2, {2: 3.0, 3: 2.5000000000000004, 4: "NaN"})
    [(text, data)] = world.events(run, "drift")
    assert "2 of 3 steps differ from the attempt before, from step 3 on" in text
    assert (data["differing"], data["first"], data["largest"]) == (2, 3, None)


def test_an_attempt_that_dies_before_it_has_caught_up_loses_no_comparison(world):
    run = world.launch()
    claim = world.claim()
    losses(world, claim, 1, {step: float(step) for step in range(1, 9)})
    second = resumed(world, claim, 2, 4)
    losses(world, second, 2, {5: 5.0, 6: 6.5})
    third = resumed(world, second, 3, 4)
    losses(world, third, 2, {step: float(step) for step in range(5, 10)})
    [(text, data)] = world.events(run, "drift")
    assert (data["compared"], data["differing"], data["first"]) == (4, 1, 6), text


def test_a_run_that_went_on_from_its_last_point_has_nothing_to_compare(world):
    run = world.launch()
    claim = world.claim()
    losses(world, claim, 1, {1: 4.0, 2: 3.0})
    again = resumed(world, claim, 2, 2)
    losses(world, again, 2, {3: 2.0})
    assert world.events(run, "drift") == []


def test_after_an_extension_the_steps_taken_back_are_no_yardstick_but_those_after_it_are(world):
    run = world.launch(config={"schedule": {"steps": 4, "warmup_steps": 1}})
    claim = world.claim()
    losses(world, claim, 1, {1: 4.0, 2: 3.0, 3: 2.5, 4: 2.0})
    world.checkpoint(claim, 2, 2)
    world.finish(claim, 2)
    world.write(lambda tx: extension.extend(tx, runs.get(tx, run), extension.Extension(steps=8), now=world.now))
    longer = world.claim()
    world.post(longer, 1, events=[{"kind": "resume", "step": 2, "data": {"first_step": 2}}])
    losses(world, longer, 2, {3: 2.6, 4: 2.2, 5: 2.1})
    assert world.events(run, "drift") == [], "another learning rate, another curve"
    again = resumed(world, longer, 3, 2)
    losses(world, again, 2, {3: 2.6, 4: 2.2, 5: 2.0})
    assert world.events(run, "drift")[0][1]["compared"] == 3
