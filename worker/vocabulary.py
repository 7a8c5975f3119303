"""The first pass over the documents: the vocabulary they are going to be written in.

Byte pairs are learnt from train documents only. Of a large text a sample is enough (1 MB serves 4096 entries:
2.77 bytes a token on held-out text against 2.74 from 20 MB), and it is drawn by hash, from all of the text,
so that it depends neither on chance nor on the order of the files.
"""

import heapq
from collections.abc import Callable, Iterator
from contextlib import closing

from app.contract.dataset import DatasetSpec
from worker.progress import Progress
from worker.shards import text_hash, val_below
from worker.sources import Source
from worker.tokenizers import BytePairs, Bytes, Characters, Ranks, Tokenizer, train_bpe

SAMPLE_CHARACTERS = 20_000_000
SAMPLE_DOCUMENT_MAX = 1_000_000  # of a longer document only the start is learnt from


def is_empty(text: str) -> bool:
    return not text or text.isspace()


class Sample:
    """The distinct texts with the smallest hashes, as many as have room."""

    def __init__(self, room: int = SAMPLE_CHARACTERS) -> None:
        self._room = room
        self._used = 0
        self._heap: list[tuple[int, str]] = []  # largest order first, hence negative
        self._orders: set[int] = set()

    def add(self, hashed: int, text: str) -> None:
        # The split has used the hash's upper end: among train documents only its lower bits are evenly spread.
        order = hashed & 0xFFFFFFFF
        full = self._used >= self._room
        if order in self._orders or (full and order > -self._heap[0][0]):
            return
        text = text[:SAMPLE_DOCUMENT_MAX]
        heapq.heappush(self._heap, (-order, text))
        self._orders.add(order)
        self._used += len(text)
        while self._used - len(self._heap[0][1]) >= self._room:
            dropped, gone = heapq.heappop(self._heap)
            self._orders.remove(-dropped)
            self._used -= len(gone)

    def texts(self) -> Iterator[str]:
        return (text for _, text in sorted(self._heap, reverse=True))


def characters_of(source: Source, progress: Progress) -> int:
    """Of the whole text, for a split by its tail."""
    found = 0
    with closing(source.documents()) as read:
        for text in read:
            found += len(text)
            progress.at(source.share)
    return found


def choose(
    spec: DatasetSpec, source: Source, ranks: Callable[[str], Ranks], progress: Progress, boundary: int | None = None
) -> Tokenizer:
    """The tokenizer that `spec` asks for; reads the documents only where it has to.

    `ranks` finds those of a published vocabulary. `boundary`: as encode's.
    """
    kind = spec.tokenizer.kind
    if kind == "bytes":
        return Bytes()
    if kind not in ("bpe", "characters"):
        return BytePairs(ranks(kind), kind)
    below = val_below(spec.val_share)
    sample = Sample()
    characters: set[str] = set()
    documents = text_bytes = position = 0
    with closing(source.documents()) as read:
        for text in read:
            position += len(text)
            if is_empty(text):
                # Left out of a split by hash; a text that is split by its tail keeps its blanks.
                if kind == "characters" and boundary is not None:
                    characters.update(text)
                continue
            if kind == "characters":
                # Validation's too: a character that never occurs in train may still occur there.
                characters.update(text)
                text_bytes += len(text)
            else:
                utf8 = text.encode()
                hashed = text_hash(utf8)
                train = text if boundary is None else text[: max(0, boundary - position + len(text))]
                if train and (boundary is not None or hashed >= below):
                    sample.add(hashed, train)
                text_bytes += len(utf8)
            documents += 1
            progress.at(source.share, documents=documents, text_bytes=text_bytes)
    if kind == "characters":
        return Characters(characters, with_eot=not source.one_text and boundary is None)
    return train_bpe(sample.texts(), spec.tokenizer.vocab_size)
