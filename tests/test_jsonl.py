"""JSON lines as documents, plain and compressed, and what is said of lines that are none."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from worker import jsonl
from worker.source_files import UnreadableSource, inspect
from worker.sources import Source

TEXTS = ["first", "zweites – ü", "", "日本語 🙂", "two\nlines\u2028three"]


def zstd(content: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(content, asbytes=True))


PACKED = {"plain": bytes, "gz": gzip.compress, "zst": zstd}


def source_of(path: Path, content: bytes, field: str = "auto") -> Source:
    path.write_bytes(content)
    return Source("jsonl", [inspect(path.name, path)], field)


def lines(*records: Any) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


@pytest.mark.parametrize("packed", PACKED)
def test_a_line_is_a_document_however_the_file_is_packed(tmp_path: Path, packed: str) -> None:
    content = lines(*({"id": i, "text": text} for i, text in enumerate(TEXTS)))
    source = source_of(tmp_path / "upload", PACKED[packed](content))
    source.check()
    assert list(source.documents()) == TEXTS
    assert list(source.documents()) == TEXTS
    assert source.share == 1.0


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_a_file_packed_in_parts_is_read_to_its_end(tmp_path: Path, pack: Any) -> None:
    parts = b"".join(pack(lines({"text": text})) for text in TEXTS)
    assert list(source_of(tmp_path / "a", parts).documents()) == TEXTS


def test_a_byte_order_mark_empty_lines_nulls_and_windows_line_ends_are_no_trouble(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"text": "a"}\r\n\r\n{"text": null}\n  \n{"text": "b"}'
    source = source_of(tmp_path / "a.jsonl", content)
    assert list(source.documents()) == ["a", "", "b"]
    assert not source.faults


@pytest.mark.parametrize("packed", PACKED)
def test_a_bad_line_is_named_with_file_and_number_and_left_out(tmp_path: Path, packed: str) -> None:
    bad = [
        (b'{"text": "cut sh', "is not JSON: "),
        (b'{"text": 5}', 'has a int in its field "text", not a text.'),
        (b'{"title": "no text"}', 'has no field "text".'),
        (b'["text"]', "holds a list, not an object."),
        (b'{"text": "caf\xe9"}', "is not UTF-8 text (byte 13, 0xe9)."),
        (b"[" * 100_000, "is not JSON: "),
    ]
    content = lines({"text": "good"}) + b"".join(line + b"\n" + lines({"text": "good"}) for line, _ in bad)
    source = source_of(tmp_path / "a.jsonl", PACKED[packed](content))
    assert list(source.documents()) == ["good"] * 7
    for number, ((_, why), sentence) in enumerate(zip(bad, source.faults.sentences(), strict=True), 1):
        assert sentence.startswith(f"a.jsonl, line {2 * number} {why}")
        assert sentence.endswith("It was left out.")


def test_a_lone_surrogate_is_replaced_and_a_pair_is_a_character(tmp_path: Path) -> None:
    source = source_of(tmp_path / "a.jsonl", b'{"text": "\\ud83d\\ude42"}\n{"text": "half \\ud83d"}\n')
    assert list(source.documents()) == ["🙂", "half \ufffd"]
    assert source.faults.sentences() == [
        "a.jsonl, line 2 holds a lone surrogate, half a character, which was replaced by U+FFFD."
    ]


def test_line_numbers_count_from_the_files_beginning_in_any_unit(tmp_path: Path) -> None:
    content = lines(*({"text": f"document {i}"} for i in range(500))).replace(b'{"text": "document 400"}', b"oops")
    source = source_of(tmp_path / "a.jsonl", content)
    units = jsonl.units(0, source.files[0], unit_bytes=1000)
    assert len(units) > 5
    assert len([text for unit in units for text in source.read(unit)]) == 499
    assert source.faults.sentences()[0].startswith("a.jsonl, line 401 is not JSON")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"Once upon a time\n", "line 1 is not JSON"),
        (b'[\n{"text": "a"},\n', "line 1 is not JSON"),
        (b'[{"text": "a"}]\n', "line 1 holds a list, not an object"),
        (b"\x1f\x8b" + b"\0" * 50, "it cannot be unpacked"),
        (b"PAR1\xff\xfe\n", "line 1 is not JSON"),
    ],
)
def test_what_is_no_jsonl_file_is_said_to_be_none(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(UnreadableSource, match=rf"a\.jsonl is not JSON lines, one object a line .*: {why}"):
        source_of(tmp_path / "a.jsonl", content).check()


def test_a_missing_field_is_answered_with_the_fields_there_are(tmp_path: Path) -> None:
    content = lines({"id": 1, "title": "x", "abstract": "y"})
    with pytest.raises(
        UnreadableSource, match=r'no field "text"\. Its fields are: id \(int\), title \(str\), abstract'
    ):
        source_of(tmp_path / "a.jsonl", content, "text").check()
    assert list(source_of(tmp_path / "a.jsonl", content, "abstract").documents()) == ["y"]


@pytest.mark.parametrize("packed", ["gz", "zst"])
def test_of_a_packed_file_cut_short_the_beginning_is_kept(tmp_path: Path, packed: str) -> None:
    texts = [f"document {i} {i * 7919}" for i in range(60_000)]
    whole = PACKED[packed](lines(*({"text": text} for text in texts)))
    source = source_of(tmp_path / "a.jsonl", whole[: len(whole) // 2])
    read = list(source.documents())
    assert read == texts[: len(read)]
    assert 10_000 < len(read) < 50_000
    assert "a.jsonl, line" in source.faults.sentences()[-1]


def test_a_line_of_gigabytes_is_left_out_without_being_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "LONGEST_LINE", 3_000_000)
    content = lines({"text": "good"}, {"text": "x" * 5_000_000}, {"text": "good"})
    source = source_of(tmp_path / "a.jsonl", content)
    assert list(source.documents()) == ["good", "good"]
    assert source.faults.sentences() == ["a.jsonl, line 2 is longer than 3,000,000 bytes. It was left out."]


@pytest.mark.parametrize("packed", PACKED)
def test_labels_are_counted(tmp_path: Path, packed: str) -> None:
    records = [{"text": "a", "lang": lang} for lang in ("en", "de", "en")] + [{"text": "b"}, {"text": "c", "lang": 3}]
    file = source_of(tmp_path / "upload", PACKED[packed](lines(*records) + b"no json\n")).files[0]
    assert jsonl.counts(file, "lang", lambda: None) == {"en": 2, "de": 1, "": 2}
    assert jsonl.counts(file, "language", lambda: None) == {}
