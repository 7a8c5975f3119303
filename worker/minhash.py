"""Near duplicates: documents whose sets of five-word sequences overlap, found by MinHash signatures.

128 permutations in 32 bands of 4: of documents with Jaccard similarity 0.5 it finds nearly nine in ten, of those with
0.8 all; a candidate counts when the signatures agree in half of their places. Sequences are hashed in numpy for
many documents at once (a Python loop over words takes six times as long), the signatures are rensa's.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import rensa
from numpy.typing import NDArray

PERMUTATIONS = 128
BANDS = 32
THRESHOLD = 0.5
WORDS = 5
"""Words a sequence; a shorter document is one sequence."""
SEED = 1
_FACTOR = 0x9E3779B97F4A7C15  # odd: it has an inverse modulo 2^64
_INVERSE = pow(_FACTOR, -1, 2**64)
_SPACE = 32
_PAIRS = 20_000
_TOGETHER_BYTES = 1 << 18
"""Hashed at once: the arrays over them stay in the processor's cache."""
Signatures = NDArray[np.uint32]  # (documents, PERMUTATIONS)
Hashes = NDArray[np.uint64]
_BYTE = np.random.default_rng(5).integers(0, 2**64, 256, dtype=np.uint64)


@functools.lru_cache(maxsize=8)
def _powers(factor: int, count: int) -> Hashes:
    powers = np.full(count, factor, np.uint64)
    powers[0] = 1
    return np.multiply.accumulate(powers)


def shingles(texts: Sequence[bytes]) -> tuple[Hashes, Hashes]:
    """(hashes of the five-word sequences, offsets of each text's first) of normalised texts: words and single spaces."""
    joined = np.frombuffer(b" ".join(texts) + b" ", np.uint8)
    ends = np.flatnonzero(joined == _SPACE)  # of the words
    starts = np.concatenate([[0], ends[:-1] + 1])
    # A word's hash is the difference of two prefix sums, brought to the same power: three passes over the bytes.
    room = 1 << max(18, len(joined).bit_length())
    sums = _BYTE[joined]
    sums *= _powers(_FACTOR, room)[: len(joined)]
    np.cumsum(sums, out=sums)
    words = sums[ends]
    words -= _BYTE[_SPACE] * _powers(_FACTOR, room)[ends]
    words[1:] -= sums[ends[:-1]]
    words = mixed(words * _powers(_INVERSE, room)[starts])
    word_ends = np.searchsorted(starts, np.cumsum([len(text) + 1 for text in texts]))  # per text: its last word + 1
    word_starts = np.concatenate([[0], word_ends[:-1]])
    counts = np.maximum(word_ends - word_starts - (WORDS - 1), 1)
    padded = np.concatenate([words, np.zeros(WORDS - 1, np.uint64)])
    rolled = np.zeros(len(words), np.uint64)
    for n, power in enumerate(_powers(_FACTOR, WORDS)):
        rolled += padded[n : n + len(words)] * power
    offsets = np.concatenate([[0], np.cumsum(counts)])
    hashes = rolled[np.arange(offsets[-1]) + np.repeat(word_starts - offsets[:-1], counts)]
    for text in np.flatnonzero(word_ends - word_starts < WORDS):  # one short sequence, of what words there are
        own = words[word_starts[text] : word_ends[text]]
        hashes[offsets[text]] = (own * _powers(_FACTOR, WORDS)[: len(own)]).sum(dtype=np.uint64)
    return mixed(hashes), offsets.astype(np.uint64)


def signatures(texts: Sequence[bytes]) -> Signatures:
    """Of normalised texts, none of them empty."""
    made = np.empty((len(texts), PERMUTATIONS), np.uint32)
    begin = size = 0
    for at, text in enumerate(texts):
        size += len(text)
        if size >= _TOGETHER_BYTES or at == len(texts) - 1:
            hashes, offsets = shingles(texts[begin : at + 1])
            matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, PERMUTATIONS, SEED)
            made[begin : at + 1] = matrix.to_rows()
            begin, size = at + 1, 0
    return made


def clusters(
    of: Signatures, on_share: Callable[[float], None] = lambda share: None
) -> tuple[NDArray[np.int64], list[tuple[int, int]]]:
    """(the first document of each one's group, pairs that were joined); tells how much is done after each band.

    In every bucket of every band, a document is compared with the bucket's first and with its neighbour there,
    so a bucket of n costs 2n comparisons, not n²/2; another band usually finds what is missed.
    """
    leader = np.arange(len(of))
    joined: list[tuple[int, int]] = []

    def root(node: int) -> int:
        while leader[node] != node:
            node = int(leader[node])
        return node

    rows = PERMUTATIONS // BANDS
    for band in range(BANDS):
        part = mixed(of[:, band * rows : (band + 1) * rows].astype(np.uint64))
        buckets = mixed((part * _powers(_FACTOR, rows)).sum(axis=1, dtype=np.uint64))
        order = np.argsort(buckets, kind="stable")
        again = np.flatnonzero(buckets[order][1:] == buckets[order][:-1]) + 1
        first = np.arange(len(of))
        first[again] = 0
        first = np.maximum.accumulate(first)  # where each one's bucket begins
        one = np.concatenate([order[first[again]], order[again - 1]])
        other = np.concatenate([order[again], order[again]])
        apart = leader[one] != leader[other]
        one, other = one[apart], other[apart]
        alike = [
            (of[one[at : at + _PAIRS]] == of[other[at : at + _PAIRS]]).mean(axis=1) >= THRESHOLD
            for at in range(0, len(one), _PAIRS)
        ]
        near = np.concatenate([*alike, np.empty(0, np.bool_)])
        for left, right in zip(one[near].tolist(), other[near].tolist(), strict=True):
            low, high = sorted((root(left), root(right)))
            if low != high:
                leader[high] = low
                joined.append((left, right))
        while (leader[leader] != leader).any():
            leader = leader[leader]
        on_share((band + 1) / BANDS)
    return leader, joined


def mixed(hashes: Hashes) -> Hashes:
    """Splitmix64's finaliser: every bit depends on every other."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))
