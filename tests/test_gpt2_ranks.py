"""GPT-2's ranks are found on this machine or asked for, never fetched."""

import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from worker.gpt2_ranks import CACHED_MERGES, CACHED_RANKS, RANKS_SHA256, NoRanks, gpt2_ranks, read_merges
from worker.tokenizers import read_ranks


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, and no cache in the temporary folder."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something went to the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def test_without_a_file_the_message_names_it_its_hash_its_place_and_the_other_ways(tmp_path: Path) -> None:
    with pytest.raises(NoRanks) as told:
        gpt2_ranks({"TIKTOKEN_CACHE_DIR": ""}, tmp_path / "worker")
    for part in ("gpt2.tiktoken", RANKS_SHA256, str(tmp_path / "worker"), "PLATEAU_GPT2_RANKS", "bpe", "characters"):
        assert part in str(told.value)


def test_a_named_file_that_is_missing_or_another_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoRanks, match="cannot be read: No such file"):
        gpt2_ranks({"PLATEAU_GPT2_RANKS": str(tmp_path / "nowhere")}, tmp_path)
    (tmp_path / "gpt2.tiktoken").write_bytes(b"IQ== 0\n")
    with pytest.raises(NoRanks, match=r"is not GPT-2's gpt2\.tiktoken: its sha256 is"):
        gpt2_ranks({}, tmp_path)


def test_a_damaged_cache_is_passed_over_and_left_alone(tmp_path: Path) -> None:
    damaged = tmp_path / CACHED_RANKS
    damaged.write_bytes(b"IQ== 0\n")
    with pytest.raises(NoRanks):
        gpt2_ranks({"TIKTOKEN_CACHE_DIR": str(tmp_path)}, tmp_path / "worker")
    assert damaged.read_bytes() == b"IQ== 0\n"


def test_every_place_gives_the_same_50256_ranks(data_folder: Path, tmp_path: Path) -> None:
    truth = read_ranks((data_folder / "gpt2.tiktoken").read_bytes())
    assert len(truth) == 50256
    assert gpt2_ranks({"PLATEAU_GPT2_RANKS": str(data_folder / "gpt2.tiktoken")}, tmp_path) == truth
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        assert gpt2_ranks({variable: str(data_folder / "tiktoken_cache")}, tmp_path) == truth
    shutil.copytree(data_folder / "tiktoken_cache", tmp_path / "temporary" / "data-gym-cache")
    assert gpt2_ranks({}, tmp_path) == truth
    shutil.copy(data_folder / "gpt2.tiktoken", tmp_path)
    assert gpt2_ranks({}, tmp_path) == truth


def test_the_merges_that_get_encoding_caches_are_the_same_vocabulary(data_folder: Path, tmp_path: Path) -> None:
    shutil.copy(data_folder / "tiktoken_cache" / CACHED_MERGES, tmp_path)
    truth = read_ranks((data_folder / "gpt2.tiktoken").read_bytes())
    assert gpt2_ranks({"TIKTOKEN_CACHE_DIR": str(tmp_path)}, tmp_path / "worker") == truth
    assert read_merges((tmp_path / CACHED_MERGES).read_bytes()) == truth
