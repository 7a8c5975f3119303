"""Plain text as documents: form feeds, passages, ranges that can be read by themselves."""

from pathlib import Path

import pytest

from worker import plain_text
from worker.plain_text import PASSAGE_MAX, PASSAGE_MIN, passages
from worker.source_files import CHUNK_BYTES, UnreadableSource, inspect
from worker.sources import Source


def text_source(*paths: Path) -> Source:
    return Source("text", [inspect(path.name, path) for path in paths])


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


@pytest.mark.parametrize("mark", ["\f", "\n\n", "\n", "é"])
def test_ranges_of_a_file_read_by_themselves_are_the_documents_of_the_whole(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "a.txt"
    text = "".join(f"Ein Satz {i} – lang.{mark}" for i in range(20_000))
    path.write_text(text)
    file = inspect("a.txt", path)
    units = plain_text.units(0, file, unit_bytes=50_000)
    assert len(units) > 5
    assert units[0].start == 0
    assert units[-1].end == file.bytes
    assert sum(unit.bytes for unit in units) == file.bytes
    cut = mark != "\f"
    read = [list(plain_text.read(file, unit, cut=cut, on_share=lambda _: None)) for unit in units]
    joined = ("" if cut else "\f").join(text for documents in read for text in documents)
    assert joined == text


def test_a_range_never_begins_inside_a_character(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("🙂" * 10_000)
    file = inspect("a.txt", path)
    for unit_bytes in (1001, 1002, 1003, 1004):
        for unit in plain_text.units(0, file, unit_bytes=unit_bytes):
            assert unit.start % 4 == 0


def test_form_feeds_that_are_far_apart_make_ranges_as_long(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x" * 5000 + "\f" + "y" * 100)
    file = inspect("a.txt", path)
    assert [(unit.start, unit.end) for unit in plain_text.units(0, file, unit_bytes=100)] == [(0, 5000), (5001, 5101)]


def test_a_compressed_text_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\x1f\x8b\x08" + b"\xff" * 40)
    with pytest.raises(UnreadableSource, match=r"a\.txt is a compressed file, not text; unpack it first"):
        text_source(path).check()
