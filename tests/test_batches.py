from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.batches import Batches, Tokens, count_windows, fixed_windows


def write(folder: Path, *lengths: int) -> Tokens:
    """Shards of the numbers 0, 1, 2…, so that a token is its own position."""
    numbers = np.arange(sum(lengths), dtype="<u2")
    paths = []
    for index, part in enumerate(np.split(numbers, np.cumsum(lengths)[:-1])):
        paths.append(folder / f"train-{index:03d}.bin")
        paths[-1].write_bytes(part.tobytes())
    return Tokens(paths, "uint16")


def test_rows_cross_shards(tmp_path: Path) -> None:
    tokens = write(tmp_path, 10, 3, 20)
    assert len(tokens) == 33
    rows = tokens.rows(np.array([0, 8, 9, 13, 25]), 8)
    assert (rows == np.array([0, 8, 9, 13, 25])[:, None] + np.arange(8)).all()
    assert rows.dtype == np.int64


def test_targets_are_the_inputs_shifted_by_one(tmp_path: Path) -> None:
    x, y = Batches(write(tmp_path, 500), 8, 5, 1, "shuffled", seed=1).batch(0, 0)
    assert x.shape == y.shape == (5, 8)
    assert (y == x + 1).all()
    assert (x[:, 0] % 8 == 0).all(), "shuffled windows do not overlap"


def test_shuffled_shows_every_window_once_per_epoch(tmp_path: Path) -> None:
    batches = Batches(write(tmp_path, 8 * 30 + 1), 8, 4, 1, "shuffled", seed=1)  # 30 windows; batches straddle epochs
    drawn = np.concatenate([batches.starts(update, 0) for update in range(15)])
    epochs = drawn.reshape(2, 30)
    for epoch in epochs:
        assert sorted(epoch) == list(range(0, 240, 8))
    assert list(epochs[0]) != list(epochs[1])


def test_sequential_goes_through_the_files_in_order_and_begins_again(tmp_path: Path) -> None:
    batches = Batches(write(tmp_path, 8 * 5 + 3), 8, 2, 2, "sequential", seed=1)  # 5 windows
    drawn = [batches.starts(update, micro).tolist() for update in range(2) for micro in range(2)]
    assert drawn == [[0, 8], [16, 24], [32, 0], [8, 16]]


@pytest.mark.parametrize("sampler", ["shuffled", "random"])
def test_a_batch_depends_on_seed_and_step_alone(tmp_path: Path, sampler: str) -> None:
    tokens = write(tmp_path, 3000)
    first, later = (Batches(tokens, 8, 4, 2, sampler, seed=1) for _ in range(2))
    straight = [first.starts(update, micro).tolist() for update in range(300) for micro in range(2)]
    assert later.starts(299, 1).tolist() == straight[-1], "a resume starts in the middle"
    assert later.starts(0, 0).tolist() == straight[0], "and may look back"
    assert Batches(tokens, 8, 4, 2, sampler, seed=2).starts(0, 0).tolist() != straight[0]


@pytest.mark.parametrize("sampler", ["shuffled", "sequential", "random"])
def test_half_the_micro_batch_and_twice_the_accumulation_is_the_same_step(tmp_path: Path, sampler: str) -> None:
    tokens = write(tmp_path, 3000)
    whole = Batches(tokens, 8, 8, 1, sampler, seed=1)
    halves = Batches(tokens, 8, 4, 2, sampler, seed=1)
    assert whole.starts(7, 0).tolist() == [*halves.starts(7, 0), *halves.starts(7, 1)]


def test_random_draws_every_offset_about_equally_often(tmp_path: Path) -> None:
    batches = Batches(write(tmp_path, 28), 8, 1000, 1, "random", seed=1)  # offsets 0..19, as nanoGPT's randint
    counts = np.bincount(np.concatenate([batches.starts(update, 0) for update in range(20)]).astype(int))
    assert len(counts) == 20
    assert counts.min() > 850  # 1,000 expected; 5 standard deviations are 154
    assert counts.max() < 1150


def test_the_order_is_the_same_on_every_machine(tmp_path: Path) -> None:
    tokens = write(tmp_path, 8 * 30 + 1)
    # Written down from the first version: changing these changes what every resumed run reads.
    assert (Batches(tokens, 8, 6, 1, "shuffled", seed=1337).starts(0, 0) // 8).tolist() == [11, 16, 7, 6, 14, 9]
    assert Batches(tokens, 8, 6, 1, "random", seed=1337).starts(0, 0).tolist() == [57, 24, 147, 118, 124, 80]


@settings(deadline=None, max_examples=30)
@given(length=st.integers(18, 400), block=st.integers(2, 8), share=st.floats(0, 1))
def test_fixed_windows_never_overlap_and_stay_inside(tmp_path_factory, length: int, block: int, share: float) -> None:
    tokens = write(tmp_path_factory.mktemp("windows"), length)
    most = count_windows(tokens, block)
    starts = fixed_windows(tokens, block, max(1, round(most * share)))
    assert (np.diff(starts) >= block).all()
    assert starts[0] == 0
    assert starts[-1] + block + 1 <= length
    assert (tokens.rows(starts, block + 1)[:, -1] == starts + block).all()


def test_fixed_windows_are_spread_over_the_whole_split(tmp_path: Path) -> None:
    starts = fixed_windows(write(tmp_path, 8001), 8, 10)
    assert starts.tolist() == list(range(0, 8000, 800))


def test_too_few_tokens_are_named(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="8 tokens are too few: one window and its target need 9"):
        Batches(write(tmp_path, 8), 8, 1, 1, "shuffled", seed=1)
