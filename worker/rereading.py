"""The text of a prepared dataset read again from its tokens: counted, normalised, signed, and some of it compressed.

Every document is decoded once; what has to be remembered of it is a key of eight bytes and, for at most 200,000
documents drawn by a hash of their text, a signature of 512.
"""

import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.contract.quality import Compression
from worker import duplicates, minhash
from worker.documents import BLOCK_TOKENS, Side, in_groups
from worker.progress import Progress
from worker.tokenizers import Tokenizer

COMPARED_DOCUMENTS = 200_000
TEXT_TOKENS = BLOCK_TOKENS // 4
"""Tokens decoded at a time: the arrays over their bytes stay in the processor's cache."""
WHOLE_TOKENS = 1_000_000
"""A longer document is compared by its first tokens, and its signature is of the first megabyte."""
SIGNED_BYTES = 1_000_000
COMPRESSED_BYTES = 4_000_000


class Text(NamedTuple):
    """What reading the text of both splits gave; arrays have an entry for each document, train's first."""

    characters: tuple[int, int]
    bytes: tuple[int, int]
    compression: Compression | None
    keys: duplicates.Keys  #: normalised
    signed: NDArray[np.int64]  #: documents that have a signature
    signatures: minhash.Signatures
    sampled: bool


def read_text(sides: Sequence[Side], tokenizer: Tokenizer, progress: Progress) -> Text:
    """Decode everything once. Raises progress's Stopped."""
    documents = [side.size for side in sides]
    total = max(1, sum(len(side.stream) for side in sides))
    characters, text_bytes = [0, 0], [0, 0]
    keys = np.zeros(sum(documents), np.uint64)
    sampled = sum(documents) > COMPARED_DOCUMENTS
    room = min(sum(documents), COMPARED_DOCUMENTS)
    below = 2**64 * COMPARED_DOCUMENTS // sum(documents) if sampled else 2**64
    signed: list[int] = []
    signatures = np.empty((room, minhash.PERMUTATIONS), np.uint32)
    met: set[int] = set()
    squeeze = Squeeze(total)
    done = base = 0
    for number, side in enumerate(sides):
        for piece in _pieces(side, tokenizer):
            to_sign: list[bytes] = []
            for at, text in enumerate(piece.texts, base + (piece.first or 0)):
                utf8 = text.encode()
                characters[number] += len(text)
                text_bytes[number] += len(utf8)
                squeeze.add(utf8)
                if piece.first is None:
                    continue
                normal = duplicates.normalised(text).encode()
                key = keys[at] = duplicates.key_of(normal)
                if normal and int(key) < below and int(key) not in met and len(met) < room:
                    met.add(int(key))
                    signed.append(at)
                    to_sign.append(normal[:SIGNED_BYTES])
            if to_sign:
                signatures[len(signed) - len(to_sign) : len(signed)] = minhash.signatures(to_sign)
            done += piece.tokens
            progress.at(min(1.0, done / total), documents=at + 1, text_bytes=sum(text_bytes), tokens=done)
        base += documents[number]
    return Text(
        (characters[0], characters[1]), (text_bytes[0], text_bytes[1]), squeeze.result(), keys,
        np.array(signed, np.int64), signatures[: len(signed)], sampled,
    )  # fmt: skip


class Piece(NamedTuple):
    """Decoded text: whole documents from number `first` on, or (None) text that is no document's beginning."""

    first: int | None
    texts: list[str]
    tokens: int


def _pieces(side: Side, tokenizer: Tokenizer) -> Iterator[Piece]:
    documents = side.documents
    if documents is None:
        for _, ids in side.stream.blocks(size=TEXT_TOKENS):
            yield Piece(None, [tokenizer.decode(ids)], len(ids))
        return
    for first, last in in_groups(documents, TEXT_TOKENS):
        begin, end = int(documents.starts[first]), int(documents.ends[last - 1])
        ids = side.stream.read(begin, min(end, begin + WHOLE_TOKENS))
        bounds = zip(documents.starts[first:last] - begin, documents.ends[first:last] - begin, strict=True)
        yield Piece(first, [tokenizer.decode(ids[start:stop]) for start, stop in bounds], len(ids))
        for start in range(begin + WHOLE_TOKENS, end, WHOLE_TOKENS):  # the rest of a single long one
            rest = side.stream.read(start, min(end, start + WHOLE_TOKENS))
            yield Piece(None, [tokenizer.decode(rest)], len(rest))


class Squeeze:
    """Compresses text spread evenly over the dataset, up to COMPRESSED_BYTES."""

    def __init__(self, tokens: int) -> None:
        self._share = min(1.0, COMPRESSED_BYTES / (4 * tokens))  # about 4 bytes a token
        self._seen = self._taken = self._packed = 0
        self._packer = zlib.compressobj(6)

    def add(self, utf8: bytes) -> None:
        self._seen += len(utf8)
        if self._taken < min(COMPRESSED_BYTES, self._share * self._seen):
            self._packed += len(self._packer.compress(utf8[:COMPRESSED_BYTES]))
            self._taken += min(len(utf8), COMPRESSED_BYTES)

    def result(self) -> Compression | None:
        self._packed += len(self._packer.flush())
        return Compression(ratio=self._taken / self._packed, bytes=self._taken) if self._taken else None
