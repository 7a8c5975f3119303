"""app/foreign/records.py against events that an encoder of our own writes, and against torch's where it can."""

import importlib.util

import pytest

from app.foreign.log import Curves
from app.foreign.reader import Reader, read_bytes
from tests.foreign_logs import field, record, scalar, varint, version


def test_scalars_by_tag_with_their_steps_and_the_time_since_the_first():
    data = version() + b"".join(
        scalar("Loss/train", step, 5 - step, 1e9 + step) + scalar("Loss/val", step, 4 - step, 1e9 + step)
        for step in range(3)
    )
    log, curves = read_bytes(data)
    assert log.format == "tensorboard"
    assert curves["train/loss"][1].tolist() == [5, 4, 3]
    assert curves["val/loss"][0].tolist() == [0, 1, 2]
    assert curves["x/wall_s"][1].tolist() == [0, 1, 2]


def test_a_scalar_in_a_tensor_is_one_too():
    _, curves = read_bytes(version() + scalar("val_loss", 300, 3.25, tensor=True))
    assert curves["val/loss"][1].tolist() == [3.25]


def test_a_damaged_record_costs_only_itself_and_a_cut_one_is_noted():
    whole = [version(), scalar("val_loss", 1, 3.0), bytearray(scalar("val_loss", 2, 2.0)), scalar("val_loss", 3, 1.0)]
    whole[2][20] ^= 1
    log, curves = read_bytes(b"".join(whole) + scalar("val_loss", 4, 0.5)[:-3])
    assert curves["val/loss"][0].tolist() == [1, 3]
    assert {note.kind: note.values["count"] for note in log.notes} == {"damaged": 1, "cut": 1}


def test_behind_a_length_that_is_damaged_nothing_is_guessed():
    bad = bytearray(scalar("val_loss", 2, 2.0))
    bad[0] ^= 1
    log, curves = read_bytes(version() + scalar("val_loss", 1, 3.0) + bytes(bad) + scalar("val_loss", 3, 1.0))
    assert curves["val/loss"][0].tolist() == [1]
    assert [note.kind for note in log.notes] == ["broken"]


def test_long_records_are_passed_over_without_being_held():
    image = record(field(2, 0, varint(1)) + field(5, 2, b"\0" * 200_000))
    reader = Reader(curves := Curves())
    for piece in (version(), image[:70_000], image[70_000:], scalar("val_loss", 5, 3.0)):
        reader.feed(piece)
    reader.end()
    assert curves["val/loss"][0].tolist() == [5]


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_what_torch_writes(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(5):
            writer.add_scalar("Loss/val", 3 - step / 10, step)
    (file,) = tmp_path.iterdir()
    _, curves = read_bytes(file.read_bytes())
    assert curves["val/loss"][1].tolist() == pytest.approx([3 - step / 10 for step in range(5)])
