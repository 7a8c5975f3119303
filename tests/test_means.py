"""A smoothed curve of merged points follows the exact means of their buckets."""

import numpy as np
import pytest

from app import appending, figures, means
from tests.domain import World


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.ready()
    world.launch()
    yield world
    world.db.close()


def read(world, values, lo=None, hi=None, buckets=100, first=1):
    steps = np.arange(first, first + len(values))
    world.write(lambda tx: appending.append(tx.raw, 1, {"a/b": (steps, np.asarray(values, float))}))
    with world.db.read() as tx:
        return means.read(tx.raw, 1, "a/b", lo, hi, buckets)


def test_every_point_counts_once_and_one_spike_moves_its_bucket_by_its_share(world):
    values = np.full(20_000, 3.0)
    values[10_000] = 259.0
    steps, y = read(world, values)
    assert 50 <= len(y) <= 101
    assert sorted(set(y)) == [3.0, 4.0], "256 points a bucket"
    assert steps[int(np.argmax(y))] == pytest.approx(10_001, abs=128)


def test_what_is_not_finite_is_left_out_and_a_window_has_only_its_own(world):
    values = np.arange(5000.0)
    values[3000:3100] = np.nan
    steps, y = read(world, values, lo=2001, hi=4000, buckets=10)
    assert 2001 <= steps[0] < steps[-1] <= 4000
    assert np.isfinite(y).all()
    assert (np.diff(y) > 0).all()


def test_a_long_series_is_read_from_the_sums_of_its_chunks(world):
    values = np.tile([1.0, 5.0], 200_000)
    values[100] = 1e308
    values[300_000:310_000] = np.nan
    steps, y = read(world, values, buckets=50)
    assert 40 <= len(y) <= 51
    assert (np.diff(steps) > 0).all()
    assert y[1:] == pytest.approx(3.0)


def test_nothing_gives_nothing(world):
    assert [len(column) for column in read(world, [np.nan] * 10)] == [0, 0]
    with world.db.read() as tx:
        assert [len(column) for column in means.read(tx.raw, 1, "no/such", None, None, 10)] == [0, 0]
        assert [len(column) for column in means.read(tx.raw, 1, "a/b", 9, 3, 10)] == [0, 0]


def test_only_merged_curves_that_ask_have_means(world):
    read(world, np.arange(5000.0))
    with world.db.read() as tx:

        def curve(**more):
            return figures.chart(tx, [1], ["a/b"], **more)["runs"]["r-0001"]["a/b"]

        assert "mean" not in curve(width=200)
        assert len(curve(width=200, mean=["a/b"])["mean"]["y"]) > 50
        assert "mean" not in curve(width=8000, mean=["a/b"])
