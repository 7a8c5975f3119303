"""The journal: whole frames in one write each, a torn tail costs only itself, the cap pauses training."""

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import journal
from worker.journal import Journal

VALUES = {"train/loss": 2.345678901234, "train/lr": 1e-3, "train/grad_norm": 1.2345678, "train/tok_per_s": 123456.7}


def frames_of(path: Path) -> list[dict]:
    return journal.read(path, 0)[0]


def test_a_reader_gets_back_exactly_what_was_written(tmp_path):
    path = tmp_path / "a1.journal"
    notes = Journal(path)
    notes.points(7, {"train/loss": 0.1 + 0.2})
    notes.log("loading\ndata", level="warn")
    notes.event("resume", 7, "from a checkpoint", first_step=7)
    notes.telemetry(device="cpu", threads=2)
    point, line, event, telemetry = frames_of(path)
    assert point == {"p": [7, {"train/loss": 0.1 + 0.2}]}
    assert line["l"][1:] == ["warn", "loading\ndata"]
    assert event == {"e": {"kind": "resume", "step": 7, "text": "from a checkpoint", "data": {"first_step": 7}}}
    assert telemetry == {"t": {"device": "cpu", "threads": 2}}


def test_non_finite_values_are_kept_as_the_three_strings(tmp_path):
    path = tmp_path / "a1.journal"
    Journal(path).points(1, {"a/b": float("nan"), "a/c": float("inf"), "a/d": float("-inf"), "a/e": 1.0})
    assert frames_of(path) == [{"p": [1, {"a/b": "NaN", "a/c": "Infinity", "a/d": "-Infinity", "a/e": 1.0}]}]


def test_a_step_is_one_write(tmp_path, monkeypatch):
    notes = Journal(tmp_path / "a1.journal")
    writes = []
    real = os.write
    monkeypatch.setattr(journal.os, "write", lambda fd, data: writes.append(data) or real(fd, data))
    notes.points(1, VALUES)
    assert len(writes) == 1


@given(cut=st.integers(min_value=0, max_value=400))
def test_a_torn_tail_costs_only_the_torn_frame(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("journal") / "a1.journal"
    notes = Journal(path)
    ends = []
    for step in range(5):
        notes.points(step, VALUES)
        ends.append(path.stat().st_size)
    os.truncate(path, max(0, ends[-1] - cut))
    left = [frame["p"][0] for frame in frames_of(path)]
    assert left == [step for step, end in enumerate(ends) if end <= ends[-1] - cut]


def test_reading_stops_at_a_flipped_bit(tmp_path):
    path = tmp_path / "a1.journal"
    notes = Journal(path)
    notes.points(1, VALUES)
    good = path.stat().st_size
    notes.points(2, VALUES)
    damaged = bytearray(path.read_bytes())
    damaged[good + 30] ^= 4
    path.write_bytes(damaged)
    assert journal.read(path, 0)[1] == good


def test_reopening_cuts_the_torn_tail_so_that_new_frames_are_readable(tmp_path):
    path = tmp_path / "a1.journal"
    Journal(path).points(1, VALUES)
    with path.open("ab") as file:
        file.write(b'0000abcd 99 {"p":[2,')
    Journal(path).points(3, VALUES)
    assert [frame["p"][0] for frame in frames_of(path)] == [1, 3]


def test_reading_goes_on_from_where_it_ended(tmp_path):
    path = tmp_path / "a1.journal"
    notes = Journal(path)
    notes.points(1, VALUES)
    _, offset = journal.read(path, 0)
    assert journal.read(path, offset) == ([], offset)
    notes.points(2, VALUES)
    assert [frame["p"][0] for frame in journal.read(path, offset)[0]] == [2]


def test_full_at_the_cap_until_the_agent_notes_what_was_delivered(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "ACKED_LOOK_EVERY_S", 0.0)
    path = tmp_path / "a1.journal"
    notes = Journal(path, cap_bytes=300)
    assert not notes.full
    for step in range(5):
        notes.points(step, VALUES)
    assert notes.full
    journal.write_acked(path, path.stat().st_size)
    assert not notes.full


def test_a_full_disk_pauses_and_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "ACKED_LOOK_EVERY_S", 0.0)
    path = tmp_path / "a1.journal"
    notes = Journal(path)
    notes.points(1, VALUES)
    real = os.write
    room = 40
    monkeypatch.setattr(journal.os, "write", lambda fd, data: real(fd, data[:room]))  # a short write, as on a full disk
    notes.points(2, VALUES)
    notes.points(3, VALUES)
    assert notes.full
    assert [frame["p"][0] for frame in frames_of(path)] == [1]
    room = 10**6
    assert not notes.full
    assert [frame["p"][0] for frame in frames_of(path)] == [1, 2, 3]


def test_an_undecodable_log_line_still_makes_legal_json(tmp_path):
    path = tmp_path / "a1.journal"
    Journal(path).log("caf\udce9")
    assert json.dumps(frames_of(path), ensure_ascii=False).encode()


def test_numbers_of_other_libraries_are_taken_as_floats(tmp_path):
    import numpy as np

    path = tmp_path / "a1.journal"
    Journal(path).points(1, {"a/b": np.float32(0.5)})  # type: ignore[dict-item]
    assert frames_of(path) == [{"p": [1, {"a/b": 0.5}]}]


@pytest.mark.parametrize("keys", [9])
def test_a_step_costs_microseconds(tmp_path, keys):
    notes = Journal(tmp_path / "a1.journal")
    values = {f"group/key_{i}": 1.0 / (i + 1) for i in range(keys)}
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        for step in range(500):
            notes.points(step, values)
        best = min(best, (time.perf_counter() - start) / 500)
    assert best < 100e-6, f"{best * 1e6:.1f} µs per step"  # 7 µs measured; a busy machine may be ten times slower
