"""32-token windows by their hash: how much of validation occurs in train, and how much of train occurs twice.

The hash of a window is made by doubling (five passes of numpy for 32 tokens), and which windows are looked at is
decided by the hash itself: of equal windows either all are drawn or none, so a share of the drawn ones is an
unbiased estimate and memory has a bound whatever the size of the text.
"""

import numpy as np
from numpy.typing import NDArray

from app.contract.quality import Leakage, WindowRepeats
from worker.documents import Ids, Stream

WINDOW = 32
VAL_WINDOWS = 262_144
"""About so many of validation are looked up: the share's standard error is below 0.1 %."""
TRAIN_WINDOWS = 1 << 21
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_FILTER_BITS = 23
Hashes = NDArray[np.uint64]


def table(vocab_size: int) -> Hashes:
    """A random 64-bit number for each id; the same every time."""
    return np.random.default_rng(32).integers(0, 2**64, vocab_size, dtype=np.uint64)


def window_hashes(ids: Ids, of_id: Hashes) -> Hashes:
    """The hash of every window of 32 ids, by position of its first: len(ids) - 31 of them."""
    hashes = of_id[np.minimum(ids, len(of_id) - 1)]
    width = 1
    while width < WINDOW:
        if len(hashes) <= width:
            return np.empty(0, np.uint64)
        later = hashes[width:]
        hashes = hashes[:-width] * _FACTOR + (later ^ (later >> _SHIFT))
        width *= 2
    return hashes ^ (hashes >> _SHIFT)


def one_in(windows: int, wanted: int) -> int:
    """The power of two so that about `wanted` windows are drawn."""
    drawn = 1
    while windows > wanted * drawn:
        drawn *= 2
    return drawn


class Windows:
    """Feed validation first, then train; both block by block with WINDOW - 1 ids of overlap."""

    def __init__(self, train: Stream, val: Stream, vocab_size: int) -> None:
        self._of_id = table(vocab_size)
        self.val_one_in = one_in(len(val), VAL_WINDOWS)
        self.train_one_in = one_in(len(train), TRAIN_WINDOWS)
        self._val: list[Hashes] = []
        self._train: list[Hashes] = []
        self._wanted: Hashes | None = None
        self._found: NDArray[np.bool_] = np.empty(0, np.bool_)

    def add_val(self, ids: Ids) -> None:
        self._val.append(_drawn(window_hashes(ids, self._of_id), self.val_one_in))

    def add_train(self, ids: Ids) -> None:
        if self._wanted is None:
            self._begin_train()
        assert self._wanted is not None
        hashes = window_hashes(ids, self._of_id)
        self._train.append(_drawn(hashes, self.train_one_in))
        hashes = _drawn(hashes, self.val_one_in)
        # a bitmap takes out nearly all that validation does not have, before the search in order
        hashes = hashes[self._filter[_low_bits(hashes)]]
        if len(self._wanted) and len(hashes):
            at = np.minimum(np.searchsorted(self._wanted, hashes), len(self._wanted) - 1)
            self._found[at[self._wanted[at] == hashes]] = True

    def _begin_train(self) -> None:
        self._wanted, self._times = np.unique(np.concatenate([*self._val, np.empty(0, np.uint64)]), return_counts=True)
        self._val.clear()
        self._found = np.zeros(len(self._wanted), np.bool_)
        self._filter = np.zeros(1 << _FILTER_BITS, np.bool_)
        self._filter[_low_bits(self._wanted)] = True

    def leak(self) -> tuple[int, float | None]:
        """(windows of validation looked up, share of them that occur in train)."""
        if self._wanted is None:
            self._begin_train()
        looked_up = int(self._times.sum())
        return looked_up, int(self._times[self._found].sum()) / looked_up if looked_up else None

    def repeats(self) -> WindowRepeats:
        hashes = np.concatenate([*self._train, np.empty(0, np.uint64)])
        self._train.clear()
        drawn = len(hashes)
        hashes.sort()  # in place: np.unique takes three times as long
        again = int((hashes[1:] == hashes[:-1]).sum())
        share = again / drawn if drawn else None
        return WindowRepeats(windows=drawn, share=share, drawn_one_in=self.train_one_in)

    def leakage(self) -> Leakage:
        windows, share = self.leak()
        return Leakage(windows=windows, window_share=share, drawn_one_in=self.val_one_in)


def _drawn(hashes: Hashes, one_in: int) -> Hashes:
    # the upper bits draw, the lower ones index the filter
    return hashes if one_in == 1 else hashes[hashes < np.uint64(2**64 // one_in)]


def _low_bits(hashes: Hashes) -> NDArray[np.int64]:
    return (hashes & np.uint64((1 << _FILTER_BITS) - 1)).astype(np.int64)
