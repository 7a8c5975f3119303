"""Which column or field of a record holds the document: by name as the known corpora have it, else the only one of text."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from worker.source_files import UnreadableSource

AUTO = "auto"


class Schema(NamedTuple):
    """A published corpus, known by columns that it has."""

    name: str
    columns: frozenset[str]
    text: str
    alone: bool = False  #: it has no others; so few and so usual that others have them, too

    def fits(self, columns: Collection[str]) -> bool:
        return self.columns == set(columns) if self.alone else self.columns <= set(columns)


# The first that fits is taken: the ones with more columns stand above those that they contain.
KNOWN = (
    Schema("FineWeb-Edu", frozenset({"text", "id", "dump", "url", "file_path", "score", "int_score"}), "text"),
    Schema("FineWeb", frozenset({"text", "id", "dump", "url", "date", "file_path", "language"}), "text"),
    Schema("FineWeb 2", frozenset({"text", "id", "dump", "url", "date", "language_script"}), "text"),
    Schema("Dolma", frozenset({"text", "id", "source", "added"}), "text"),
    Schema("RefinedWeb", frozenset({"content", "url", "timestamp", "dump", "segment"}), "content"),
    Schema("RedPajama", frozenset({"raw_content", "doc_id"}), "raw_content"),
    Schema("The Stack", frozenset({"content", "max_stars_repo_path"}), "content"),
    Schema("TinyStories with instructions", frozenset({"story", "summary", "source"}), "story"),
    Schema("Wikipedia", frozenset({"text", "id", "url", "title"}), "text", alone=True),
    Schema("C4", frozenset({"text", "timestamp", "url"}), "text", alone=True),
    Schema("text alone, as TinyStories and OpenWebText", frozenset({"text"}), "text", alone=True),
    Schema("The Pile", frozenset({"text", "meta"}), "text", alone=True),
)
USUAL = ("text", "content", "story", "raw_content", "document", "body", "article", "code")
"""Names of the field where nothing else tells, the likeliest first."""


def schema_of(columns: Mapping[str, bool]) -> str | None:
    """The name of the corpus that has such columns."""
    return next((known.name for known in KNOWN if known.fits(columns)), None)


def text_field(name: str, wanted: str, columns: Mapping[str, bool], listed: str, what: str) -> str:
    """The field to read of file `name`; `columns` tells of each whether it holds text.

    `listed`: the columns and their types, for people; `what`: column or field. Raises UnreadableSource.
    """
    if wanted != AUTO:
        if wanted not in columns:
            raise UnreadableSource(
                f'{name} has no {what} "{wanted}". Its {what}s are: {listed}. Set text_column to one, or to auto.'
            )
        if not columns[wanted]:
            raise UnreadableSource(
                f'{name}: {what} "{wanted}" holds no text. Its {what}s are: {listed}. Set text_column to one of text.'
            )
        return wanted
    known = [schema.text for schema in KNOWN if schema.fits(columns)]
    for candidate in (*known, *USUAL):
        if columns.get(candidate):
            return candidate
    of_text = [column for column, holds_text in columns.items() if holds_text]
    if len(of_text) == 1:
        return of_text[0]
    found = "none holds text" if not of_text else "more than one holds text"
    raise UnreadableSource(
        f"{name}: which {what} holds the documents? {found.capitalize()}, and none has a usual name. "
        f"Its {what}s are: {listed}. Set text_column to one."
    )
