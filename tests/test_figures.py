"""Charts keep every extreme at any length, at a cost that depends on their pixels."""

import json
import time

import numpy as np
import pytest

from app import appending, figures
from app.errors import Invalid
from tests.domain import World

TOKENS = 16 * 128  # a step of the default configuration


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.ready(train=2_000_000)
    yield world
    world.db.close()


def test_two_series_of_a_million_points_are_drawn_quickly_and_lose_no_spike(world):
    world.launch()
    world.launch()
    steps = np.arange(1, 1_000_001)
    for run in (1, 2):
        loss = 3.0 + 1.0 / np.sqrt(steps)
        loss[654_321] = 99.0
        loss[777_777] = np.nan
        world.write(
            lambda tx, run=run, loss=loss: appending.append(
                tx.raw, run, {"train/loss": (steps, loss), "x/tokens": (steps, steps * 2048.0)}
            )
        )
    with world.db.read() as tx:
        began = time.perf_counter()
        chart = figures.chart(tx, [1, 2], ["train/loss"], "tokens", width=1000)
        took = time.perf_counter() - began
    assert took < 1.0
    curve = chart["runs"]["r-0001"]["train/loss"]
    assert curve["merged"]
    assert curve["total"] == 1_000_000
    assert len(curve["y"]) <= 1100
    assert 99.0 in curve["y"]
    assert curve["non_finite"] == [{"step": 777_778, "value": "NaN"}]
    assert curve["y"][curve["step"].index(777_778)] is None
    assert np.allclose(curve["x"], np.array(curve["step"]) * 2048.0, rtol=0.01)
    json.dumps(chart, allow_nan=False)


def test_a_window_in_units_of_the_axis_reads_only_there_with_a_neighbour_on_each_side(world):
    world.launch()
    steps = np.arange(1, 5001)
    world.write(lambda tx: appending.append(tx.raw, 1, {"a/b": (steps, steps * 1.0), "x/wall_s": (steps, steps * 0.5)}))
    with world.db.read() as tx:
        in_steps = figures.chart(tx, [1], ["a/b"], "step", 100, 110)["runs"]["r-0001"]["a/b"]
        in_seconds = figures.chart(tx, [1], ["a/b"], "wall_s", 100.1, 102.0)["runs"]["r-0001"]["a/b"]
    assert in_steps["step"] == list(range(100, 111))
    assert in_seconds["x"] == [100.0, 100.5, 101.0, 101.5, 102.0]


def test_a_prefix_stands_for_its_series_and_unknown_keys_for_nothing(world):
    world.launch()
    evaluated = {key: {"step": [0, 1000], "value": [8.0, 3.0]} for key in ("val/loss", "val/loss_se", "rms/mlp.fc")}
    world.post(world.claim(), 1, columns=evaluated)
    with world.db.read() as tx:
        chart = figures.chart(tx, [1], ["val/", "no/such", "rms/mlp.fc"])
        assert list(chart["runs"]["r-0001"]) == ["val/loss", "val/loss_se", "rms/mlp.fc"]
        with pytest.raises(Invalid, match="step, tokens"):
            figures.chart(tx, [1], ["val/loss"], "fortnights")


def test_without_the_axis_its_values_are_null(world):
    world.launch()
    world.points(world.claim(), 1, 1, 2)
    with world.db.read() as tx:
        assert figures.chart(tx, [1], ["train/loss"], "flops")["runs"]["r-0001"]["train/loss"]["x"] == [None, None]


def test_a_sparkline_is_short_and_finite(world):
    world.launch()
    value = np.linspace(5, 3, 1000)
    value[500] = np.inf
    world.write(lambda tx: appending.append(tx.raw, 1, {"val/loss": (np.arange(1000), value)}))
    with world.db.read() as tx:
        lines = figures.sparkline(tx, [1, 99])
    assert 20 <= len(lines[1]) <= 50
    assert lines[1][0] == 5
    assert lines[99] == []
