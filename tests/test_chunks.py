"""A chunk gives back exactly what was packed, and its summary tells the truth about it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app import chunks

VALUE = st.floats(width=64) | st.sampled_from([np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324, -0.0])
STEPS = st.lists(st.integers(0, 2**53), min_size=1, max_size=60, unique=True).map(lambda steps: np.array(sorted(steps)))
POINTS = STEPS.flatmap(lambda steps: st.tuples(st.just(steps), arrays(np.float64, len(steps), elements=VALUE)))


def unpacked(packed: chunks.Packed):
    steps = chunks.unpack_steps(packed.size, packed.first_step, packed.stride, packed.steps)
    return steps, chunks.unpack_values(packed.values)


@given(POINTS)
def test_points_survive_packing_to_the_bit(points):
    steps, values = unpacked(chunks.pack(*points))
    assert steps.tolist() == points[0].tolist()
    assert values.tobytes() == points[1].tobytes()


@given(POINTS)
def test_summary_is_over_finite_values_at_their_exact_steps(points):
    steps, values = points
    packed = chunks.pack(steps, values)
    finite = np.isfinite(values)
    assert (packed.size, packed.first_step, packed.last_step) == (len(steps), steps[0], steps[-1])
    assert packed.non_finite == len(steps) - finite.sum()
    assert np.isfinite(packed.sum)
    if finite.any():
        assert (packed.min, packed.max) == (values[finite].min(), values[finite].max())
        assert values[steps == packed.min_step] == packed.min
        assert values[steps == packed.max_step] == packed.max
    else:
        assert packed[4:6] + packed[7:9] == (None,) * 4


SUMMABLE = st.floats(-1e300, 1e300) | st.sampled_from([np.nan, np.inf, -np.inf, -0.0])


@given(
    first=arrays(np.float64, st.integers(1, 40), elements=SUMMABLE),
    then=arrays(np.float64, st.integers(1, 40), elements=SUMMABLE),
    stride=st.sampled_from([1, 5]),
    gap=st.sampled_from([1, 5, 6]),
)
def test_a_chunk_extended_from_its_summary_is_the_one_packed_anew(first, then, stride, gap):
    old_steps = 3 + stride * np.arange(len(first))
    steps = old_steps[-1] + gap + stride * np.arange(len(then))
    extended = chunks.extended(chunks.pack(old_steps, first), steps, then)
    anew = chunks.pack(np.concatenate((old_steps, steps)), np.concatenate((first, then)))
    if extended is None:
        regular = anew.steps is None
        assert not regular or not np.isfinite(then).all() or not np.isfinite(first).any()
    else:
        assert extended._replace(sum=0) == anew._replace(sum=0)
        scale = np.abs(first[np.isfinite(first)]).sum() + np.abs(then).sum()
        assert extended.sum == pytest.approx(anew.sum, rel=0, abs=1e-12 * scale + 5e-324)


def test_a_sum_beyond_float64_is_left_to_packing():
    assert chunks.extended(chunks.pack(np.array([0]), np.array([1e308])), np.array([1]), np.array([1e308])) is None


def test_a_full_chunk_is_not_extended():
    full = chunks.pack(np.arange(1024), np.zeros(1024))
    assert chunks.extended(full, np.array([1024]), np.zeros(1)) is None
    assert chunks.extended(chunks.pack(np.arange(1023), np.zeros(1023)), np.array([1023]), np.zeros(1)) == full


@pytest.mark.parametrize("stride", [1, 7, 1000])
def test_regular_steps_cost_no_bytes(stride):
    steps = np.arange(5, 5 + stride * 1024, stride)
    packed = chunks.pack(steps, np.zeros(1024))
    assert (packed.stride, packed.steps, len(packed.values)) == (stride, None, 8192)


def test_irregular_steps_cost_less_than_four_bytes_each():
    steps = np.cumsum(np.random.default_rng(0).integers(1, 100, 1024))
    assert len(chunks.pack(steps, np.zeros(1024)).steps) < 4 * 1024


def test_of_points_at_one_step_the_last_written_stays():
    steps, values = chunks.ordered(np.array([3, 1, 3, 2, 1]), np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert steps.tolist() == [1, 2, 3]
    assert values.tolist() == [5.0, 4.0, 3.0]
    steps, values = chunks.merge(steps, values, np.array([2, 9]), np.array([0.0, 0.5]))
    assert dict(zip(steps.tolist(), values.tolist(), strict=True)) == {1: 5.0, 2: 0.0, 3: 3.0, 9: 0.5}


@pytest.mark.parametrize(
    ("count", "is_last", "sizes"),
    [(1024, True, [1024]), (1025, True, [1024, 1]), (1025, False, [513, 512]), (3000, False, [1000, 1000, 1000])],
)
def test_an_open_end_is_cut_into_full_chunks_and_the_middle_into_even_parts(count, is_last, sizes):
    pieces = chunks.cut(count, is_last=is_last)
    assert [len(range(count)[piece]) for piece in pieces] == sizes
