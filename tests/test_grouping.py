"""Grouped curves: means and bands against independent computation, and what is left out."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import grouping, runs
from app.errors import Invalid
from app.grouping import Curve, spread, together
from tests.domain import World

T_975 = {1: 12.706204736, 2: 4.302652730, 4: 2.776445105}
"""Student's t, 97.5 %, by degrees of freedom: the printed table of any statistics book."""


@pytest.mark.parametrize("n", [2, 3, 5])
def test_bands_are_the_textbook_ones(n):
    values = np.random.default_rng(n).normal(3.0, 0.1, (n, 4))
    for column in range(4):
        one = values[:, column].tolist()
        sd, mean = statistics.stdev(one), statistics.fmean(one)
        for band, half in (("std", sd), ("se", sd / math.sqrt(n)), ("ci95", T_975[n - 1] * sd / math.sqrt(n))):
            found = spread(values, band)
            assert found.mean[column] == pytest.approx(mean)
            assert found.high[column] - mean == pytest.approx(half, rel=1e-8)
            assert mean - found.low[column] == pytest.approx(half, rel=1e-8)
        assert (spread(values, "range").low[column], spread(values, "range").high[column]) == (min(one), max(one))


@pytest.mark.parametrize("band", ["ci95", "se", "std", "range"])
def test_one_run_has_no_band(band):
    found = spread(np.array([[1.0, 2.0]]), band)
    assert found.mean.tolist() == [1.0, 2.0]
    assert np.isnan(found.low).all()
    assert np.isnan(found.high).all()


points = st.lists(st.integers(0, 10_000), min_size=1, max_size=30, unique=True).map(sorted)


@given(st.lists(points, min_size=1, max_size=4))
def test_a_mean_covers_what_all_have_and_a_straight_line_stays_one(all_x):
    curves = [Curve(str(i), np.array(x, float), 2.0 * np.array(x) + i) for i, x in enumerate(all_x)]
    x, values = together(curves)
    assert all(one.x[0] <= at <= one.x[-1] for one in curves for at in x)
    for i, row in enumerate(values):
        assert row == pytest.approx(2.0 * x + i)


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.ready()
    yield world
    world.db.close()


def launched(world, weight_decay, seed, values, steps=None):
    """A run whose validation loss is `values` at steps 0, 10, …"""
    run = world.launch(config={"optim": {"weight_decay": weight_decay}, "system": {"seed": seed}})
    claim = world.claim()
    steps = steps or [10 * i for i in range(len(values))]
    world.post(claim, 1, columns={"val/loss": {"step": steps, "value": values}, "x/tokens": {"step": steps, "value": [100.0 * s for s in steps]}})  # fmt: skip
    return run


def grouped(world, *chosen, minus=None, **options):
    with world.db.read() as tx:
        found = [runs.get(tx, one) for one in chosen]
        return grouping.groups(tx, found, minus=runs.get(tx, minus) if minus else None, **options)


def test_runs_fall_into_groups_by_a_setting_in_its_order(world):
    a = launched(world, 3.0, 1, [5.0, 4.0])
    b = launched(world, 0.1, 1, [5.0, 3.0])
    c = launched(world, 3.0, 2, [5.0, 4.2])
    nothing = world.launch(config={"optim": {"weight_decay": 1.0}})
    found = grouped(world, a, b, c, nothing, by="optim.weight_decay")
    assert [(one["value"], one["runs"]) for one in found["groups"]] == [(0.1, [b]), (3.0, [a, c])]
    assert found["left_out"] == [nothing]
    low, high = found["groups"]
    assert low["low"] is None
    assert low["last"]["ci95"] is None
    assert high["x"] == [0.0, 1000.0]
    assert high["mean"] == pytest.approx([5.0, 4.1])
    half = T_975[1] * statistics.stdev([4.0, 4.2]) / math.sqrt(2)
    assert high["last"]["ci95"] == pytest.approx([4.1 - half, 4.1 + half])
    assert high["last"]["range"] == [4.0, 4.2]


def test_the_difference_from_a_run_is_taken_at_the_same_place(world):
    base = launched(world, 0.0, 1, [6.0, 4.0, 3.0])
    other = launched(world, 0.1, 1, [5.5, 4.5], steps=[5, 15])
    (one,) = grouped(world, other, minus=base, axis="step")["groups"]
    assert one["x"] == [5.0, 15.0]
    assert one["mean"] == pytest.approx([0.5, 1.0])


def test_values_that_are_not_finite_are_no_part_of_a_mean(world):
    run = launched(world, 0.1, 1, [5.0, "NaN", 4.0, "Infinity"])
    (one,) = grouped(world, run, axis="step")["groups"]
    assert one["x"] == [0.0, 20.0]


def test_an_unknown_setting_or_axis_is_refused_by_name(world):
    run = launched(world, 0.1, 1, [5.0])
    for wrong, pointer in (({"by": "optim.nope"}, "/query/by"), ({"axis": "moons"}, "/query/x")):
        with pytest.raises(Invalid) as refused:
            grouped(world, run, **wrong)
        assert refused.value.errors[0].pointer == pointer
