"""Losses per window: stored as sent, replaced and truncated with the curve, paired by a plain formula."""

import statistics

import numpy as np
import pytest

from app import evaluations
from app.errors import Invalid
from tests.domain import World


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.ready()
    world.launch()
    yield world
    world.db.close()


def report(world, claim, seq, step, losses):
    world.post(claim, seq, events=[{"kind": "evaluation", "step": step, "data": {"losses": losses}}])


def stored(world, step):
    with world.db.read() as tx:
        return evaluations.at(tx.raw, 1, step)


def test_losses_come_back_in_window_order_and_the_same_step_replaces_them(world):
    claim = world.claim()
    report(world, claim, 1, 10, [1.0, 2.0])
    report(world, claim, 2, 10, [3.5, 1.25, 2.0])
    assert stored(world, 10).tolist() == [3.5, 1.25, 2.0]
    assert stored(world, 11) is None


def test_an_evaluation_is_no_entry_in_the_list_of_events(world):
    report(world, world.claim(), 1, 10, [1.0, 2.0])
    assert world.events("r-0001", "evaluation") == []


def test_a_resume_takes_back_what_was_evaluated_after_it(world):
    claim = world.claim()
    report(world, claim, 1, 10, [1.0, 2.0])
    report(world, claim, 2, 20, [1.0, 2.0])
    world.post(claim, 3, events=[{"kind": "resume", "step": 10, "data": {"first_step": 10}}])
    assert stored(world, 10) is not None
    assert stored(world, 20) is None


@pytest.mark.parametrize(
    "losses", [None, [], [1.0], [1.0, "NaN"], [1.0, True], [1.0, None], {"0": 1.0}, [1.0] * 20_001]
)
def test_anything_but_a_list_of_numbers_is_refused_at_its_field(world, losses):
    with pytest.raises(Invalid) as caught:
        report(world, world.claim(), 1, 10, losses)
    assert caught.value.errors[0].pointer == "/events/0/data/losses"


def test_the_paired_error_is_the_spread_of_the_differences_over_the_root_of_their_number():
    """Against the standard library's exact arithmetic."""
    noise = np.random.default_rng(1)
    a = noise.normal(4, 1, 50)
    b = a + noise.normal(0.1, 0.2, 50)
    differences = [after - before for before, after in zip(a.tolist(), b.tolist(), strict=True)]
    mean, se = evaluations.paired(a, b)
    assert mean == pytest.approx(statistics.fmean(differences))
    assert se == pytest.approx(statistics.stdev(differences) / 50**0.5)
