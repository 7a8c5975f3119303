"""Documents by language, where the source's own column says it."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from preparations import prepared, spec_of

from worker.journal import NullJournal
from worker.languages import counted
from worker.progress import Progress
from worker.source_files import inspect
from worker.sources import Source

TEXTS = [f"text number {i}, which is one of many" for i in range(60)]


def counts(kind: str, *paths: Path) -> dict[str, int]:
    source = Source(kind, [inspect(path.name, path) for path in paths])  # type: ignore[arg-type]
    return {one.language: one.documents for one in counted(source, Progress(NullJournal()))}


def test_files_add_up_most_frequent_first_and_those_that_do_not_say_count_for_nothing(tmp_path: Path) -> None:
    for name, columns in {
        "a": {"language": ["en"] * 20 + ["de"] * 40}, "b": {"lang": ["en"] * 59 + [None]}, "c": {"n": [1] * 60},
    }.items():  # fmt: skip
        pq.write_table(pa.table({"text": TEXTS, **columns}), tmp_path / f"{name}.parquet")
    found = counts("parquet", *(tmp_path / f"{name}.parquet" for name in "abc"))
    assert list(found.items()) == [("en", 79), ("de", 40), ("", 1)]


def test_plain_text_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("language: en")
    assert counts("text", tmp_path / "a.txt") == {}


def test_a_manifest_tells_them(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text, "language": "en"}) + "\n" for text in TEXTS))
    made = prepared(tmp_path / "out", spec_of("jsonl", path, tokenizer={"kind": "bytes"}), path)
    assert [(one.language, one.documents) for one in made.languages] == [("en", 60)]
