"""What a source's files are, by the ends of their names; both sides and the command line guess alike."""

from collections.abc import Iterable
from typing import Literal

FileKind = Literal["parquet", "jsonl", "text", "tokens"]

ENDINGS: dict[FileKind, tuple[str, ...]] = {
    "parquet": (".parquet", ".pq"),
    "jsonl": tuple(f".{name}{packed}" for name in ("jsonl", "ndjson", "json") for packed in ("", ".gz", ".zst")),
    "tokens": ("train.bin", "val.bin", "meta.pkl"),  # before text: nanoGPT keeps input.txt and readme.md beside them
    "text": (".txt", ".text", ".md", ".rst"),
}
"""Of the files that a folder stands for; a file that is named itself may have any name."""


def kind_of(names: Iterable[str]) -> FileKind:
    """The first kind that one of the names has. A name without any ending is a folder's: parquet, as corpora come."""
    lower = [name.lower() for name in names]
    for kind, endings in ENDINGS.items():
        if any(name.endswith(endings) for name in lower):
            return kind
    return "parquet" if any("." not in name for name in lower) else "text"


def without_ending(name: str) -> str:
    """What a person would call the file: stories of stories.jsonl.zst."""
    ending = max((end for ends in ENDINGS.values() for end in ends if name.lower().endswith(end)), key=len, default="")
    return name[: -len(ending)] or name if ending.startswith(".") else name
