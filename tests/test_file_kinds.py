"""What files are, by their names."""

import pytest

from app.contract.file_kinds import kind_of, without_ending


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["000_00000.parquet"], "parquet"),
        (["c4-train.00000-of-01024.json.gz"], "jsonl"),
        (["part.JSONL.zst"], "jsonl"),
        (["input.txt", "meta.pkl", "readme.md", "train.bin", "val.bin"], "tokens"),
        (["stories.txt"], "text"),
        (["fineweb"], "parquet"),
        (["notes.log"], "text"),
        ([], "text"),
    ],
)
def test_files_are_known_by_the_ends_of_their_names(names: list[str], kind: str) -> None:
    assert kind_of(names) == kind


@pytest.mark.parametrize(
    ("name", "short"),
    [("a.b.jsonl.zst", "a.b"), ("x.parquet", "x"), ("fineweb-edu", "fineweb-edu"), ("train.bin", "train.bin"), (".txt", ".txt")],
)  # fmt: skip
def test_a_name_without_its_ending_is_what_people_call_it(name: str, short: str) -> None:
    assert without_ending(name) == short
