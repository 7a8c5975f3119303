"""A preparation that was interrupted goes on from what is really on the disk."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, wait_until
from preparations import (
    StopsAt,
    Told,
    check_files,
    files_in,
    frames,
    job,
    many_documents,
    prepared,
    some_documents,
    spec_of,
    started,
)

from worker import journal
from worker.journal import NullJournal
from worker.prepare import run
from worker.progress import Progress, Stopped
from worker.shards import ShardWriter
from worker.source_files import Fault, UnreadableSource
from worker.unfinished import KEPT_S, UNITS, Note, Unfinished, held, tidy

RECIPE = "0123456789abcdef" * 4
SETTLED = {"tokenizer": {"kind": "bytes"}, "boundary": None}
UNITS_DONE = 8


def writers(folder: Path) -> tuple[ShardWriter, ShardWriter]:
    return ShardWriter(folder, "train", "uint16", 100), ShardWriter(folder, "val", "uint16", 100)


def ids(unit: int, side: int) -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
    return np.arange(30 if side == 0 else 7, dtype=np.uint16) + 100 * unit + side


def left_behind(folder: Path) -> Unfinished:
    """Eight units of 30 train and 7 val tokens, in shards of 100; no process is at work any more."""
    folder.mkdir(parents=True, exist_ok=True)
    work = Unfinished(folder)
    work.begin(SETTLED)
    both = work.go_on(lambda: writers(folder))
    with both[0], both[1]:
        noted = [0, 0]
        for unit in range(UNITS_DONE):
            for side, writer in enumerate(both):
                writer.append(ids(unit, side))
            new = [writer.done[count:] for writer, count in zip(both, noted, strict=True)]
            noted = [len(writer.done) for writer in both]
            fault = Fault(0, unit, f"row {unit} was left out")
            work.add(
                Note(unit + 1, 0, (unit, 1), (9, 9), 0, (both[0].mark(), both[1].mark()), (new[0], new[1]), (fault,))
            )
    return Unfinished(folder)


def test_what_was_noted_is_read_again(tmp_path: Path) -> None:
    work = left_behind(tmp_path)
    assert work.settled == SETTLED
    assert [note.units for note in work.notes] == list(range(1, UNITS_DONE + 1))
    assert [fault.position for note in work.notes for fault in note.new_faults] == list(range(UNITS_DONE))
    assert [shard.file for note in work.notes for shard in note.new_shards[0]] == ["train-000.bin", "train-001.bin"]
    both = work.go_on(lambda: writers(tmp_path))
    with both[0], both[1]:
        for side, writer in enumerate(both):
            expected = np.concatenate([ids(unit, side) for unit in range(UNITS_DONE)])
            assert np.array_equal(np.concatenate([*writer.written()]), expected)


def lose_the_end(folder: Path) -> None:
    path = folder / "val-000.bin.tmp"
    os.truncate(path, 2 * 7 * 5 + 3)


def blank_a_page(folder: Path) -> None:
    path = folder / "train-002.bin.tmp"
    path.write_bytes(bytes(path.stat().st_size))


def tear_the_notes(folder: Path) -> None:
    path = folder / UNITS
    os.truncate(path, path.stat().st_size - 20)


@pytest.mark.parametrize(
    ("damage", "most"), [(lose_the_end, 5), (blank_a_page, 7), (tear_the_notes, 7), (lambda folder: None, 8)]
)
def test_after_a_power_cut_it_goes_on_from_a_note_that_the_shards_agree_with(
    tmp_path: Path, damage: Callable[[Path], None], most: int
) -> None:
    left_behind(tmp_path)
    damage(tmp_path)
    work = Unfinished(tmp_path)
    both = work.go_on(lambda: writers(tmp_path))
    units = len(work.notes)
    assert 0 < units <= most
    with both[0], both[1]:
        for side, writer in enumerate(both):
            assert np.array_equal(
                np.concatenate([*writer.written()]), np.concatenate([ids(unit, side) for unit in range(units)])
            )
    assert [note.units for note in Unfinished(tmp_path).notes] == list(range(1, units + 1)), "later notes were kept"


def test_where_no_note_holds_it_starts_over(tmp_path: Path) -> None:
    left_behind(tmp_path)
    for path in tmp_path.glob("*.bin*"):
        path.unlink()
    work = Unfinished(tmp_path)
    both = work.go_on(lambda: writers(tmp_path))
    assert (work.notes, both[0].tokens, both[1].tokens) == ([], 0, 0)
    assert Unfinished(tmp_path).settled == SETTLED


def test_one_process_at_a_time_holds_a_recipe_and_its_death_lets_go(tmp_path: Path) -> None:
    script = (
        "import sys, time, pathlib; from worker.unfinished import held\n"
        f"with held(pathlib.Path(sys.argv[1]), {RECIPE!r}, lambda: None): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        waited = 0

        def on_wait() -> None:
            nonlocal waited
            waited += 1
            if waited == 2:
                other.kill()

        with held(tmp_path, RECIPE, on_wait) as work:
            assert work.folder.is_dir()
    assert waited >= 2


def test_a_wish_to_stop_is_heard_while_another_process_holds_it(tmp_path: Path) -> None:
    def on_wait() -> None:
        raise KeyboardInterrupt

    with held(tmp_path, RECIPE, on_wait), pytest.raises(KeyboardInterrupt), held(tmp_path, RECIPE, on_wait):
        pytest.fail("two hold it")


def test_what_nobody_went_on_with_for_a_week_is_removed_unless_it_is_held(tmp_path: Path) -> None:
    now = time.time()
    names = {}
    for name, recipe in (("old", "a" * 64), ("new", "b" * 64), ("held", "c" * 64)):
        with held(tmp_path, recipe, lambda: None) as work:
            names[name] = work.folder
            (work.folder / "train-000.bin").write_bytes(b"tokens")
    for name in ("old", "held"):
        for path in (names[name] / "train-000.bin", names[name]):
            os.utime(path, (now - KEPT_S - 60,) * 2)
    with held(tmp_path, "c" * 64, lambda: None):
        os.utime(names["held"], (now - KEPT_S - 60,) * 2)
        tidy(tmp_path, now)
    assert [name for name, folder in names.items() if folder.exists()] == ["new", "held"]


def test_the_finished_folder_takes_the_place_of_the_other(tmp_path: Path) -> None:
    out = tmp_path / "job" / "out"
    out.mkdir(parents=True)
    (out / "left").touch()
    with held(tmp_path, RECIPE, lambda: None) as work:
        work.begin(SETTLED)
        (work.folder / "manifest.json").write_text(json.dumps({}))
        work.hand_over(out)
    assert [path.name for path in out.iterdir()] == ["manifest.json"]
    assert not work.folder.exists()


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return some_documents(tmp_path / "texts.parquet")


def test_a_full_disk_is_said_to_be_full_and_what_was_finished_is_gone_on_with(
    tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = job(tmp_path, spec_of("parquet", texts, tokenizer={"kind": "bytes"}).model_dump(mode="json"), texts)
    monkeypatch.setenv("PLATEAU_WORKER_HOME", str(tmp_path / "home"))
    append, room = ShardWriter.append, 60_000

    def until_full(self: ShardWriter, ids: Any) -> None:
        nonlocal room
        room -= len(ids) * 2
        if room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(self, ids)

    monkeypatch.setattr(ShardWriter, "append", until_full)
    write, spare = journal.Journal._write, folder / "spare"
    # the journal lies on the same disk: only what was kept for it gives it room
    monkeypatch.setattr(journal.Journal, "_write", lambda self, frame: (room >= 0 or not spare.exists()) and write(self, frame))  # fmt: skip
    told = journal.Journal(folder / "journal" / "a2.journal")
    assert run(folder, told, Progress(told)) == 1
    sentence = next(frame["l"][2] for frame in frames(folder) if "l" in frame)
    assert "The worker's disk is full" in sentence
    assert "what is finished is kept" in sentence
    (unfinished,) = (tmp_path / "home" / "preparing").glob("*/")
    done = len(Unfinished(unfinished).notes)
    assert 0 < done < 8
    monkeypatch.undo()
    monkeypatch.setenv("PLATEAU_WORKER_HOME", str(tmp_path / "home"))
    assert run(folder, told, Progress(told)) == 0
    told.close()
    assert frames(folder)[-2]["l"][2].startswith("700 documents")
    assert frames(folder)[-2]["l"][2].endswith("an interrupted preparation was gone on with")
    assert any(frame.get("t", {}).get("came_by") == "resumed" for frame in frames(folder))


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_preparation_that_was_killed_goes_on_from_its_last_unit_to_the_same_bytes(
    tmp_path: Path, end: signal.Signals
) -> None:
    many = many_documents(tmp_path / "many.parquet")
    spec = spec_of("parquet", many, tokenizer={"kind": "bytes"})
    folder = job(tmp_path, spec.model_dump(mode="json"), many)
    preparing = folder / "home" / "preparing"

    def units() -> int:
        return sum(path.read_bytes().count(b"\n") - 1 for path in preparing.glob("*/units.jsonl"))

    with started(folder) as process:
        wait_until(lambda: units() >= 3 or process.poll() is not None, 60, "no unit was finished")
        assert process.poll() is None, process.stderr and process.stderr.read()
        process.send_signal(end)
        process.wait(20)
    done = units()
    assert 3 <= done < 1200, "it was over before it was killed"
    with started(folder, attempt=3) as process:
        assert process.stderr is not None
        assert process.wait(60) == 0, process.stderr.read()
    said = [frame["t"] for frame in frames(folder, attempt=3) if frame.get("t", {}).get("phase") == "tokens"]
    assert said[0]["came_by"] == "resumed"
    assert [frame["t"].get("phase") for frame in frames(folder, attempt=3) if "t" in frame].count("vocabulary") == 0
    prepared(tmp_path / "whole", spec, many, threads=1)
    assert files_in(folder / "out") == files_in(tmp_path / "whole")


def test_a_changed_file_is_not_gone_on_with(tmp_path: Path, texts: Path) -> None:
    spec = spec_of("parquet", texts, tokenizer={"kind": "bytes"})
    home = tmp_path / "home"
    with pytest.raises(Stopped):
        prepared(tmp_path / "out", spec, texts, home=home, progress=StopsAt("tokens", 5))
    assert list(home.glob("preparing/*/train-000.bin.tmp"))
    other = pa.table({"text": [f"Other {i}" for i in range(300)]})
    pq.write_table(other, texts, row_group_size=50)
    told = Told()
    manifest = prepared(tmp_path / "out", spec, texts, home=home, progress=Progress(told))
    assert told.came_by == "new"
    assert manifest.train.documents + manifest.val.documents == 300
    prepared(tmp_path / "whole", spec, texts)
    assert files_in(tmp_path / "out") == files_in(tmp_path / "whole")


def test_a_file_that_changes_while_it_is_read_is_named_and_nothing_of_it_kept(tmp_path: Path, texts: Path) -> None:
    spec = spec_of("parquet", texts, tokenizer={"kind": "bytes"})

    class Touches(Progress):
        def phase(self, name: str, **given: Any) -> None:
            if name == "tokens":
                os.utime(texts, (1, 1))

    with pytest.raises(UnreadableSource, match=r"texts\.parquet changed while being read"):
        prepared(tmp_path / "out", spec, texts, home=tmp_path / "home", progress=Touches(NullJournal()))
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("home/preparing/*/*"))


def test_one_that_was_killed_before_it_was_handed_over_is_handed_over_under_the_new_name(
    tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of("parquet", texts, tokenizer={"kind": "bytes"})

    def killed(self: Unfinished, out: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Unfinished, "hand_over", killed)
        with pytest.raises(KeyboardInterrupt):
            prepared(tmp_path / "out", spec, texts, home=tmp_path / "home")
    manifest = prepared(tmp_path / "out", spec.model_copy(update={"name": "y"}), texts, home=tmp_path / "home")
    assert manifest.spec.name == "y"
    check_files(tmp_path / "out", manifest)
