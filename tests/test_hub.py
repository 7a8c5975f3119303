"""Files from the Hugging Face hub: its library in the worker's hands, and what is said where it or the network is missing."""

import contextlib
import hashlib
import http.server
import json
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.contract.dataset import HubSpec, Manifest
from worker import hub
from worker.journal import Journal, NullJournal
from worker.prepare import run
from worker.progress import Progress, Stopped
from worker.source_files import UnreadableSource, inspect
from worker.sources import Source

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ASKED = HubSpec(repo="someone/texts", pattern="sample/*.parquet")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def parquet(folder: Path, texts: list[str]) -> bytes:
    pq.write_table(pa.table({"text": texts}), folder / "made.parquet")
    return (folder / "made.parquet").read_bytes()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """What is on the hub, by path."""
    return {
        "README.md": b"about",
        "sample/b.parquet": parquet(tmp_path, ["three"]),
        "sample/a.parquet": parquet(tmp_path, ["one", "two"]),
    }


class Fake(types.ModuleType):
    """A stand-in for the library, with the two calls that are made of it."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__("huggingface_hub")
        self.files = files
        self.calls: list[tuple[str, str]] = []
        self.wrong: Exception | None = None
        self.waits_s = 0.0

    def HfApi(self) -> "Fake":
        return self

    def dataset_info(self, repo: str, *, revision: str, files_metadata: bool, timeout: float) -> Any:
        assert files_metadata
        assert 0 < timeout < 60
        self.calls.append(("info", revision))
        time.sleep(self.waits_s)
        if self.wrong is not None:
            raise self.wrong
        siblings = [
            types.SimpleNamespace(
                rfilename=name,
                size=len(content),
                lfs=types.SimpleNamespace(sha256=sha256(content)) if "." in name else None,
            )
            for name, content in self.files.items()
        ]
        return types.SimpleNamespace(sha=COMMIT, siblings=siblings)

    def hf_hub_download(self, repo: str, name: str, *, repo_type: str, revision: str, local_dir: Path, **_: Any) -> str:
        assert (repo_type, revision) == ("dataset", COMMIT)
        self.calls.append(("file", name))
        path = local_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.files[name])
        return str(path)


@pytest.fixture
def fake(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Fake:
    library = Fake(files)
    monkeypatch.setitem(sys.modules, "huggingface_hub", library)
    return library


def brought(folder: Path, asked: HubSpec = ASKED) -> hub.Fetched:
    return hub.bring(asked, folder, Progress(NullJournal()))


def test_the_files_that_match_are_brought_with_their_commit(fake: Fake, tmp_path: Path) -> None:
    fetched = brought(tmp_path / "hub")
    assert (fetched.kind, fetched.commit) == ("parquet", COMMIT)
    assert fetched.names == ["someone/texts/sample/a.parquet", "someone/texts/sample/b.parquet"]
    found = [inspect(name, path) for name, path in zip(fetched.names, fetched.paths, strict=True)]
    fetched.verify(found)
    assert list(Source("parquet", found).documents()) == ["one", "two", "three"]


def test_what_has_arrived_is_not_fetched_again(fake: Fake, tmp_path: Path) -> None:
    brought(tmp_path / "hub")
    fake.calls.clear()
    brought(tmp_path / "hub")
    assert fake.calls == [("info", "main")]


def test_a_file_that_arrived_damaged_is_named_and_removed(fake: Fake, tmp_path: Path) -> None:
    fetched = brought(tmp_path / "hub")
    fetched.paths[1].write_bytes(b"damaged")
    found = [inspect(name, path) for name, path in zip(fetched.names, fetched.paths, strict=True)]
    with pytest.raises(UnreadableSource, match=r"someone/texts/sample/b\.parquet did not arrive as it is"):
        fetched.verify(found)
    assert not fetched.paths[1].exists()


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("*.csv", r"No file of someone/texts matches \*\.csv\. There is: README\.md, sample/b\.parquet"),
        ("*", "not all parquet, all JSON lines or all text: README.md, sample/a.parquet"),
    ],
)
def test_a_pattern_that_does_not_fit_is_answered_with_what_there_is(
    fake: Fake, tmp_path: Path, pattern: str, sentence: str
) -> None:
    with pytest.raises(UnreadableSource, match=sentence):
        brought(tmp_path / "hub", ASKED.model_copy(update={"pattern": pattern}))


def test_a_file_name_that_leads_out_of_the_folder_is_refused(fake: Fake, tmp_path: Path) -> None:
    fake.files["sample/../../../x.parquet"] = b""
    with pytest.raises(UnreadableSource, match="which no worker may write"):
        brought(tmp_path / "hub")


class RepositoryNotFoundError(Exception):
    pass


class GatedRepoError(RepositoryNotFoundError):
    pass


class RevisionNotFoundError(Exception):
    pass


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (RepositoryNotFoundError("404"), "no dataset someone/texts, or it is private"),
        (GatedRepoError("403"), "accepted its terms"),
        (RevisionNotFoundError("404"), "no branch, tag or commit main"),
        (ConnectionError("no route to host"), "no route to host. Has this worker a network?"),
        (TimeoutError(), "Has this worker a network?"),
    ],
)
def test_what_the_hub_refuses_is_a_sentence_with_the_way_out(
    fake: Fake, tmp_path: Path, wrong: Exception, sentence: str
) -> None:
    fake.wrong = wrong
    with pytest.raises(UnreadableSource, match=sentence):
        brought(tmp_path / "hub")


def test_a_bug_is_not_called_the_networks(fake: Fake, tmp_path: Path) -> None:
    fake.wrong = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        brought(tmp_path / "hub")


def test_without_the_library_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UnreadableSource, match=r"pip install huggingface_hub\. Or download the files yourself"):
        brought(tmp_path / "hub")


def test_a_silent_hub_ends_in_a_sentence(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "STALL_S", 0.3)
    fake.waits_s = 5
    started = time.monotonic()
    with pytest.raises(UnreadableSource, match="Nothing has come from the hub"):
        brought(tmp_path / "hub")
    assert time.monotonic() - started < 4


def test_a_stop_is_obeyed_while_the_hub_is_silent(fake: Fake, tmp_path: Path) -> None:
    fake.waits_s = 5
    progress = Progress(NullJournal())
    progress.stop = "stopped"
    started = time.monotonic()
    with pytest.raises(Stopped):
        hub.bring(ASKED, tmp_path / "hub", progress)
    assert time.monotonic() - started < 4


def test_the_program_prepares_what_the_hub_has_and_records_the_commit(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATEAU_WORKER_HOME", str(tmp_path / "home"))
    fake.files["sample/a.parquet"] = parquet(tmp_path, [f"document {i}" for i in range(100)])
    job = tmp_path / "job"
    job.mkdir()
    spec = {"name": "x", "kind": "hub", "hub": ASKED.model_dump(), "tokenizer": {"kind": "bytes"}}
    config = {"dataset": "d-0001", "spec": spec, "out": str(job / "out"), "files": [], "names": []}
    (job / "config.json").write_text(json.dumps(config))
    with contextlib.closing(Journal(job / "journal" / "a1.journal")) as told:
        assert run(job, told, Progress(told)) == 0
    manifest = Manifest.model_validate_json((job / "out" / "manifest.json").read_bytes())
    assert manifest.train.documents + manifest.val.documents == 101
    assert [(row["name"], row["hub"], row["commit"]) for row in manifest.sources] == [
        (f"someone/texts/sample/{name}.parquet", "someone/texts", COMMIT) for name in "ab"
    ]
    assert not list((tmp_path / "home" / "hub").iterdir()), "what was fetched is not kept twice"


class StandIn(http.server.BaseHTTPRequestHandler):
    """The hub's answers, as its library asks for them; the first file's first answer breaks off in the middle."""

    files: dict[str, bytes]
    asked: list[str]

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        name = path.removeprefix(f"/datasets/someone/texts/resolve/{COMMIT}/")
        if path == "/api/datasets/someone/texts/revision/main":
            self.give(
                json.dumps({"id": "someone/texts", "sha": COMMIT, "siblings": self.siblings()}).encode(), {}, body
            )
        elif name in self.files:
            content = self.files[name]
            if body:
                self.asked.append(name)
            cut = len(content) // 2 if len(self.asked) == 1 else len(content)
            self.give(content, {"X-Repo-Commit": COMMIT, "ETag": f'"{sha256(content)}"'}, body, cut)
        else:
            self.send_error(404)

    def siblings(self) -> list[dict[str, Any]]:
        return [
            {"rfilename": name, "size": len(content), "lfs": {"sha256": sha256(content), "size": len(content), "pointerSize": 1}}
            for name, content in self.files.items()
        ]  # fmt: skip

    def give(self, content: bytes, headers: dict[str, str], body: bool, cut: int | None = None) -> None:
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content[:cut])
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def address(files: dict[str, bytes]) -> Iterator[str]:
    StandIn.files, StandIn.asked = files, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_the_real_library_fetches_from_a_stand_in_whose_connection_breaks(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    pytest.importorskip("huggingface_hub", reason="the library is optional: pip install huggingface_hub")
    fetched = brought(tmp_path / "hub")
    found = [inspect(name, path) for name, path in zip(fetched.names, fetched.paths, strict=True)]
    fetched.verify(found)
    assert list(Source("parquet", found).documents()) == ["one", "two", "three"]
    assert StandIn.asked == ["sample/a.parquet", "sample/a.parquet", "sample/b.parquet"]
