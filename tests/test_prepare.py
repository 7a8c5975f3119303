"""The preparing program: from files to a manifest, and what it says when it cannot."""

import hashlib
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import wait_until
from preparations import check_files, frames, ids_of, job, prepared, some_documents, spec_of, started

from app.contract.dataset import Manifest
from worker import journal, tokenizers
from worker.prepare import run
from worker.progress import Progress


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return some_documents(tmp_path / "texts.parquet")


def test_the_builtin_dataset_is_prepared_by_the_program_the_agent_starts(tmp_path: Path) -> None:
    folder = job(tmp_path, {"name": "python-stdlib", "kind": "builtin"})
    with started(folder) as process:
        assert process.stderr is not None
        assert process.wait(120) == 0, process.stderr.read()
    manifest = Manifest.model_validate_json((folder / "out" / "manifest.json").read_bytes())
    assert manifest.tokenizer.vocab_size == 4096
    assert manifest.tokenizer.eot == 4095
    assert manifest.train.tokens > 500_000
    assert 0.02 < manifest.val.tokens / manifest.train.tokens < 0.25
    assert 2.5 < manifest.bytes_per_token < 4.5  # data.md, part 5: 3.5 with its own 4096
    assert 5.5 < manifest.unigram_entropy < 7.5
    said = frames(folder)
    phases = [frame["t"]["phase"] for frame in said if "phase" in frame.get("t", {})]
    assert list(dict.fromkeys(phases)) == ["reading", "vocabulary", "tokens"]
    assert said[-1] == {"t": {"outcome": "finished"}}
    check_files(folder / "out", manifest)


@pytest.mark.parametrize("kind", ["bpe", "bytes", "characters"])
def test_the_tokens_decode_to_the_documents_and_the_manifest_counts_them(
    tmp_path: Path, texts: Path, kind: str
) -> None:
    spec = spec_of("parquet", texts, tokenizer={"kind": kind, "vocab_size": 400}, val_share=0.2)
    manifest = prepared(tmp_path / "out", spec, texts)
    check_files(tmp_path / "out", manifest)
    tokenizer = tokenizers.load(manifest.tokenizer, tmp_path / "out")
    found = []
    for split in (manifest.train, manifest.val):
        _, *documents = tokenizer.decode(ids_of(tmp_path / "out", manifest, split)).split("<|endoftext|>")
        assert len(documents) == split.documents
        found += documents
    original = [text for text in pq.read_table(texts)["text"].to_pylist() if text]
    assert sorted(found) == sorted(original)
    assert manifest.empty_documents == 2
    assert manifest.sources == [
        {
            "name": "texts.parquet",
            "bytes": texts.stat().st_size,
            "sha256": hashlib.sha256(texts.read_bytes()).hexdigest(),
            "text_column": "text",
            "schema": "text alone, as TinyStories and OpenWebText",
        }
    ]
    first = [document for document in manifest.preview if document.chosen == "first"]
    for document, text in zip(first, original, strict=False):
        assert document.text == "".join(document.tokens) == text[:1500]
        assert tokenizer.decode(document.ids) == document.text
    assert len(first) == 3


def test_a_second_run_on_other_cores_over_the_remains_of_the_first_is_the_same_bytes(
    tmp_path: Path, texts: Path
) -> None:
    spec = spec_of("parquet", texts, tokenizer={"kind": "bpe", "vocab_size": 400})
    first, second = tmp_path / "first", tmp_path / "second"
    prepared(first, spec, texts, threads=1)
    assert not list((tmp_path / "first-home" / "preparing").glob("*/")), "something was left behind"
    second.mkdir()
    (second / "train-007.bin").write_bytes(b"left by an earlier attempt")
    prepared(second, spec, texts, threads=3)
    assert {p.name: p.read_bytes() for p in first.iterdir()} == {p.name: p.read_bytes() for p in second.iterdir()}


def not_parquet(path: Path) -> None:
    path.write_text("text")


def other_column(path: Path) -> None:
    pq.write_table(pa.table({"n": [1]}), path)


def no_text(path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([None, ""], pa.string())}), path)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (not_parquet, "a.parquet is not a parquet file"),
        (other_column, "None holds text, and none has a usual name. Its columns are: n (int64)."),
        (no_text, "no text to train on"),
        (lambda path: None, "cannot be read at"),
    ],
)
def test_what_a_person_can_put_right_is_one_sentence_not_a_traceback(
    tmp_path: Path, make: Callable[[Path], None], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.parquet"
    make(path)
    folder = job(tmp_path, spec_of("parquet", path).model_dump(mode="json"), path)
    told = journal.Journal(folder / "journal" / "a2.journal")
    assert run(folder, told, Progress(told)) == 1
    told.close()
    said = frames(folder)
    lines = [frame["l"] for frame in said if "l" in frame]
    assert [level for _, level, _ in lines] == ["error"]
    text = lines[0][2]
    assert sentence in text
    assert [frame["e"] for frame in said if "e" in frame] == [
        {"kind": "failed", "step": None, "text": text, "data": {}}
    ]
    assert said[-1]["t"] == {"outcome": "failed", "reason": "error", "detail": text}
    assert capsys.readouterr().err == text + "\n"
    assert not (folder / "out" / "manifest.json").exists()


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A job that takes half a minute and more: a small file that holds the same 6 kB 300,000 times."""
    path = tmp_path / "long.parquet"
    same = pa.DictionaryArray.from_arrays(pa.array([0] * 300_000, pa.int32()), ["a word or two, " * 400])
    pq.write_table(pa.table({"text": same}), path)
    return job(tmp_path, spec_of("parquet", path, tokenizer={"kind": "bytes"}).model_dump(mode="json"), path)


def at_work(folder: Path, process: subprocess.Popen[bytes]) -> None:
    wait_until(
        lambda: any(f.get("t", {}).get("tokens") for f in frames(folder)), 60, "the preparation never got to its tokens"
    )
    assert process.poll() is None


def say_stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"save\nstop\n")
    process.stdin.flush()


def end_stdin(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()


@pytest.mark.parametrize(
    ("end", "code", "outcome"),
    [
        pytest.param(say_stop, 0, "stopped", id="stop"),
        pytest.param(lambda process: process.send_signal(signal.SIGTERM), 75, "requeue", id="SIGTERM"),
        pytest.param(end_stdin, 1, None, id="the agent died"),
    ],
)
def test_it_can_be_ended_in_the_middle(
    endless: Path, end: Callable[[subprocess.Popen[bytes]], None], code: int, outcome: str | None
) -> None:
    with started(endless) as process:
        at_work(endless, process)
        end(process)
        assert process.wait(20) == code
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert not (endless / "out" / "manifest.json").exists()
    if outcome:
        assert frames(endless)[-1] == {"t": {"outcome": outcome}}
        assert list((endless / "home" / "preparing").glob("*/train-000.bin.tmp")), "nothing to go on with was kept"


def test_shakespeare_by_characters_in_nanogpts_layout_has_65_ids(tmp_path: Path, data_folder: Path) -> None:
    path = data_folder / "tinyshakespeare.txt"
    spec = spec_of("text", path, tokenizer={"kind": "characters"}, layout="nanogpt")
    manifest = prepared(tmp_path / "out", spec, path)
    assert (manifest.tokenizer.vocab_size, manifest.tokenizer.eot) == (65, None)
    assert manifest.train.tokens + manifest.val.tokens == 1_115_394
    assert 0.05 < manifest.val.tokens / 1_115_394 < 0.15
    # nanoGPT's data/shakespeare_char/prepare.py: sorted(set(text)), so newline is 0 and blank 1.
    tokenizer = tokenizers.load(manifest.tokenizer, tmp_path / "out")
    assert tokenizer.encode("\n !z").tolist() == [0, 1, 2, 64]


def test_fineweb_in_gpt2_tokens_has_no_text_on_both_sides(tmp_path: Path, data_folder: Path) -> None:
    # Batches 1, 2 and 29 to 31: the later ones repeat documents of the earlier.
    files = [data_folder / "fineweb" / f"batch_{n:06}.parquet" for n in (1, 2, 29, 30, 31)]
    spec = spec_of("parquet", *files, tokenizer={"kind": "gpt2"}, val_share=0.2)
    manifest = prepared(tmp_path / "out", spec, *files, ranks=data_folder / "gpt2.tiktoken")
    assert manifest.tokenizer.vocab_size == 50257
    documents = []
    for split in (manifest.train, manifest.val):
        ids = ids_of(tmp_path / "out", manifest, split)
        starts = np.flatnonzero(ids == 50256)
        documents.append([part.tobytes() for part in np.split(ids, starts[1:])])
        assert len(documents[-1]) == split.documents
    train, val = documents
    assert len(train) + len(val) == 500
    assert len({*train, *val}) < 500, "the file has no repeats, so this would prove nothing"
    assert not {*train} & {*val}
    assert 4 < manifest.bytes_per_token < 5
