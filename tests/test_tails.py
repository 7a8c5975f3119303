"""Long curves as the diagnosis reads them: their ends, their peaks and what is not finite, at a bounded cost."""

import numpy as np
import pytest
from domain import World

from app import appending, chunks, tails


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.ready()
    yield world
    world.db.close()


def read(world: World, count: int, **changed: float):
    """`train/loss` of `count` steps, noise about 3; {"s500": 9.0} is the value at step 500."""
    run = world.launch()
    steps = np.arange(1, count + 1)
    values = 3 + np.random.default_rng(0).normal(0, 0.05, count)
    for step, value in changed.items():
        values[int(step[1:]) - 1] = value
    world.write(
        lambda tx: appending.append(tx.raw, 1, {"train/loss": (steps, values), "system/other": (steps, values)})
    )
    with world.db.read() as tx:
        return tails.curves(tx.raw, 1), values, run


def test_a_short_curve_is_read_whole_and_what_no_rule_reads_is_left_out(world):
    found, values, _ = read(world, 5000)
    assert list(found) == ["train/loss"]
    assert found["train/loss"].value.tolist() == values.tolist()


def test_of_a_long_curve_both_ends_are_there_with_every_spike_and_nan_between(world):
    count = 200 * chunks.SEALED
    found, values, _ = read(world, count, s77000=9.0, s120000=float("nan"))
    curve = found["train/loss"]
    assert len(curve.step) <= (tails.WHOLE + 1) * chunks.SEALED
    assert curve.step[0] == 1
    assert curve.step[-1] == count
    assert np.all(np.diff(curve.step) > 0)
    assert curve.at(np.array([77000]))[0] == 9.0
    assert np.isnan(curve.value[curve.step == 120000]).all()
    assert (curve.step == 120000).sum() == 1
    inside = np.isin(np.arange(1, count + 1), curve.step)
    assert np.array_equal(curve.value, values[inside], equal_nan=True), "points are not what was stored"
