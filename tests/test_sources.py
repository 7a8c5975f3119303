"""A dataset's files as documents: all of them checked first, read piece by piece, described for the manifest."""

import gzip
import json
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import jsonl, plain_text
from worker.source_files import Unit
from worker.sources import Kind, Source, UnreadableSource, inspect

LINES = ["one", "", "drei – ü", "🙂", "x" * 5000]


def source_of(kind: Kind, *paths: Path, column: str = "auto") -> Source:
    return Source(kind, [inspect(path.name, path) for path in paths], column)


@pytest.fixture
def three(tmp_path: Path) -> dict[Kind, Source]:
    """The same texts in each kind of file, two files of each."""
    sources: dict[Kind, Source] = {}
    for kind in ("parquet", "jsonl", "text"):
        paths = [tmp_path / f"{name}.{kind}" for name in "ab"]
        for path in paths:
            if kind == "parquet":
                pq.write_table(pa.table({"text": LINES * 20}), path, row_group_size=7)
            elif kind == "jsonl":
                path.write_text("".join(json.dumps({"text": text}) + "\n" for text in LINES * 20))
            else:
                path.write_text("\f".join(LINES * 20))
        sources[kind] = source_of(kind, *paths)
    return sources


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "text"])
def test_the_units_in_order_are_the_documents(
    three: dict[Kind, Source], kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = three[kind]
    assert list(source.documents()) == LINES * 40
    for module in (jsonl, plain_text):
        small = module.units
        monkeypatch.setattr(module, "units", lambda index, file, small=small: small(index, file, unit_bytes=3000))
    units = source.units()
    assert len(units) > 10
    assert sum(unit.bytes for unit in units) == pytest.approx(sum(file.bytes for file in source.files), rel=0.02)
    assert [text for unit in units for text in source.read(unit)] == LINES * 40


def test_units_may_be_read_by_many_threads_at_once(three: dict[Kind, Source]) -> None:
    source = three["parquet"]
    read: dict[Unit, list[str]] = {}

    def work(units: list[Unit]) -> None:
        for unit in units:
            read[unit] = list(source.read(unit))

    threads = [threading.Thread(target=work, args=(source.units()[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [text for unit in source.units() for text in read[unit]] == LINES * 40


def test_a_missing_file_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match=r"mine\.txt cannot be read at .*gone: No such file or directory\."):
        inspect("mine.txt", tmp_path / "gone")


def test_the_share_grows_over_all_files(tmp_path: Path) -> None:
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for path in paths:
        path.write_text("word\n\n" * 100_000)
    source = source_of("text", *paths)
    shares = [source.share for _ in source.documents()]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.6
    assert source.share == 1.0


def test_every_bad_file_is_named_before_the_first_is_read(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.parquet" for i in range(9)]
    for path in paths:
        path.write_text("no parquet")
    pq.write_table(pa.table({"text": ["x"]}), paths[0])
    pq.write_table(pa.table({"n": [1]}), paths[1])
    with pytest.raises(UnreadableSource) as error:
        source_of("parquet", *paths).check()
    first, second, *_, last = str(error.value).split("\n")
    assert first.startswith("1.parquet: which column holds the documents? None holds text")
    assert second.startswith("2.parquet is not a parquet file")
    assert last == "And 3 more files."


def test_each_file_is_described_with_its_column_and_corpus(tmp_path: Path) -> None:
    parquet, lines = tmp_path / "a.parquet", tmp_path / "b.json.gz"
    c4 = {"text": "x", "timestamp": "2019-04-25T12:57:54Z", "url": "https://example.org"}
    pq.write_table(pa.Table.from_pylist([c4]), parquet)
    lines.write_bytes(gzip.compress(json.dumps(c4).encode()))
    for kind, path in (("parquet", parquet), ("jsonl", lines)):
        (found,) = source_of(kind, path).described()
        assert found["name"] == path.name
        assert (found["text_column"], found["schema"]) == ("text", "C4")
    plain = tmp_path / "c.txt"
    plain.write_text("x")
    assert source_of("text", plain).described() == [
        {"name": "c.txt", "bytes": 1, "sha256": inspect("c.txt", plain).sha256}
    ]


@given(
    texts=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\f\r\ufeff"), max_size=200), max_size=30),
    unit=st.integers(1, 400),
)
def test_any_texts_come_back_from_any_cut_of_jsonl(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], unit: int
) -> None:
    path = tmp_path_factory.mktemp("any") / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts))
    source = source_of("jsonl", path)
    units = jsonl.units(0, source.files[0], unit_bytes=unit)
    assert [text for one in units for text in source.read(one)] == texts
