"""Parquet files as documents, and what is said of rows and files that cannot be read."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from worker import parquet_source
from worker.source_files import UnreadableSource, inspect
from worker.sources import Source

TEXTS = ["first", None, "zweites – ü", "", "日本語 🙂"]
READ = ["first", "", "zweites – ü", "", "日本語 🙂"]


def parquet_source_of(path: Path, column: str = "auto") -> Source:
    return Source("parquet", [inspect(path.name, path)], column)


def written(path: Path, values: Any, name: str = "text") -> Path:
    pq.write_table(pa.table({"n": list(range(len(values))), name: values}), path, row_group_size=2)
    return path


@pytest.mark.parametrize(
    "of", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.binary()], ids=str
)
def test_a_parquet_row_is_a_document_and_a_null_an_empty_one(tmp_path: Path, of: pa.DataType) -> None:
    values = [text and text.encode() for text in TEXTS] if pa.types.is_binary(of) else TEXTS
    source = parquet_source_of(written(tmp_path / "a.parquet", pa.array(values, of)))
    assert list(source.documents()) == READ
    assert list(source.documents()) == READ, "a second pass gives the same documents"
    assert source.share == 1.0


@pytest.mark.parametrize("content", [b"", b"PAR1", b"hello, I am a text", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_what_is_no_parquet_file_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(UnreadableSource, match=r"a\.parquet is not a parquet file"):
        list(parquet_source_of(path).documents())


def test_a_parquet_that_expands_half_a_million_times_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"text": ["lorem ipsum " * 90_000] * 300}), path, compression="zstd")
    assert path.stat().st_size < 1000
    held_before = pa.total_allocated_bytes()
    most = total = 0
    for text in parquet_source_of(path).documents():
        total += len(text)
        most = max(most, pa.total_allocated_bytes() - held_before)
    assert total == 300 * 1_080_000
    assert most < 100e6


def test_a_missing_column_is_answered_with_the_columns_there_are_and_their_types(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", ["x"], name="content")
    with pytest.raises(UnreadableSource, match=r'no column "text". Its columns are: n \(int64\), content \(string\)\.'):
        parquet_source_of(path, "text").check()
    with pytest.raises(UnreadableSource, match=r'column "n" holds no text'):
        parquet_source_of(path, "n").check()
    assert list(parquet_source_of(path).documents()) == ["x"]


def test_a_row_that_is_not_utf8_is_named_and_left_out(tmp_path: Path) -> None:
    values = pa.array([b"good", b"fine", b"well", b"caf\xe9", b"half \xed\xa0\xbd"], pa.binary())
    source = parquet_source_of(written(tmp_path / "a.parquet", values))
    assert list(source.documents()) == ["good", "fine", "well", "half \ufffd"]
    assert source.faults.sentences() == [
        'a.parquet: row 3 (row group 1) of column "text" is not UTF-8 text (byte 3, 0xe9). It was left out; write it as UTF-8 to have it.',
        'a.parquet: row 4 (row group 2) of column "text" holds a lone surrogate, half a character, which was replaced by U+FFFD.',
    ]
    list(source.documents())
    assert len(source.faults) == 2, "a second pass counts none twice"


def test_a_column_of_bytes_that_are_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": pa.array([b"\xff\xd8"] * 50, pa.binary())}), path)
    with pytest.raises(UnreadableSource, match=r"50 of 50 records .* The first: a\.parquet: row 0"):
        list(parquet_source_of(path).documents())


def test_of_a_file_damaged_inside_the_other_row_groups_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [" ".join(str(i * n) for n in range(500)) for i in range(40)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=10, use_dictionary=False, write_page_checksum=True)
    chunk = pq.read_metadata(path).row_group(2).column(0)
    content = bytearray(path.read_bytes())
    middle = chunk.data_page_offset + chunk.total_compressed_size // 2
    content[middle : middle + 20] = bytes(20)
    path.write_bytes(content)
    source = parquet_source_of(path)
    assert list(source.documents()) == texts[:20] + texts[30:]
    (sentence,) = source.faults.sentences()
    assert sentence.startswith("a.parquet: row group 2 cannot be read from row 20 on: ")
    assert sentence.endswith("The other row groups were kept.")


def test_a_text_of_300_mb_in_a_file_of_kilobytes_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    good = pa.table({"text": ["good"]})
    with pq.ParquetWriter(path, good.schema, compression="zstd") as writer:
        writer.write_table(good)
        writer.write_table(pa.table({"text": ["a" * 300_000_000]}))
        writer.write_table(good)
    assert path.stat().st_size < 100_000
    held = pa.default_memory_pool().bytes_allocated()
    source = parquet_source_of(path)
    most = 0
    read = []
    for text in source.documents():
        read.append(text)
        most = max(most, pa.default_memory_pool().bytes_allocated() - held)
    assert read == ["good", "good"]
    assert most < 1e6
    assert source.faults.sentences() == [
        "bomb.parquet: row group 1 cannot be read from row 1 on: a page of 300,000,004 bytes, more than 256,000,000, "
        "as one string of many millions of characters makes it. The other row groups were kept."
    ]


def test_rows_that_share_one_long_string_are_decoded_few_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"text": ["b" * 20_000_000] * 40}), path, compression="zstd")
    held = pa.total_allocated_bytes()
    most = 0
    for text in parquet_source_of(path).documents():
        assert len(text) == 20_000_000
        most = max(most, pa.total_allocated_bytes() - held)
    assert most < 100e6


def test_a_row_longer_than_any_document_is_named_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["good", "c" * 33_000_000]}), path, compression="zstd")
    source = parquet_source_of(path)
    assert list(source.documents()) == ["good"]
    assert (
        'row 1 (row group 0) of column "text" holds 33,000,000 bytes, more than 32,000,000'
        in source.faults.sentences()[0]
    )


def test_units_are_row_groups_that_give_the_same_in_any_order(tmp_path: Path) -> None:
    texts = [f"document {i}" for i in range(95)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": texts}), path, row_group_size=10)
    source = parquet_source_of(path)
    units = source.units()
    assert [(unit.start, unit.end) for unit in units] == [(i, i + 1) for i in range(10)]
    backwards = {unit: list(source.read(unit)) for unit in reversed(units)}
    assert [text for unit in units for text in backwards[unit]] == texts


def test_labels_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a"] * 5, "language": ["en", "de", "en", None, "en"]}), path)
    file = inspect("a.parquet", path)
    assert parquet_source.counts(file, "language") == {"en": 3, "de": 1, "": 1}
    assert parquet_source.counts(file, "no such column") == {}


def test_a_column_of_more_different_values_than_labels_have_is_none(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(parquet_source, "MOST_LABELS", 3)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"language": ["en", "de", "fr", "ar"]}), path)
    assert parquet_source.counts(inspect("a.parquet", path), "language") == {}


def test_the_rows_before_a_row_group_are_added_up_once(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["x"] * 35}), path, row_group_size=10)
    file = inspect("a.parquet", path)
    rows = parquet_source._first_rows(file.path, file.sha256, file.name, file.bytes)
    assert rows == [0, 10, 20, 30, 35]
    assert parquet_source._first_rows(file.path, file.sha256, file.name, file.bytes) is rows


def test_fineweb_as_published_is_read(data_folder: Path) -> None:
    path = data_folder / "fineweb" / "batch_000001.parquet"
    source = parquet_source_of(path)
    assert list(source.documents()) == pq.read_table(path)["text"].to_pylist()
