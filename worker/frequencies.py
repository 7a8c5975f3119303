"""Token frequencies: entropies, how much of a vocabulary is used, and whether two splits look alike.

All in nats: what a loss is measured in.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from app.contract.quality import Entropy, Likeness, TopToken, Vocabulary
from worker.documents import BLOCK_TOKENS, Counts, Documents, Ids, Stream
from worker.minhash import mixed

RARE_BELOW = 10
TOP = 12
"""Most frequent tokens that a report names."""
BIGRAM_TOKENS = 10_000_000
"""Pairs are counted by sorting: 80 MB for these, and more would change the second digit only."""
CELLS = 64
VAL_CELLS = 8
DRAWS = 200
PASSAGE_TOKENS = 2_048
LEAST_UNITS = 32
"""With fewer documents than these, passages stand in for them."""


def count(ids: Ids, into: Counts) -> int:
    """Add the ids' counts; returns how many ids lie beyond the vocabulary."""
    found = np.bincount(ids, minlength=len(into))
    into += found[: len(into)]
    return int(found[len(into) :].sum())


def entropy_nats(counts: Counts) -> float:
    """H = -Σ p ln p."""
    total = counts.sum()
    if not total:
        return 0.0
    p = counts[counts > 0] / total
    return float(-(p * np.log(p)).sum())


def bigram_entropy(stream: Stream, vocab_size: int) -> tuple[float | None, int]:
    """(H of a token given the one before, tokens counted): pairs of evenly spaced blocks of the stream."""
    blocks = -(-len(stream) // BLOCK_TOKENS)
    wanted = min(blocks, BIGRAM_TOKENS // BLOCK_TOKENS)
    starts = sorted({int(i * blocks / wanted) * BLOCK_TOKENS for i in range(wanted)})
    pairs = np.empty(sum(min(BLOCK_TOKENS, len(stream) - start) - 1 for start in starts), np.uint64)
    filled = 0
    for start in starts:
        ids = stream.read(start, min(start + BLOCK_TOKENS, len(stream)))
        into = pairs[filled : filled + len(ids) - 1]
        np.multiply(ids[:-1], np.uint64(vocab_size), out=into, dtype=np.uint64)
        into += ids[1:]
        filled += len(into)
    if len(pairs) < 2:
        return None, len(pairs)
    pairs.sort()
    edges = np.flatnonzero(np.concatenate([[True], pairs[1:] != pairs[:-1], [True]]))
    together = np.diff(edges)
    before = np.bincount((pairs[edges[:-1]] // np.uint64(vocab_size)).astype(np.int64), weights=together)
    return entropy_nats(together) - entropy_nats(before.astype(np.int64)), len(pairs)


def entropy(train: Counts, stream: Stream, vocab_size: int) -> Entropy:
    bigram, tokens = bigram_entropy(stream, vocab_size)
    return Entropy(unigram=entropy_nats(train), bigram=bigram, bigram_tokens=tokens)


def top_tokens(train: Counts, text_of: Callable[[int], str]) -> list[TopToken]:
    """The most frequent ids; of equally frequent ones the smaller id."""
    order = np.argsort(-train, kind="stable")[:TOP]
    total = max(1, int(train.sum()))
    return [
        TopToken(id=int(id), text=text_of(int(id)), count=int(train[id]), share=int(train[id]) / total)
        for id in order
        if train[id]
    ]


def vocabulary_use(train: Counts, val: Counts, beyond: int) -> Vocabulary:
    return Vocabulary(
        entries=len(train),
        seen=int((train > 0).sum()),
        never_seen=int((train == 0).sum()),
        rare=int(((train > 0) & (train < RARE_BELOW)).sum()),
        val_only_tokens=int(val[train == 0].sum()),
        beyond=beyond,
    )


def divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Jensen-Shannon divergence of two count vectors, nats: 0 for equal frequencies, ln 2 for nothing in common."""
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    some = middle > 0
    p, q, middle = p[some], q[some], middle[some]

    def h(x: NDArray[np.float64]) -> float:
        x = x[x > 0]
        return float(-(x * np.log(x)).sum())

    return max(0.0, h(middle) - (h(p) + h(q)) / 2)


class Cells:
    """Documents of both splits dealt by their key into cells: any few cells together are a random split.

    By key, because equal texts go to one side of a split by hash: dealt apart, they would make random splits look more
    like the rest than they can be. A cell has about an eighth of validation's tokens, so that eight make a split of its
    size; where validation is so small that 64 cells do not hold everything, the rest is in none.
    """

    def __init__(self, train_tokens: int, val_tokens: int, vocab_size: int) -> None:
        total = train_tokens + val_tokens
        cell_tokens = min(val_tokens / VAL_CELLS, total / CELLS)
        self._all_cells = round(total / cell_tokens) if cell_tokens else CELLS
        self._in_val = max(1, round(val_tokens / cell_tokens)) if cell_tokens else 1
        self._random = np.random.default_rng(2357)  # nothing depends on which; the same again for the same data
        self._counts = np.zeros((CELLS, vocab_size), np.int32)

    def deal(self, keys: NDArray[np.uint64]) -> NDArray[np.int16]:
        """A cell for each key, -1 for none."""
        cells = (mixed(keys) >> np.uint64(32)) * np.uint64(self._all_cells) >> np.uint64(32)
        return np.where(cells < CELLS, cells, -1).astype(np.int16)

    def add(self, ids: Ids, cells: NDArray[np.int16]) -> None:
        """Count a block: `cells` has each id's."""
        vocab_size = self._counts.shape[1]
        known = (cells >= 0) & (ids < vocab_size)
        # 5 ns a token; a bincount of cell and id together would write the whole table for every block
        np.add.at(self._counts.reshape(-1), cells[known].astype(np.int64) * vocab_size + ids[known], np.int32(1))

    def noise(self, whole: Counts) -> NDArray[np.float64] | None:
        """Distances of random splits of validation's size from the rest of `whole`; None where there is too little to deal."""
        used = np.flatnonzero(self._counts.any(axis=1))
        if len(used) < 2 * self._in_val or len(used) < VAL_CELLS:
            return None
        some = whole > 0
        counts, total = self._counts[used][:, some], whole[some].astype(np.float64)
        distances = []
        for _ in range(DRAWS):
            part = counts[self._random.choice(len(used), self._in_val, replace=False)].sum(axis=0, dtype=np.float64)
            distances.append(divergence(part, total - part))
        return np.array(distances)


def likeness(train: Counts, val: Counts, cells: Cells, *, by_documents: bool) -> Likeness | None:
    noise = cells.noise(train + val) if train.sum() and val.sum() else None
    if noise is None:
        return None
    return Likeness(
        distance=divergence(train.astype(np.float64), val.astype(np.float64)),
        noise=float(noise.mean()),
        noise_sd=float(noise.std(ddof=1)),
        noise_99=float(np.quantile(noise, 0.99)),
        draws=len(noise),
        unit="documents" if by_documents else "passages",
    )


def passage_keys(tokens: int, val: bool) -> NDArray[np.uint64]:
    """Keys for the passages that stand in for documents, different ones on each side."""
    return (np.arange(tokens // PASSAGE_TOKENS + 1) * 2 + val).astype(np.uint64)


def unit_of_each(start: int, ids: Ids, documents: Documents | None) -> Counts:
    """The number of the document that each id of a block belongs to; of its passage where documents are not known."""
    at = np.arange(start, start + len(ids))
    if documents is None:
        return at // PASSAGE_TOKENS
    first, last = np.searchsorted(documents.starts, [start, start + len(ids)])
    begins = np.zeros(len(ids), np.int64)
    begins[documents.starts[first:last] - start] = 1
    # an end-of-text counts with the document before it; the very first with the first document
    places: NDArray[np.int64] = np.maximum(first - 1 + np.cumsum(begins), 0)
    return places
