"""32-token windows: what validation shares with train, and train with itself."""

import numpy as np
import pytest

from worker import leakage
from worker.documents import Stream
from worker.leakage import WINDOW, Windows, one_in, table, window_hashes

V = 500


def streams(tmp_path, train, val):
    made = []
    for name, ids in (("train", train), ("val", val)):
        (tmp_path / name).write_bytes(np.asarray(ids, "<u2").tobytes())
        made.append(Stream([tmp_path / name], "uint16"))
    return made


def found(tmp_path, train, val, size=1000):
    train, val = streams(tmp_path, train, val)
    windows = Windows(train, val, V)
    for _, ids in val.blocks(overlap=WINDOW - 1, size=size):
        windows.add_val(ids)
    for _, ids in train.blocks(overlap=WINDOW - 1, size=size):
        windows.add_train(ids)
    return windows.leakage(), windows.repeats()


def truth(train, val):
    """The shares by Python's sets."""

    def windows(ids):
        return [tuple(ids[i : i + WINDOW]) for i in range(len(ids) - WINDOW + 1)]

    of_train, of_val = windows(train), windows(val)
    known = set(of_train)
    return sum(one in known for one in of_val) / len(of_val), 1 - len(known) / len(of_train)


def some(seed=0):
    random = np.random.default_rng(seed)
    train, val = random.integers(0, V, 12_000), random.integers(0, V, 3_000)
    val[500:900] = train[4000:4400]
    train[9000:9600] = train[1000:1600]
    return train.tolist(), val.tolist()


def test_equal_windows_have_equal_hashes_wherever_they_stand():
    ids = np.random.default_rng(1).integers(0, V, 200)
    hashes = window_hashes(np.concatenate([ids, ids]), table(V))
    assert len(hashes) == 400 - WINDOW + 1
    assert (hashes[:169] == hashes[200:]).all()
    assert len(np.unique(hashes[:200])) == 200
    assert len(window_hashes(ids[: WINDOW - 1], table(V))) == 0


def test_the_shares_are_those_of_every_window_compared_with_every_other(tmp_path):
    train, val = some()
    leak, repeats = found(tmp_path, train, val)
    expected_leak, expected_repeats = truth(train, val)
    assert leak.window_share == pytest.approx(expected_leak, abs=1e-12)
    assert repeats.share == pytest.approx(expected_repeats, abs=1e-12)
    assert expected_leak > 0.12
    assert expected_repeats > 0.04
    assert (leak.drawn_one_in, leak.windows) == (1, 3000 - WINDOW + 1)


def test_the_size_of_the_blocks_changes_nothing(tmp_path):
    train, val = some(1)
    assert found(tmp_path, train, val, size=97) == found(tmp_path, train, val, size=100_000)


def test_drawn_windows_estimate_the_share(tmp_path, monkeypatch):
    monkeypatch.setattr(leakage, "VAL_WINDOWS", 800)
    monkeypatch.setattr(leakage, "TRAIN_WINDOWS", 3000)
    train, val = some(2)
    leak, repeats = found(tmp_path, train, val)
    expected_leak, expected_repeats = truth(train, val)
    assert (leak.drawn_one_in, repeats.drawn_one_in) == (4, 4)
    assert 600 < leak.windows < 900
    assert leak.window_share == pytest.approx(expected_leak, abs=0.04)
    assert repeats.share == pytest.approx(expected_repeats, abs=0.02)


def test_a_split_shorter_than_a_window_has_no_share(tmp_path):
    leak, repeats = found(tmp_path, [1, 2, 3], [4])
    assert (leak.windows, leak.window_share) == (0, None)
    assert (repeats.windows, repeats.share) == (0, None)


def test_one_in_grows_by_doubling():
    assert [one_in(n, 100) for n in (0, 100, 101, 400, 401)] == [1, 1, 2, 4, 8]
