"""Documents as their tokens: each in a colour of its own and a line at its start, its id in reach."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup, escape

SUMMARY_CHARACTERS = 160
_BYTE = re.compile(r"\\x([0-9a-f]{2})")


class DocumentView(NamedTuple):
    number: int | None  #: its place in the order read, from 1
    split: str  #: train, val, or nothing where a manifest does not say
    summary: str
    text: str
    tokens: int  #: shown here
    coloured: Markup
    cut: bool  #: the document goes on
    characters: int | None  #: of the whole document


def documents(preview: Sequence[dict[str, Any]], chosen: str) -> list[DocumentView]:
    """The manifest's example documents of one kind: first or random."""
    found = []
    for one in preview:
        if one.get("chosen", "first") != chosen:
            continue
        text, whole, number = one["text"], one.get("characters"), one.get("document")
        pieces, ids = one.get("tokens") or (), one.get("ids") or ()
        found.append(
            DocumentView(
                number=None if number is None else number + 1,
                split=one.get("split") or "",
                summary=" ".join(text[: 2 * SUMMARY_CHARACTERS].split())[:SUMMARY_CHARACTERS],
                text=text,
                tokens=len(pieces),
                coloured=coloured(text, pieces, ids),
                cut=whole is not None and whole > len(text),
                characters=whole,
            )
        )
    return found


def coloured(text: str, pieces: Sequence[str], ids: Sequence[int]) -> Markup:
    """One element a token with its id as title; its colour follows from its place in the row. A line's end is shown."""
    titles = [f' title="{int(number)}"' for number in ids[: len(pieces)]]
    titles += [""] * (len(pieces) - len(titles))
    drawn = []
    for title, shown in zip(titles, readable(text, pieces), strict=True):
        inside = str(escape(shown)).replace("\n", "<u></u>\n") if shown else "<s></s>"
        drawn.append(f"<i{title}>{inside}</i>")
    return Markup("".join(drawn))  # noqa: S704 - escaped above


def readable(text: str, pieces: Sequence[str]) -> Iterator[str]:
    """The text of each piece, so that all together are `text`.

    A piece that holds only some bytes of a character is written as its bytes (\\xe2); the first piece of such a
    character has it whole here and the others are empty. What does not fit `text` stays as it is written.
    """
    at = 0
    waiting: list[str] = []
    for piece in pieces:
        if not waiting and text.startswith(piece, at):
            at += len(piece)
            yield piece
            continue
        waiting.append(piece)
        whole = b"".join(map(_bytes, waiting)).decode(errors="ignore")
        complete = b"".join(map(_bytes, waiting)) == whole.encode()
        if complete and text.startswith(whole, at):
            at += len(whole)
            yield from (whole, *[""] * (len(waiting) - 1))
            waiting = []
        elif len(waiting) > 4:  # no character has more bytes: this is not the text that the pieces are of
            yield from waiting
            waiting = []
    yield from waiting


def _bytes(piece: str) -> bytes:
    """What a piece stands for: the bytes it writes as \\xe2, and its text as UTF-8."""
    parts = _BYTE.split(piece)
    return b"".join(
        bytes([int(part, 16)]) if place % 2 else part.encode(errors="surrogatepass") for place, part in enumerate(parts)
    )
