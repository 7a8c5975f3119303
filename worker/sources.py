"""The documents of a dataset's files, read as a stream or piece by piece, whatever their size.

Parquet: a row is a document (worker/parquet_source.py). JSON lines: a line (worker/jsonl.py). Text: what stands between
form feeds, a file, or a passage of one (worker/plain_text.py). What is read is always the same: the units of a
source in their order, and the documents of a unit in theirs.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any, Literal, assert_never

from worker import jsonl, parquet_source, plain_text
from worker.source_files import Fault, Faults, SourceFile, Unit, UnreadableSource, inspect
from worker.text_fields import AUTO

__all__ = ["Fault", "Kind", "Source", "SourceFile", "Unit", "UnreadableSource", "inspect"]

FEW_FILES = 100
_MOST_NAMED = 5

Kind = Literal["parquet", "jsonl", "text"]


class Source:
    """The documents of some files of one kind; reading again gives the same ones. Many threads may read at once."""

    def __init__(self, kind: Kind, files: Sequence[SourceFile], text_column: str = AUTO) -> None:
        self.kind = kind
        self.files = files
        self.text_column = text_column
        self.share = 0.0  #: of the bytes of all files, how far the newest `documents` has come
        self.faults = Faults()  #: single records left out or mended so far; a preparation's manifest names them

    @property
    def one_text(self) -> bool:
        """Whether the documents are passages of a single text, which nothing separates."""
        return self.kind == "text" and len(self.files) == 1 and not self.files[0].form_feed

    def check(self) -> None:
        """Raise UnreadableSource, naming every file that is not what it should be, before hours go into the others."""
        wrong = []
        for file in self.files:
            try:
                match self.kind:
                    case "parquet":
                        parquet_source.column_of(file, self.text_column)
                    case "jsonl":
                        jsonl.field_of(file, self.text_column)
                    case "text":
                        plain_text.check(file)
                    case other:
                        assert_never(other)
            except UnreadableSource as error:
                wrong.append(str(error))
        if wrong:
            more = f"\nAnd {len(wrong) - _MOST_NAMED:,} more files." if len(wrong) > _MOST_NAMED else ""
            raise UnreadableSource("\n".join(wrong[:_MOST_NAMED]) + more)

    def units(self) -> list[Unit]:
        """The whole source in pieces, in order. Equal files give equal units."""
        found: list[Unit] = []
        for index, file in enumerate(self.files):
            match self.kind:
                case "parquet":
                    found += parquet_source.units(index, file)
                case "jsonl":
                    found += jsonl.units(index, file)
                case "text":
                    found += plain_text.units(index, file)
                case other:
                    assert_never(other)
        return found

    def read(
        self,
        unit: Unit,
        *,
        on_fault: Callable[[Fault], None] | None = None,
        on_share: Callable[[float], None] = lambda _: None,
    ) -> Generator[str, None, None]:
        """The documents of one unit in order, the empty ones too (a null is an empty one).

        `on_share` hears how much of the unit (0..1) has been read. `on_fault` hears of each record that could not be
        taken as it is; without it they go to `faults`. Close it where it may not be read to its end: it holds a file
        open. Raises UnreadableSource.
        """
        file = self.files[unit.file]
        on_fault = on_fault or self.faults.add
        try:
            match self.kind:
                case "parquet":
                    yield from parquet_source.read(file, unit, self.text_column, on_fault=on_fault, on_share=on_share)
                case "jsonl":
                    yield from jsonl.read(file, unit, self.text_column, on_fault=on_fault, on_share=on_share)
                case "text":
                    cut = not file.form_feed and len(self.files) < FEW_FILES
                    yield from plain_text.read(file, unit, cut=cut, on_share=on_share)
                case other:
                    assert_never(other)
        except OSError as error:
            raise UnreadableSource(f"{file.name} cannot be read any further: {error.strerror or error}.") from error

    def documents(self) -> Generator[str, None, None]:
        """Every document of every unit, with `share` kept up to date."""
        total = sum(file.bytes for file in self.files) or 1
        before = 0
        self.share = 0.0

        def at(share: float) -> None:
            self.share = (before + share * unit.bytes) / total

        for unit in self.units():
            at(0.0)
            yield from self.read(unit, on_share=at)
            before += unit.bytes
        self.share = 1.0

    def described(self) -> list[dict[str, Any]]:
        """Each file for the manifest: name, bytes, sha256, and which column holds its text, in which published corpus' form."""
        found = []
        for file in self.files:
            row: dict[str, Any] = {"name": file.name, "bytes": file.bytes, "sha256": file.sha256}
            if self.kind == "parquet":
                row["text_column"] = parquet_source.column_of(file, self.text_column)
                row["schema"] = parquet_source.schema_name(file)
            elif self.kind == "jsonl":
                row["text_column"] = jsonl.field_of(file, self.text_column)
                row["schema"] = jsonl.schema_name(file)
            found.append(row)
        return found
