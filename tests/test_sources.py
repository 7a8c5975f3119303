"""Documents from parquet and text files, and what is said about files that cannot be read."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from worker.sources import CHUNK_BYTES, PASSAGE_MAX, PASSAGE_MIN, Source, UnreadableSource, inspect, passages

TEXTS = ["first", None, "zweites – ü", "", "日本語 🙂"]
READ = ["first", "", "zweites – ü", "", "日本語 🙂"]


def text_source(*paths: Path) -> Source:
    return Source("text", [inspect(path.name, path) for path in paths])


def parquet_source(path: Path, column: str = "text") -> Source:
    return Source("parquet", [inspect(path.name, path)], column)


def written(path: Path, values: Any, name: str = "text") -> Path:
    pq.write_table(pa.table({"n": list(range(len(values))), name: values}), path, row_group_size=2)
    return path


@pytest.mark.parametrize(
    "of", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.binary()], ids=str
)
def test_a_parquet_row_is_a_document_and_a_null_an_empty_one(tmp_path: Path, of: pa.DataType) -> None:
    values = [text and text.encode() for text in TEXTS] if pa.types.is_binary(of) else TEXTS
    source = parquet_source(written(tmp_path / "a.parquet", pa.array(values, of)))
    assert list(source.documents()) == READ
    assert list(source.documents()) == READ, "a second pass gives the same documents"
    assert source.share == 1.0


def test_a_missing_column_is_answered_with_the_columns_there_are(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", ["x"], name="content")
    with pytest.raises(UnreadableSource, match=r'a.parquet has no column "text". Its columns are: n, content.'):
        list(parquet_source(path).documents())
    with pytest.raises(UnreadableSource, match=r'column "n" holds int64, not text'):
        list(parquet_source(path, "n").documents())
    assert list(parquet_source(path, "content").documents()) == ["x"]


def test_the_last_of_many_files_is_checked_before_the_first_is_read(tmp_path: Path) -> None:
    good, bad = written(tmp_path / "a.parquet", ["x"]), written(tmp_path / "b.parquet", ["x"], name="content")
    source = Source("parquet", [inspect(path.name, path) for path in (good, bad)])
    with pytest.raises(UnreadableSource, match=r'b\.parquet has no column "text"'):
        source.check()


@pytest.mark.parametrize("content", [b"", b"PAR1", b"hello, I am a text", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_what_is_no_parquet_file_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(UnreadableSource, match=r"a\.parquet is not a parquet file"):
        list(parquet_source(path).documents())


def test_a_file_damaged_inside_is_named_not_traced(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", [f"document {i}" * 50 for i in range(50)])
    content = bytearray(path.read_bytes())
    content[60 : len(content) // 2] = b"\xff" * (len(content) // 2 - 60)
    path.write_bytes(content)
    with pytest.raises(UnreadableSource, match=r"a\.parquet (cannot be read any further|: row)"):
        list(parquet_source(path).documents())


def test_a_parquet_text_that_is_not_utf8_is_refused_with_row_and_byte(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", pa.array([b"good", b"caf\xe9"], pa.binary()))
    with pytest.raises(UnreadableSource, match=r'row 1 of column "text" is not UTF-8 text \(byte 3, 0xe9\)'):
        list(parquet_source(path).documents())


def test_a_parquet_that_expands_half_a_million_times_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"text": ["lorem ipsum " * 90_000] * 300}), path, compression="zstd")
    assert path.stat().st_size < 1000
    held_before = pa.total_allocated_bytes()
    most = total = 0
    for text in parquet_source(path).documents():
        total += len(text)
        most = max(most, pa.total_allocated_bytes() - held_before)
    assert total == 300 * 1_080_000
    assert most < 100e6


def test_a_missing_file_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match=r"mine\.txt cannot be read at .*gone: No such file or directory\."):
        inspect("mine.txt", tmp_path / "gone")


def test_form_feeds_separate_documents(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\n\n\ntwo\fthree\f" + "x" * (CHUNK_BYTES + 1) + "\ffour\n")
    assert list(text_source(path).documents()) == ["one\n\n\ntwo", "three", "x" * (CHUNK_BYTES + 1), "four\n"]


def test_each_of_many_files_is_a_document(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.txt" for i in range(100)]
    for i, path in enumerate(paths):
        path.write_text(f"text {i}\n\n" * 2000)
    source = text_source(*paths)
    assert list(source.documents()) == [f"text {i}\n\n" * 2000 for i in range(100)]
    assert not source.one_text


def test_a_single_file_is_cut_at_blank_lines_into_passages_that_join_to_it(tmp_path: Path) -> None:
    text = "".join(f"Line {i}.\nSecond line {i * 7919}.\n{' ' * (i % 3)}\n" for i in range(20_000))
    path = tmp_path / "a.txt"
    path.write_text(text)
    source = text_source(path)
    cut = list(source.documents())
    assert source.one_text
    assert "".join(cut) == text
    assert all(PASSAGE_MIN <= len(part) < PASSAGE_MIN + 50 and part.endswith("\n") for part in cut[:-1])
    assert not any(part.startswith("\n") for part in cut)


def test_cuts_do_not_depend_on_how_the_file_was_read() -> None:
    text = ("word " * 300 + "\n" + "other " * 100 + "\n\n") * 40 + "x" * 30_000
    whole = list(passages(iter([text])))
    assert list(passages(text[i : i + 97] for i in range(0, len(text), 97))) == whole
    assert "".join(whole) == text


@pytest.mark.parametrize(("mark", "unit"), [("\n", "word " * 9), (" ", "word"), ("", "x")])
def test_a_text_without_blank_lines_is_cut_at_the_next_best_place(mark: str, unit: str) -> None:
    text = (unit + mark) * (100_000 // len(unit + mark))
    cut = list(passages(iter([text])))
    assert "".join(cut) == text
    assert all(PASSAGE_MIN <= len(part) <= PASSAGE_MAX and part.endswith(mark) for part in cut[:-1])


def test_line_ends_and_byte_order_mark_are_read_as_python_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert list(text_source(path).documents()) == ["one\ntwo\n"]


@pytest.mark.parametrize("offset", [0, 5, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 7])
def test_text_that_is_not_utf8_is_refused_with_the_byte(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"a" * offset + b"\xe9t\xe9" + b"a" * 50)
    with pytest.raises(UnreadableSource, match=rf"latin\.txt is not UTF-8 text: byte {offset} \(0xe9\)"):
        list(text_source(path).documents())


def test_a_character_on_the_border_of_two_chunks_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    text = "a" * (CHUNK_BYTES - 1) + "é\f🙂"
    path.write_text(text)
    assert list(text_source(path).documents()) == text.split("\f")


def test_the_share_grows_over_all_files(tmp_path: Path) -> None:
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for path in paths:
        path.write_text("word\n\n" * 100_000)
    source = text_source(*paths)
    shares = [source.share for _ in source.documents()]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.6
    assert source.share == 1.0
