"""The store: pieces in order, hashes checked, links adopted, and no name but a hash ever becomes a path."""

import hashlib

import pytest

from app import artifacts
from app.errors import Conflict, Invalid, NotFound, RangeNotSatisfiable
from tests.domain import World

DATA = bytes(range(256)) * 40
NAME = hashlib.sha256(DATA).hexdigest()
TOTAL = len(DATA)


def test_pieces_are_appended_at_the_offset_and_the_last_one_completes(tmp_path):
    assert artifacts.begin(tmp_path, NAME, TOTAL) == (0, False)
    assert artifacts.append_range(tmp_path, NAME, start=0, total=TOTAL, data=DATA[:1000]) == (1000, False)
    with pytest.raises(Conflict) as wrong:
        artifacts.append_range(tmp_path, NAME, start=0, total=TOTAL, data=DATA[:1000])
    assert wrong.value.extra == {"offset": 1000}
    assert artifacts.append_range(tmp_path, NAME, start=1000, total=TOTAL, data=DATA[1000:]) == (TOTAL, True)
    assert artifacts.append_range(tmp_path, NAME, start=0, total=TOTAL, data=DATA) == (TOTAL, True)
    assert (tmp_path / NAME[:2] / NAME).read_bytes() == DATA
    assert list((tmp_path / "incoming").iterdir()) == []


def test_wrong_bytes_are_deleted_so_that_the_sender_starts_over(tmp_path):
    with pytest.raises(Invalid, match="send the file again"):
        artifacts.append_range(tmp_path, NAME, start=0, total=TOTAL, data=bytes(TOTAL))
    assert artifacts.begin(tmp_path, NAME, TOTAL) == (0, False)


def test_a_piece_past_the_end_or_another_size_is_refused(tmp_path):
    with pytest.raises(Invalid, match="after the file's 10"):
        artifacts.append_range(tmp_path, NAME, start=0, total=10, data=DATA)
    artifacts.append_range(tmp_path, NAME, start=0, total=TOTAL, data=DATA)
    with pytest.raises(Invalid, match="bytes, not 5"):
        artifacts.begin(tmp_path, NAME, 5)


def test_a_link_in_incoming_is_adopted_if_its_hash_is_right(tmp_path):
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    (incoming / NAME).write_bytes(DATA)
    assert artifacts.begin(tmp_path, NAME, TOTAL) == (TOTAL, True)
    other = "0" * 64
    (incoming / other).write_bytes(b"not it")
    with pytest.raises(Invalid):
        artifacts.begin(tmp_path, other, 6)
    assert not (incoming / other).exists()


@pytest.mark.parametrize("name", ["", "../../etc/passwd", NAME.upper(), NAME + "\n", NAME[:-1], "%2e" * 21 + "a"])
def test_nothing_but_a_hash_becomes_a_path(tmp_path, name):
    with pytest.raises(NotFound):
        artifacts.path(tmp_path, name)


def test_ranges_are_read_in_pieces(tmp_path):
    artifacts.append_range(tmp_path, NAME, start=0, total=TOTAL, data=DATA)
    whole = artifacts.open_range(tmp_path, NAME)
    assert (whole.total, b"".join(whole.pieces)) == (TOTAL, DATA)
    part = artifacts.open_range(tmp_path, NAME, 100, 200)
    assert b"".join(part.pieces) == DATA[100:200]
    with pytest.raises(RangeNotSatisfiable):
        artifacts.open_range(tmp_path, NAME, TOTAL)
    with pytest.raises(NotFound):
        artifacts.open_range(tmp_path, "0" * 64)


def test_only_a_whole_file_is_entered(tmp_path):
    world = World(tmp_path)
    store = world.settings.store

    def enter(tx, kind="upload"):
        return artifacts.complete(tx, store, NAME, kind=kind, now=1.0).bytes

    with pytest.raises(Conflict):
        world.write(enter)
    artifacts.append_range(store, NAME, start=0, total=TOTAL, data=DATA)
    with pytest.raises(Invalid, match="must be one of upload"):
        world.write(lambda tx: enter(tx, "virus"))
    assert world.write(enter) == TOTAL
    with world.db.read() as tx:
        assert artifacts.on_server(tx.raw, NAME) == TOTAL
        assert artifacts.on_server(tx.raw, "0" * 64) is None
    world.db.close()


def test_an_empty_file_is_a_file_too(tmp_path):
    name = hashlib.sha256(b"").hexdigest()
    assert artifacts.append_range(tmp_path, name, start=0, total=0, data=b"") == (0, True)
    assert b"".join(artifacts.open_range(tmp_path, name).pieces) == b""
