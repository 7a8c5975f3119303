"""app/cli/following.py: a growing file is followed through partial lines, truncation and rotation."""

import os
import threading
from pathlib import Path

import pytest

from app.cli.following import Here, Tail, Told, follow
from app.cli.rest import CliError
from tests.foreign_logs import GOLDEN_ARGS, golden


def read_all(tail: Tail) -> tuple[bytes, list[str]]:
    data, happened = b"", []
    while True:
        piece, what = tail.read()
        if what:
            happened.append(what)
        if not piece:
            return data, happened
        data += piece


def test_new_bytes_a_truncation_and_another_file_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo")
    tail = Tail(path)
    assert read_all(tail) == (b"one\ntwo", [])
    with path.open("ab") as file:
        file.write(b"!\n")
    assert read_all(tail) == (b"!\n", [])
    path.write_bytes(b"new\n")
    assert read_all(tail) == (b"new\n", ["truncated"])
    os.rename(path, tmp_path / "log.1")
    assert read_all(tail) == (b"", [])  # between two files
    path.write_bytes(b"next\n")
    assert read_all(tail) == (b"next\n", ["rotated"])
    tail.close()


def test_a_finished_log_is_diagnosed_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.log").write_text(golden())
    told = Told({"args": GOLDEN_ARGS, "facts": {"train_tokens": "7e8"}})
    assert follow(tmp_path / "a.log", Here("a.log", told, as_json=False), idle_s=0) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("step 14,500  val/loss 3.5790  improving: ")
    assert any("Not known" in line and "train_tokens" not in line for line in rest)


def test_what_is_appended_while_it_is_followed_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.log"
    path.write_text("step 0: train loss 4.2, val loss 4.3\nstep 10: train lo")

    class Watched(Here):
        def look(self, reader, *, over: bool = False) -> None:
            super().look(reader, over=over)
            looked.set()

    looked = threading.Event()

    def write() -> None:
        looked.wait(20)
        with path.open("a") as file:
            file.write("ss 4.0, val loss 4.1\n")

    writer = threading.Thread(target=write)
    writer.start()
    follow(path, Watched("a.log", Told({}), as_json=False), idle_s=1.0)
    writer.join()
    said = [line.split("  ")[:2] for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert said == [["step 0", "val/loss 4.3000"], ["step 10", "val/loss 4.1000"]]


def test_what_cannot_be_followed_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="cannot be read: No such file"):
        follow(tmp_path / "none", Here("none", Told({}), as_json=False), idle_s=0)
    (tmp_path / "words").write_text("nothing\n")
    with pytest.raises(CliError, match="No loss was found"):
        follow(tmp_path / "words", Here("words", Told({}), as_json=False), idle_s=0)
    with pytest.raises(CliError, match="--fact train_tokens"):
        Told({"facts": {"train_tokens": "many"}})
