"""app/foreign: every kind of log is known by its beginning; bad input gives partial results with a note, or a refusal."""

import io
import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.foreign.account import account
from app.foreign.log import Curves, NotALog
from app.foreign.reader import Reader, read, read_bytes
from tests.foreign_logs import TRAIN, VAL, golden, record, scalar, version

EVALUATIONS = "".join(
    f"step {step}: train loss {4 - step / 1000}, val loss {4.1 - step / 1000}\n" for step in range(0, 1000, 100)
)


def curves_of(text: str | bytes):
    log, curves = read_bytes(text.encode() if isinstance(text, str) else text)
    return log, curves.all()


def kinds(log) -> set[str]:
    return {note.kind for note in log.notes}


def test_the_log_of_the_40m_run_gives_its_ten_evaluations():
    log, curves = curves_of(golden())
    steps, values = curves["val/loss"]
    assert (log.format, steps.tolist()) == ("nanogpt", list(range(10_000, 15_000, 500)))
    assert values.tolist() == VAL
    assert curves["eval/train_loss"][1].tolist() == TRAIN


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends_make_no_difference(encoding, end):
    log, curves = curves_of(golden().replace("\n", end).encode(encoding))
    assert curves["val/loss"][1].tolist() == VAL, encoding
    assert kinds(log) == {"iter"}


@pytest.mark.parametrize("size", [1, 7, 100, 65_537])
def test_pieces_of_any_size_give_the_same(size):
    reader = Reader(curves := Curves())
    data = golden().encode()
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
    reader.end()
    assert curves.all()["val/loss"][1].tolist() == VAL


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "The file is empty."),
        (b" \r\n\n", "The file is empty."),
        (b"hello\nworld\n", "No loss was found in its 2 lines"),
        (b"\x7fELF" + bytes(range(256)) * 4, "neither text nor a TensorBoard event file"),
        (b"PK\x03\x04....", "goes through “Import a checkpoint”"),
        (b"\x1f\x8b\x08", "compressed (gzip)"),
        (b"step,epoch\n1,2\n", "no other column of numbers"),
        (b"step,lr\n1,2\n", "No column is a loss"),
        (version() + scalar("speed", 1, 2.0), "No loss is among its scalars (elsewhere/speed, x/wall_s)"),
    ],
)
def test_what_is_no_log_is_refused_with_the_reason(data, why):
    with pytest.raises(NotALog, match=re.escape(why)):
        curves_of(data)


def test_two_runs_in_one_file_are_refused():
    def run(shift: float, ahead: int) -> list[str]:
        return [
            f"iter {step + ahead}: loss {3 + shift + step / 1e4:.4f}, time 1ms, mfu 1%" for step in range(0, 400, 10)
        ]

    for ahead in (0, 5000, 15):
        mixed = [line for pair in zip(run(0, 0), run(1, ahead), strict=True) for line in pair]
        with pytest.raises(NotALog, match="Two runs seem to write into this file"):
            curves_of("\n".join(mixed))


def test_a_resume_takes_back_what_it_rewrites_and_several_are_told():
    def lines(first: int, last: int, loss: float) -> str:
        return "".join(f"iter {step}: loss {loss}, time 1ms, mfu 1%\n" for step in range(first, last, 10))

    text = lines(0, 230, 3.0) + "Resuming training from out\n" + lines(200, 330, 2.0) + lines(300, 400, 1.0)
    log, curves = curves_of(text)
    steps, values = curves["train/loss"]
    assert log.resumes == [200, 300]
    assert steps.tolist() == [step + 1 for step in range(0, 400, 10)]  # nanoGPT counts updates from 0
    assert values.tolist() == [3.0] * 20 + [2.0] * 10 + [1.0] * 10
    assert log.facts["replays_data"] is True


def test_a_second_run_from_the_start_replaces_the_first():
    log, curves = curves_of(
        EVALUATIONS + "".join(f"step {step}: train loss 2, val loss 2\n" for step in (0, 100, 200, 300))
    )
    assert curves["val/loss"][0].tolist() == [0, 100, 200, 300]
    assert "restart" in kinds(log)
    assert log.resumes == []


def test_values_that_are_no_numbers_are_kept_and_counted():
    log, curves = curves_of(EVALUATIONS + "step 1000: train loss nan, val loss inf\n")
    assert np.isnan(curves["eval/train_loss"][1][-1])
    assert np.isinf(curves["val/loss"][1][-1])
    (note,) = [one for one in log.notes if one.kind == "nan"]
    assert (note.values["count"], note.values["step"]) == (2, 1000)
    assert account(log.as_json()).state == "failed"
    assert account(log.as_json()).reason == "non_finite"


def test_a_long_log_costs_the_memory_of_a_short_one():
    class Long(io.RawIOBase):
        def __init__(self, lines: int) -> None:
            self.step, self.lines = 0, lines

        def read(self, size: int = -1) -> bytes:
            if self.step >= self.lines:
                return b""
            self.step += 10_000
            return b"".join(b"iter %d: loss 3.1\n" % step for step in range(self.step - 10_000, self.step))

    class Nowhere(Curves):
        def take(self, columns) -> None:
            pass

    peaks = []
    for lines in (10_000, 40_000):
        tracemalloc.start()
        log = read(Long(lines), Nowhere())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert log.points == lines
    assert peaks[1] < 1.5 * peaks[0], peaks


def test_in_memory_a_metric_has_a_most_and_keeps_its_ends(monkeypatch):
    monkeypatch.setattr("app.foreign.log.MOST_KEPT", 1000)
    curves, steps = Curves(), np.arange(300)
    for block in range(10):
        curves.take({"train/loss": (300 * block + steps, steps.astype(float))})
    kept = curves["train/loss"][0]
    assert len(kept) <= 1000
    assert kept[0] == 0
    assert kept[-1] >= 2900
    assert curves.stride["train/loss"] == 4


def test_a_line_without_an_end_is_cut_and_the_next_one_read():
    log, curves = curves_of("x" * 300_000 + "\n" + EVALUATIONS)
    assert "long" in kinds(log)
    assert len(curves["val/loss"][0]) == 10


PARTS = st.sampled_from(
    [
        "step 100: train loss 3.1, val loss 3.2", "iter 7: loss nan, time 12ms, mfu -100.00%", "s:3 trl:4.1 lr:1e-4 norm:2", "step,loss\n1,2",
        "step;val/loss\n1;3,5", "Resuming training from out", "Overriding: max_iters = 9**9**9", "\r 50%|█ | 1/2", "\x1b[31m", "\x00", "٣٫٥",
        "number of parameters: 1e999M", "tokens per iteration will be: 0", "found vocab_size = " + "9" * 5000, f"iter {'9' * 5000}: loss 3",
        "num decayed parameter tensors: 5, with 1,0,0 parameters", "step 99999999999999999999: train loss 1e999, val loss -inf", '"', ",,,", "\n",
    ]
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(
    st.lists(PARTS | st.text(max_size=30), max_size=30),
    st.sampled_from(["\n", "\r\n", ""]),
    st.sampled_from(["utf-8", "utf-16"]),
)
def test_no_text_raises_anything_but_the_refusal(parts, end, encoding):
    try:
        log, curves = read_bytes(end.join(parts).encode(encoding, "surrogatepass"))
    except NotALog:
        return
    for steps, values in curves.all().values():
        assert len(steps) == len(values)
        assert (np.diff(steps) > 0).all()
    account(log.as_json())


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400), st.booleans(), st.integers(0, 200), st.integers(0, 255))
def test_no_bytes_raise_anything_but_the_refusal(data, framed, place, byte):
    if framed:  # a whole event file with one byte changed, or a record of anything
        whole = bytearray(version() + scalar("loss/train", 1, 2.0) + record(data) + scalar("loss/val", 2, 2.0))
        whole[place % len(whole)] = byte
        data = bytes(whole)
    try:
        read_bytes(data)
    except NotALog:
        return
