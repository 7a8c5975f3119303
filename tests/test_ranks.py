"""Published ranks are found on this machine by their hash, or downloaded in bounded time, or asked for."""

import hashlib
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker import client, ranks
from worker.ranks import MERGES, PUBLISHED, NoRanks, Unreachable, find, read_merges
from worker.tokenizers import read_ranks

KINDS = list(PUBLISHED)
GPT2 = PUBLISHED["gpt2"]


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, no cache in the temporary folder, no package that carries ranks."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something went to the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(ranks, "_whispers", lambda: iter(()))


@pytest.mark.parametrize("kind", KINDS)
def test_the_message_says_which_file_tiktoken_wants_where_and_what_else_there_is(tmp_path: Path, kind: str) -> None:
    def download(_: str) -> bytes:
        raise Unreachable("the network is down")

    with pytest.raises(NoRanks) as told:
        find(kind, {"TIKTOKEN_CACHE_DIR": str(tmp_path / "cache")}, tmp_path / "worker", download)
    published = PUBLISHED[kind]
    wanted = [published.url, published.sha256, published.cached_as, str(tmp_path / "cache"), str(tmp_path / "worker")]
    for part in [*wanted, "the network is down", "bpe", "bytes", "characters"]:
        assert part in str(told.value)
    assert (MERGES.cached_as in str(told.value)) == (kind in ("gpt2", "r50k_base"))


def test_the_names_in_the_cache_are_tiktokens() -> None:
    # data.md, part 1, as read from tiktoken's cache: sha1 of the address.
    assert GPT2.cached_as == "0ea1e91bbb3a60f729a8dc8f777fd2fc07cd8df4"
    assert MERGES.cached_as == "6d1cbeee0f20b3d9449abfede4726ed8212e3aee"


def test_addresses_and_hashes_are_those_that_tiktoken_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from tiktoken_ext import openai_public

    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(
        openai_public, "load_tiktoken_bpe", lambda url, expected_hash: asked.append((url, expected_hash)) or {}
    )
    names = [kind for kind in KINDS if kind != "gpt2"]
    for name in names:
        openai_public.ENCODING_CONSTRUCTORS[name]()
    assert asked == [tuple(PUBLISHED[name]) for name in names]


def test_what_is_downloaded_is_checked_kept_and_not_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"IQ== 0\n"
    published = PUBLISHED["p50k_base"]._replace(sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(PUBLISHED, "p50k_base", published)
    asked: list[str] = []

    def download(url: str) -> bytes:
        asked.append(url)
        return content

    for _ in range(2):
        assert find("p50k_base", {}, tmp_path / "worker", download) == {b"!": 0}
    assert asked == [published.url]
    assert (tmp_path / "worker" / "p50k_base.tiktoken").read_bytes() == content


def test_a_download_that_is_another_file_is_refused_and_not_kept(tmp_path: Path) -> None:
    with pytest.raises(NoRanks, match="what came has another sha256"):
        find("gpt2", {}, tmp_path, lambda _: b"<html>Sign in to this network</html>")
    assert not list(tmp_path.glob("*.tiktoken*"))


@pytest.fixture
def silent_address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address that takes a connection and never says a word."""
    monkeypatch.undo()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"http://127.0.0.1:{silent.getsockname()[1]}/r50k_base.tiktoken"


def test_a_network_that_drops_everything_ends_the_download_in_time_and_is_asked_meanwhile(silent_address: str) -> None:
    began, asked = time.monotonic(), 0

    def on_wait() -> None:
        nonlocal asked
        asked += 1

    with pytest.raises(client.WorkerError, match=r"there was no whole answer within 1 s"):
        client.download(silent_address, on_wait, within_s=0.6)
    assert time.monotonic() - began < 5
    assert asked >= 3


def test_a_name_server_that_never_answers_ends_the_download_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def silent(*_: object, **__: object) -> None:
        answered.wait(20)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    began = time.monotonic()
    with pytest.raises(client.WorkerError, match="no whole answer"):
        client.download(GPT2.url, lambda: None, within_s=0.3)
    assert time.monotonic() - began < 5
    answered.set()


def test_a_closed_port_is_said_at_once(silent_address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"http://127.0.0.1:{gone.getsockname()[1]}/"
    with pytest.raises(client.WorkerError, match="refused"):
        client.download(address, lambda: None, within_s=20)


def test_a_named_file_that_is_missing_or_another_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoRanks, match="cannot be read: No such file"):
        find("gpt2", {"PLATEAU_GPT2_RANKS": str(tmp_path / "nowhere")}, tmp_path)
    (tmp_path / "gpt2.tiktoken").write_bytes(b"IQ== 0\n")
    with pytest.raises(NoRanks, match=r"is not r50k_base\.tiktoken: its sha256 is .* Remove it"):
        find("gpt2", {}, tmp_path)


def test_a_damaged_cache_is_passed_over_and_left_alone(tmp_path: Path) -> None:
    damaged = tmp_path / GPT2.cached_as
    damaged.write_bytes(b"IQ== 0\n")
    with pytest.raises(NoRanks):
        find("gpt2", {"TIKTOKEN_CACHE_DIR": str(tmp_path)}, tmp_path / "worker")
    assert damaged.read_bytes() == b"IQ== 0\n"


def test_every_place_gives_the_same_50256_ranks(data_folder: Path, tmp_path: Path) -> None:
    truth = read_ranks((data_folder / "gpt2.tiktoken").read_bytes())
    assert len(truth) == 50256
    assert find("gpt2", {"PLATEAU_GPT2_RANKS": str(data_folder / "gpt2.tiktoken")}, tmp_path) == truth
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        assert find("gpt2", {variable: str(data_folder / "tiktoken_cache")}, tmp_path) == truth
    shutil.copytree(data_folder / "tiktoken_cache", tmp_path / "temporary" / "data-gym-cache")
    assert find("gpt2", {}, tmp_path) == truth
    shutil.copy(data_folder / "gpt2.tiktoken", tmp_path)
    assert find("gpt2", {}, tmp_path) == truth


def test_the_merges_that_get_encoding_caches_are_the_same_vocabulary(data_folder: Path, tmp_path: Path) -> None:
    shutil.copy(data_folder / "tiktoken_cache" / MERGES.cached_as, tmp_path)
    truth = read_ranks((data_folder / "gpt2.tiktoken").read_bytes())
    assert find("gpt2", {"TIKTOKEN_CACHE_DIR": str(tmp_path)}, tmp_path / "worker") == truth
    assert read_merges((tmp_path / MERGES.cached_as).read_bytes()) == truth
