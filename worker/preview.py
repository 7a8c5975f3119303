"""Example documents for a dataset's page: the first of the source, and some at places spread evenly over the token files.

Those are what follows the next end-of-text after each place, so that a long document is no likelier than a short one.
They are read from the files that runs read: what a page shows is what a model sees.
"""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from app.contract.dataset import PreviewDocument, Split
from worker import vocabulary
from worker.shards import Ids
from worker.sources import Source
from worker.tokenizers import Tokenizer

FIRST = 3
FIRST_CHARACTERS = 1500
SPREAD = 12
SPREAD_TOKENS = 300
NONE = np.empty(0, np.intp)
"""Shown of each: with all of them a manifest stays below 200 kB even where a token is one character."""
LOOKED_THROUGH = 1 << 18
"""Tokens searched for a document's start, and for its end."""


def first(source: Source, tokenizer: Tokenizer) -> list[PreviewDocument]:
    """The first documents, cut short, with their tokens: all that a page needs to show them in colour."""
    shown = []
    with contextlib.closing(source.documents()) as read:
        texts = (text for text in read if not vocabulary.is_empty(text))
        for number, text in enumerate(itertools.islice(texts, FIRST)):
            start = text[:FIRST_CHARACTERS]
            ids = [int(i) for i in tokenizer.encode(start)]
            shown.append(
                PreviewDocument(
                    text=start, tokens=tokenizer.pieces(ids), ids=ids, document=number, characters=len(text)
                )
            )
    return shown


def spread(folder: Path, train: Split, val: Split, dtype: str, tokenizer: Tokenizer) -> list[PreviewDocument]:
    """The same for equal token files. Where no end-of-text is near, what stands at the place itself."""
    shown = []
    for split, ids in _documents(folder, train, val, np.dtype(dtype).newbyteorder("<"), tokenizer.eot):
        part = [int(i) for i in ids[:SPREAD_TOKENS]]
        while part and tokenizer.decode(part).endswith("\N{REPLACEMENT CHARACTER}"):
            part.pop()  # half a character
        if part:
            shown.append(
                PreviewDocument(
                    text=tokenizer.decode(part),
                    tokens=tokenizer.pieces(part),
                    ids=part,
                    chosen="random",
                    characters=len(tokenizer.decode(ids)) if len(ids) < LOOKED_THROUGH else None,
                    split=split,
                )
            )
    return shown


def _documents(folder: Path, train: Split, val: Split, dtype: np.dtype, eot: int | None) -> Iterator[tuple[str, Ids]]:
    """(split, ids without end-of-text) of the document at each place, none twice."""
    shards = [("train", shard) for shard in train.shards] + [("val", shard) for shard in val.shards]
    total = train.tokens + val.tokens
    places = iter([int((i + 0.5) * total / SPREAD) for i in range(SPREAD)])
    place: int | None = next(places)
    before, seen = 0, set()
    for split, shard in shards:
        tokens = np.memmap(folder / shard.file, dtype, "r") if shard.tokens else np.empty(0, dtype)
        while place is not None and place < before + shard.tokens:
            start = _start(tokens, place - before, eot)
            if (shard.file, start) not in seen:
                seen.add((shard.file, start))
                rest = tokens[start : start + LOOKED_THROUGH]
                ends = np.flatnonzero(rest == eot) if eot is not None else NONE
                yield split, rest[: ends[0]] if len(ends) else rest
            place = next(places, None)
        before += shard.tokens


def _start(tokens: Ids, place: int, eot: int | None) -> int:
    """Where the next document begins; in the last one, where it begins itself; else the place."""
    if eot is None:
        return place
    after = np.flatnonzero(tokens[place : place + LOOKED_THROUGH][:-1] == eot)
    if len(after):
        return place + int(after[0]) + 1
    first = max(0, place - LOOKED_THROUGH)
    before = np.flatnonzero(tokens[first:place] == eot)
    return first + int(before[-1]) + 1 if len(before) else place
