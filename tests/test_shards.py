"""Token files: flat, little-endian, whole or absent."""

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from worker.shards import ShardWriter, Torn, id_type, text_hash, val_below


def test_the_hash_is_blake2b_64_big_endian() -> None:
    # Golden: `printf abc | b2sum -l 64`, GNU coreutils.
    assert text_hash(b"abc") == 0xD8BB14D833D59559


def test_the_val_share_of_many_texts_is_the_share_asked_for() -> None:
    below = val_below(0.1)
    held_out = sum(text_hash(f"document {i}".encode()) < below for i in range(20_000))
    assert abs(held_out / 20_000 - 0.1) < 4 * (0.1 * 0.9 / 20_000) ** 0.5


@pytest.mark.parametrize(("vocab_size", "dtype"), [(257, "uint16"), (65_536, "uint16"), (65_537, "uint32")])
def test_ids_take_two_bytes_up_to_65536_entries(vocab_size: int, dtype: str) -> None:
    assert id_type(vocab_size) == dtype


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_shards_joined_are_the_ids_and_all_but_the_last_are_full(tmp_path: Path, dtype: str) -> None:
    ids = np.arange(1000, dtype=dtype) + 250
    with ShardWriter(tmp_path, "train", dtype, cap_tokens=300) as writer:
        for start in range(0, 1000, 77):
            writer.append(ids[start : start + 77])
        shards = writer.close()
    assert [shard.file for shard in shards] == [f"train-{i:03}.bin" for i in range(4)]
    assert [shard.tokens for shard in shards] == [300, 300, 300, 100]
    joined = b"".join((tmp_path / shard.file).read_bytes() for shard in shards)
    assert joined == ids.astype("<u2" if dtype == "uint16" else "<u4").tobytes()
    for shard in shards:
        content = (tmp_path / shard.file).read_bytes()
        assert (shard.bytes, shard.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert len(list(tmp_path.iterdir())) == 4


def test_a_writer_goes_on_from_any_of_its_marks_to_the_same_bytes(tmp_path: Path) -> None:
    ids = np.arange(1000, dtype=np.uint16) * 7
    whole = tmp_path / "whole"
    whole.mkdir()
    marks = []
    with ShardWriter(whole, "train", "uint16", cap_tokens=300) as writer:
        for start in range(0, 1000, 90):
            marks.append((writer.tokens, writer.mark(), list(writer.done)))
            writer.append(ids[start : start + 90])
        shards = writer.close()
    expected = {path.name: path.read_bytes() for path in whole.iterdir()}
    for tokens, mark, done in marks:
        folder = tmp_path / str(tokens)
        folder.mkdir()
        for name, content in expected.items():  # also what came after the mark, under whichever name
            (folder / name).write_bytes(content)
        with ShardWriter(folder, "train", "uint16", cap_tokens=300) as writer:
            writer.go_on(mark, done)
            assert writer.tokens == tokens
            assert np.array_equal(np.concatenate([*writer.written(), ids[tokens:]]), ids)
            writer.append(ids[tokens:])
            assert writer.close() == shards
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected


def test_a_writer_that_is_given_up_keeps_its_unfinished_shard(tmp_path: Path) -> None:
    with contextlib.suppress(KeyError), ShardWriter(tmp_path, "val", "uint16", cap_tokens=10) as writer:
        writer.append(np.arange(15, dtype=np.uint16))
        raise KeyError
    assert (tmp_path / "val-000.bin").stat().st_size == 20
    assert (tmp_path / "val-001.bin.tmp").stat().st_size == 10


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [shorten, zero, Path.unlink])
def test_a_shard_that_is_not_what_its_mark_says_is_not_gone_on_with(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    with ShardWriter(tmp_path, "val", "uint16", cap_tokens=10) as writer:
        writer.append(np.arange(15, dtype=np.uint16))
        mark = writer.mark()
        done = list(writer.done)
    damage(tmp_path / "val-001.bin.tmp")
    with pytest.raises(Torn), ShardWriter(tmp_path, "val", "uint16", cap_tokens=10) as writer:
        writer.go_on(mark, done)


def test_a_full_disk_reaches_the_caller(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    (tmp_path / "val-000.bin.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"), ShardWriter(tmp_path, "val", "uint16") as writer:
        writer.append(np.zeros(100_000, np.uint16))  # more than a buffer holds
