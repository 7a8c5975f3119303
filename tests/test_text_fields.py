"""Which column holds the documents, over the schemas that published corpora have."""

import pytest

from worker.source_files import UnreadableSource
from worker.text_fields import schema_of, text_field

FINEWEB = ["text", "id", "dump", "url", "date", "file_path", "language", "language_score", "token_count"]
# As published on the hub; the numbers and lists among the columns do not matter here.
PUBLISHED = {
    "FineWeb": (FINEWEB, "text"),
    "FineWeb-Edu": ([*FINEWEB, "score", "int_score"], "text"),
    "C4": (["text", "timestamp", "url"], "text"),
    "Dolma": (["id", "text", "source", "added", "created", "metadata"], "text"),
    "RefinedWeb": (["content", "url", "timestamp", "dump", "segment", "image_urls"], "content"),
    "TinyStories with instructions": (["story", "instruction", "summary", "source"], "story"),
    "Wikipedia": (["id", "url", "title", "text"], "text"),
    "text alone, as TinyStories and OpenWebText": (["text"], "text"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_schema_is_recognised_with_its_text(name: str) -> None:
    columns, text = PUBLISHED[name]
    of_text = dict.fromkeys(columns, True)
    assert schema_of(of_text) == name
    assert text_field("a.parquet", "auto", of_text, "", "column") == text


def test_more_columns_than_a_small_schema_has_are_another_corpus() -> None:
    assert schema_of(dict.fromkeys(["id", "score", "text", "url", "timestamp"], True)) is None


def test_the_only_column_of_text_needs_no_name() -> None:
    assert text_field("a", "auto", {"n": False, "abstract": True}, "", "column") == "abstract"


def test_a_usual_name_counts_only_where_it_holds_text() -> None:
    assert text_field("a", "auto", {"text": False, "title": True, "body": True}, "", "column") == "body"


@pytest.mark.parametrize(
    ("columns", "why"), [({"n": False}, "None holds text"), ({"a": True, "b": True}, "More than one")]
)
def test_what_cannot_be_guessed_is_asked_with_the_columns_there_are(columns: dict[str, bool], why: str) -> None:
    with pytest.raises(
        UnreadableSource, match=rf"x: which field holds the documents\? {why}.* Its fields are: LISTED\. Set"
    ):
        text_field("x", "auto", columns, "LISTED", "field")
