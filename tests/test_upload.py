"""Files of this machine on their way to a real server: broken connections, two senders, folders."""

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Server
from fakes import ChaosProxy

from app.cli import upload
from app.cli.rest import AWAY, CliError, Place, Rest
from app.cli.upload import Here, found, uploads


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("upload") / "home")
    try:
        started.start()
        yield started
    finally:
        started.kill()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pieces and short waits."""
    monkeypatch.setattr(upload, "PIECE_BYTES", 50_000)
    monkeypatch.setattr(upload, "WAIT_S", 0.05)


def rest_of(server: Server, url: str | None = None) -> Rest:
    return Rest(Place(url or server.url, server.token))


def file_of(path: Path, size: int) -> tuple[Here, str]:
    content = hashlib.shake_128(path.name.encode()).digest(size)
    path.write_bytes(content)
    return Here(path.name, path), hashlib.sha256(content).hexdigest()


def stored(server: Server, sha256: str) -> bytes:
    with server.client() as http:
        return http.get(f"/api/v1/artifacts/{sha256}").raise_for_status().content


@pytest.mark.parametrize("broken", ["refuse", "swallow"])
def test_an_upload_goes_on_after_a_broken_connection(
    server: Server, tmp_path: Path, small: None, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, sha256 = file_of(tmp_path / f"{broken}.bin", 400_000)
    proxy = ChaosProxy(server.port)
    sent: list[int] = []
    one_piece = Rest.upload

    def breaking(self: Rest, *given: object) -> int:
        sent.append(int(str(given[3])))
        if len(sent) == 3:
            proxy.set(broken)
            threading.Timer(0.3, proxy.set, ["pass"]).start()
        return one_piece(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Rest, "upload", breaking)
    try:
        with rest_of(server, proxy.url) as rest:
            assert uploads(rest, [here]) == [{"name": here.name, "sha256": sha256}]
    finally:
        proxy.close()
    assert hashlib.sha256(stored(server, sha256)).hexdigest() == sha256
    assert sent[:3] == [0, 50_000, 100_000]
    assert sent[3] == {"refuse": 100_000, "swallow": 150_000}[broken], "what arrived is not sent again"


def test_an_upload_that_was_given_up_goes_on_where_it_was(
    server: Server, tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, sha256 = file_of(tmp_path / "given up.bin", 300_000)
    with rest_of(server) as rest:
        rest.upload(sha256, here.path.read_bytes()[:120_000], 300_000)
        sent: list[int] = []
        one_piece = rest.upload
        monkeypatch.setattr(rest, "upload", lambda *given: (sent.append(given[3]), one_piece(*given))[1])
        uploads(rest, [here])
    assert sent[0] == 120_000


def test_a_server_that_stays_away_ends_the_upload_with_a_way_on(tmp_path: Path, small: None) -> None:
    here, _ = file_of(tmp_path / "a.bin", 1000)
    with Rest(Place("http://127.0.0.1:9", "t")) as rest, pytest.raises(CliError) as error:
        uploads(rest, [here])
    assert error.value.exit == AWAY


def test_two_uploads_of_one_file_at_once_both_end_well(server: Server, tmp_path: Path, small: None) -> None:
    here, sha256 = file_of(tmp_path / "shared.bin", 900_000)
    ended: list[object] = []

    def send() -> None:
        with rest_of(server) as rest:
            ended.append(uploads(rest, [here]))

    senders = [threading.Thread(target=send) for _ in range(3)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(60)
    assert ended == [[{"name": "shared.bin", "sha256": sha256}]] * 3
    assert hashlib.sha256(stored(server, sha256)).hexdigest() == sha256


def test_an_empty_file_and_one_that_is_there_already_are_sent_in_no_time(server: Server, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    here, sha256 = file_of(tmp_path / "twice.bin", 1000)
    with rest_of(server) as rest:
        for _ in range(2):
            named = uploads(rest, [Here("empty.txt", tmp_path / "empty.txt"), here])
    assert [one["sha256"] for one in named] == [hashlib.sha256(b"").hexdigest(), sha256]
    assert stored(server, hashlib.sha256(b"").hexdigest()) == b""


def test_a_folder_means_its_files_of_the_kind_sorted(tmp_path: Path) -> None:
    for name in (
        "data/b.jsonl",
        "data/a.jsonl",
        "data/sub/c.json.gz",
        "data/.cache/d.jsonl",
        "data/notes.md",
        "one.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    names = [here.name for here in found([tmp_path / "one.txt", tmp_path / "data"], None)]
    assert names == ["one.txt", "data/a.jsonl", "data/b.jsonl", "data/sub/c.json.gz"]
    assert [here.name for here in found([tmp_path / "data"], "text")] == ["data/notes.md"]
    with pytest.raises(CliError, match=r"holds no files of kind parquet \(\.parquet, \.pq\)"):
        found([tmp_path / "data"], "parquet")
    with pytest.raises(CliError, match="--on-worker"):
        found([tmp_path / "none"], None)
