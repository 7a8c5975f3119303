"""Token files: flat, little-endian, whole or absent."""

import contextlib
import hashlib
from pathlib import Path

import numpy as np
import pytest

from worker.shards import ShardWriter, clear, id_type, text_hash, val_below


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


def test_a_writer_that_is_given_up_leaves_no_half_shard(tmp_path: Path) -> None:
    with contextlib.suppress(KeyError), ShardWriter(tmp_path, "val", "uint16", cap_tokens=10) as writer:
        writer.append(np.arange(15, dtype=np.uint16))
        assert (tmp_path / "val-001.bin.tmp").exists()
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["val-000.bin"]


def test_a_full_disk_reaches_the_caller_and_leaves_nothing(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    (tmp_path / "val-000.bin.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"), ShardWriter(tmp_path, "val", "uint16") as writer:
        writer.append(np.zeros(100_000, np.uint16))  # more than a buffer holds
    assert not list(tmp_path.iterdir())


def test_clear_removes_what_an_earlier_attempt_left_and_nothing_else(tmp_path: Path) -> None:
    ours = ("manifest.json", "train-000.bin", "val-003.bin.tmp", "tokenizer.tiktoken", "manifest.json.tmp")
    for name in (*ours, "notes.txt"):
        (tmp_path / name).touch()
    clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    clear(tmp_path / "new")
    assert (tmp_path / "new").is_dir()
