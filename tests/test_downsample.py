"""Min and max per bucket keep what a reader of a chart must not miss."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.downsample import bucket_width, highest, lowest, min_max, non_finite

VALUES = st.lists(st.floats(width=64) | st.sampled_from([0.0, -0.0, 1e308, -1e308]), min_size=1, max_size=200)


@given(first=st.integers(0, 2**53), span=st.integers(1, 2**40), buckets=st.integers(1, 5000))
def test_bucket_width_is_the_smallest_power_of_two_that_fits(first, span, buckets):
    width = bucket_width(first, first + span - 1, buckets)
    assert width & (width - 1) == 0
    assert width * buckets >= span
    assert width == 1 or (width // 2) * buckets < span


@given(values=VALUES, width=st.sampled_from([1, 2, 8, 64]), first=st.integers(0, 100), stride=st.integers(1, 9))
def test_each_buckets_extremes_and_everything_not_finite_stay(values, width, first, stride):
    values = np.array(values)
    steps = first + stride * np.arange(len(values))
    kept = min_max(steps, values, width, most=len(values))
    assert (np.diff(kept) > 0).all()
    assert {0, len(values) - 1} <= set(kept.tolist())
    assert set(np.flatnonzero(~np.isfinite(values)).tolist()) <= set(kept.tolist())
    for bucket in np.unique(steps // width):
        inside = np.flatnonzero((steps // width == bucket) & np.isfinite(values))
        if len(inside):
            here = values[np.intersect1d(inside, kept)]
            assert here.min() == values[inside].min()
            assert here.max() == values[inside].max()


def test_extremes_skip_buckets_without_a_finite_value():
    bucket = np.array([0, 0, 1, 1, 2])
    values = np.array([3.0, np.nan, np.inf, -np.inf, -1.0])
    assert lowest(bucket, values).tolist() == [0, 4]
    assert highest(bucket, values).tolist() == [0, 4]
    assert lowest(bucket[2:4], values[2:4]).tolist() == []
    assert lowest(bucket[:0], values[:0]).tolist() == []


def test_a_run_of_nan_is_thinned_to_its_ends_in_each_bucket_only_beyond_the_limit():
    bucket = np.arange(100) // 10
    values = np.full(100, np.nan)
    assert len(non_finite(bucket, values, most=100)) == 100
    assert non_finite(bucket, values, most=99).tolist() == sorted([*range(0, 100, 10), *range(9, 100, 10)])


def test_no_points_give_no_points():
    assert len(min_max(np.empty(0, np.int64), np.empty(0), 4, most=8)) == 0
