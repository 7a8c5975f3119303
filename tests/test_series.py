"""The metric store behaves like a dict of step → value, and its charts lose no spike."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine

from app import appending, chunks, levels, series
from app.tables import Base, Run

KEY = "train/loss"


@contextmanager
def store() -> Iterator[sqlite3.Connection]:
    """An empty database in memory with run 1."""
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        Base.metadata.create_all(connection)
        run = {"name": "a", "state": "running", "config": {}, "created_at": 0, "updated_at": 0, "steps": 1}
        connection.execute(Run.__table__.insert().values(id=1, **run))
        yield connection.connection.driver_connection
    engine.dispose()


@pytest.fixture
def raw() -> Iterator[sqlite3.Connection]:
    with store() as connection:
        yield connection


def put(raw, steps, values, key=KEY):
    appending.append(raw, 1, {key: (np.asarray(steps, np.int64), np.asarray(values, np.float64))})


def same(points: series.Points, model: dict[int, float]) -> bool:
    wanted = sorted(model.items())
    return points.step.tolist() == [step for step, _ in wanted] and np.array_equal(
        points.value, [value for _, value in wanted], equal_nan=True
    )


def check_rows(raw: sqlite3.Connection) -> None:
    """Chunks are numbered without gaps, ascend without overlap, are not tiny, and the series row counts them."""
    for series_id, count, last_step in raw.execute("SELECT id, count, last_step FROM series").fetchall():
        rows = raw.execute(
            "SELECT number, count, first_step, last_step FROM chunks WHERE series_id = ? ORDER BY number", (series_id,)
        ).fetchall()
        assert [row[0] for row in rows] == list(range(len(rows)))
        assert sum(row[1] for row in rows) == count
        assert rows[-1][3] == last_step
        assert all(before[3] < after[2] for before, after in pairwise(rows))
        assert all(chunks.SEALED // 2 <= row[1] <= chunks.SEALED for row in rows[:-1])


def check_levels(raw: sqlite3.Connection) -> None:
    """Every level is what it would be if it were made anew from the chunks, and covers all that is sealed."""
    kept = raw.execute("SELECT * FROM levels ORDER BY 1, 2, 3").fetchall()
    raw.execute("DELETE FROM levels")
    for series_id, last in raw.execute("SELECT series_id, max(number) FROM chunks GROUP BY series_id").fetchall():
        if last > 0:
            levels.refresh(raw, series_id, 0, last - 1)
    assert kept == raw.execute("SELECT * FROM levels ORDER BY 1, 2, 3").fetchall()


VALUE = st.floats(width=32) | st.sampled_from([np.nan, np.inf, -np.inf, 1e308])
BATCH = st.lists(st.tuples(st.integers(0, 80), VALUE), max_size=40)
NEXT = st.integers(1, 30)  # that many points after the last step: the fast path
OPERATIONS = st.lists(BATCH | NEXT | st.tuples(st.just("truncate"), st.integers(-1, 80)), max_size=12)


@settings(max_examples=150, deadline=None)
@given(operations=OPERATIONS, window=st.tuples(st.integers(0, 100), st.integers(0, 100)))
def test_the_store_equals_a_dict_under_appends_repeats_and_truncations(operations, window):
    model: dict[int, float] = {}
    with store() as raw, patch.object(chunks, "SEALED", 8), patch.object(levels, "FAN", 2):
        for operation in operations:
            if isinstance(operation, int):
                start = max(model, default=0) + 1
                operation = [(step, step / 2) for step in range(start, start + operation)]
            if isinstance(operation, tuple):
                gone = [step for step in model if step > operation[1]]
                assert series.truncate(raw, 1, operation[1]) == len(gone)
                for step in gone:
                    del model[step]
            else:
                put(raw, [step for step, _ in operation], [value for _, value in operation])
                model.update(operation)
            check_rows(raw)
            check_levels(raw)
        lo, hi = window
        assert same(series.read(raw, 1, KEY), model)
        assert same(series.read(raw, 1, KEY, lo, hi), {s: v for s, v in model.items() if lo <= s <= hi})
        later = series.since(raw, 1, lo).get(KEY, (np.empty(0), np.empty(0)))
        assert same(series.Points(*later, 0, False), {s: v for s, v in model.items() if s >= lo})


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(VALUE, min_size=1, max_size=600),
    stride=st.sampled_from([1, 1, 3, 50]),
    buckets=st.integers(1, 40),
    window=st.none() | st.tuples(st.integers(0, 700), st.integers(0, 700)),
    fan=st.sampled_from([2, 4, 16]),
    older=st.booleans(),
)
def test_a_charts_points_are_real_and_hold_every_extreme_and_every_nan(values, stride, buckets, window, fan, older):
    values = np.array(values)
    steps = 1 + stride * np.arange(len(values))
    lo, hi = (None, None) if window is None else (stride * min(window), stride * max(window))
    inside = (steps >= (lo or 0)) & (steps <= (10**9 if hi is None else hi))
    with store() as raw, patch.object(chunks, "SEALED", 8), patch.object(levels, "FAN", fan):
        put(raw, steps[: len(steps) // 2], values[: len(steps) // 2])
        if older:  # written by a program that knew no levels
            raw.execute("DELETE FROM levels")
        put(raw, steps[len(steps) // 2 :], values[len(steps) // 2 :])
        points = series.read(raw, 1, KEY, lo, hi, buckets)
    assert points.total == inside.sum()
    assert (np.diff(points.step) > 0).all()
    assert np.array_equal(points.value, values[(points.step - 1) // stride], equal_nan=True)
    if not inside.any():
        return
    steps, values = steps[inside], values[inside]
    finite = np.isfinite(values)
    assert {steps[0], steps[-1]} <= set(points.step)
    if len(steps) <= 2 * buckets:
        assert len(points.step) == len(steps)
    if (~finite).sum() <= 2 * buckets:
        assert set(steps[~finite]) <= set(points.step)
    if finite.any():
        assert {values[finite].min(), values[finite].max()} <= set(points.value)
    assert len(points.step[np.isfinite(points.value)]) <= 4 * buckets + 10


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 99), stride=st.sampled_from([1, 2, 7]), short=st.integers(100, 900), longer=st.integers(1, 400)
)
def test_full_buckets_of_a_growing_series_stay_as_they_are(seed, stride, short, longer):
    buckets = 20
    values = np.random.default_rng(seed).normal(size=short + longer)
    steps = stride * np.arange(1, short + longer + 1)
    width = series.downsample.bucket_width(stride, int(steps[short - 1]), buckets)
    assume(width == series.downsample.bucket_width(stride, int(steps[-1]), buckets))
    with store() as raw, patch.object(chunks, "SEALED", 16):
        put(raw, steps[:short], values[:short])
        before = series.read(raw, 1, KEY, buckets=buckets)
        put(raw, steps[short:], values[short:])
        after = series.read(raw, 1, KEY, buckets=buckets)
    full = steps[short - 1] - 2 * width
    assert before.step[before.step <= full].tolist() == after.step[after.step <= full].tolist()


def test_twenty_one_step_spikes_in_a_million_points_are_all_on_the_chart(raw):
    rng = np.random.default_rng(1)
    values = rng.normal(3, 0.01, 1_000_000)
    spikes = rng.choice(1_000_000, 20, replace=False)
    values[spikes] += rng.choice([-1, 1], 20) * rng.uniform(0.5, 5, 20)
    put(raw, np.arange(1, 1_000_001), values)
    for buckets in (1000, 2000):
        points = series.read(raw, 1, KEY, buckets=buckets)
        assert np.isin(spikes + 1, points.step).all()
        assert (points.total, points.merged) == (1_000_000, True)
        assert buckets <= len(points.step) <= 3 * buckets


def test_a_diverged_run_of_nothing_but_nan_is_still_a_small_chart(raw):
    put(raw, np.arange(50_000), np.full(50_000, np.nan))
    points = series.read(raw, 1, KEY, buckets=100)
    assert len(points.step) <= 500
    assert np.isnan(points.value).all()
    assert series.summaries(raw, 1)[KEY] == series.Summary(KEY, 50_000, 49_999, None, None, None, None, None)


def test_batches_that_arrive_in_reverse_leave_no_tiny_chunks(raw):
    for start in range(20_000, 0, -100):
        put(raw, np.arange(start, start + 100), np.arange(start, start + 100))
    check_rows(raw)
    assert series.read(raw, 1, KEY).value.tolist() == list(range(100, 20_100))


def test_an_append_far_beyond_rewrites_only_the_chunks_it_touches(raw):
    put(raw, np.arange(100_000), np.zeros(100_000))
    before = raw.total_changes
    put(raw, [5, 99_999], [1.0, 2.0])
    assert raw.total_changes - before == 5  # two chunks, a row of levels above each sealed one (two), and the series


def test_truncation_concerns_every_series_of_that_run_only(raw):
    raw.execute(
        "INSERT INTO runs SELECT 2, "
        + ", ".join(c.name for c in Run.__table__.columns if c.name != "id")
        + " FROM runs"
    )
    for run_id in (1, 2):
        appending.append(raw, run_id, {key: (np.arange(3000), np.arange(3000.0)) for key in ("a/a", "b/b")})
    put(raw, [2500], [1.0], key="late/only")
    assert series.truncate(raw, 1, 1500) == 2 * 1499 + 1
    assert {key: (s.count, s.last_step, s.last_value) for key, s in series.summaries(raw, 1).items()} == {
        "a/a": (1501, 1500, 1500.0),
        "b/b": (1501, 1500, 1500.0),
    }
    assert series.truncate(raw, 1, 1500) == 0
    assert series.summaries(raw, 2)["a/a"].count == 3000


def test_summaries_name_the_extremes_of_all_series_or_of_those_asked_for(raw):
    put(raw, np.arange(5000), np.sin(np.arange(5000)), key="val/loss")
    put(raw, [1, 2, 3], [np.inf, 2.0, np.nan])
    val = np.sin(np.arange(5000))
    wanted = series.Summary("val/loss", 5000, 4999, val[-1], val.min(), val.max(), val.argmin(), val.argmax())
    assert series.summaries(raw, 1, ["val/loss"]) == {"val/loss": wanted}
    assert series.summaries(raw, 1)[KEY] == series.Summary(KEY, 3, 3, None, 2.0, 2.0, 2, 2)
    assert series.summaries(raw, 1, []) == {}


def test_deleting_a_run_leaves_no_rows_of_it(raw):
    put(raw, np.arange(5000), np.zeros(5000))
    series.delete(raw, 1)
    assert raw.execute("SELECT (SELECT count(*) FROM chunks) + (SELECT count(*) FROM series)").fetchone() == (0,)


def test_since_returns_only_new_points_of_the_keys_asked_for(raw):
    for key in ("a/a", "b/b", "c/c"):
        put(raw, np.arange(5000), np.arange(5000), key=key)
    put(raw, [10], [1], key="old/old")
    found = series.since(raw, 1, 4998, keys={"a/a", "old/old"})
    assert {key: steps.tolist() for key, (steps, _) in found.items()} == {"a/a": [4998, 4999]}
    assert list(series.since(raw, 1, 4999)) == ["a/a", "b/b", "c/c"]


@pytest.mark.parametrize("points", [200, 20_000])
def test_tokens_are_joined_by_step_near_and_far(raw, points):
    put(raw, np.arange(1, points + 1), 512.0 * np.arange(1, points + 1), key="x/tokens")
    wanted = [0, 1, points // 2, points, points + 5]
    found = series.x_at(raw, 1, "tokens", wanted)
    assert found.dtype == np.float64
    assert found.tolist() == pytest.approx([512.0 * min(step, points) for step in wanted])


def test_the_wall_clock_axis_never_runs_backwards_and_is_exact_where_few_chunks_lie(raw):
    rng = np.random.default_rng(2)
    wall_s = np.cumsum(rng.uniform(0.01, 1.0, 30_000))
    put(raw, np.arange(1, 30_001), wall_s, key="x/wall_s")
    far = series.x_at(raw, 1, "wall_s", np.arange(0, 30_001))
    assert (np.diff(far) >= 0).all()
    assert np.abs(far[1:] - wall_s).max() < 0.01 * wall_s[-1]
    near = series.x_at(raw, 1, "wall_s", np.arange(15_000, 15_100))
    assert near.tolist() == wall_s[14_999:15_099].tolist()


def test_an_axis_without_a_series_is_nan_and_step_is_itself(raw):
    assert np.isnan(series.x_at(raw, 1, "flops", [1, 2])).all()
    assert series.x_at(raw, 1, "step", [1, 2]).tolist() == [1.0, 2.0]
    assert series.x_at(raw, 1, "tokens", []).tolist() == []


def test_an_unknown_key_reads_as_no_points(raw):
    points = series.read(raw, 1, "no/such", 0, 10, 100)
    assert (len(points.step), points.total, points.merged) == (0, 0, False)
