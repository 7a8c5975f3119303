"""The order of an epoch: every window once, shuffled by (seed, epoch), whatever their number and in bounded memory.

Up to LARGEST_SORTED windows the order is what sorting their hashes gives, kept for two epochs. Beyond, a window's
place is computed: a Feistel network of four rounds permutes the numbers of as many bits as are needed, and
is walked until it lands on a window (cycle walking, Black and Rogaway 2002); nothing is kept.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

LARGEST_SORTED = 1 << 21
"""Windows: 17 MB for the orders of two epochs, and 34 MB for a moment. A billion tokens at a context of 512."""
ROUNDS = 4
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def key(*parts: object) -> NDArray[np.uint64]:
    """(1,) uint64: a random number that these parts stand for."""
    text = "/".join(map(str, parts))
    return np.frombuffer(hashlib.blake2b(text.encode(), digest_size=8).digest(), dtype="<u8")


def mixed(key: NDArray[np.uint64], counter: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64 (Steele, Lea and Flood 2014) of key + counter·golden, elementwise; arithmetic modulo 2^64."""
    z = key + counter * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixture: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixture


class Shuffled:
    """The orders of all epochs of so many windows."""

    def __init__(self, windows: int, seed: int, largest_sorted: int = LARGEST_SORTED) -> None:
        assert windows > 0, "an epoch of no windows"
        self.windows = windows
        self._seed = seed
        self._sorts = windows <= largest_sorted
        self._orders: dict[int, NDArray[np.uint32]] = {}

    def at(self, epoch: NDArray[np.int64], place: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which window comes at each `place` (0 … windows − 1) of its `epoch`."""
        found = np.empty(len(place), np.int64)
        for one in np.unique(epoch):  # a batch may straddle two
            here = epoch == one
            found[here] = self._order(int(one))[place[here]] if self._sorts else self._computed(int(one), place[here])
        return found

    def _order(self, epoch: int) -> NDArray[np.uint32]:
        if epoch not in self._orders:
            # Sorted by a hash, not permuted by a library's generator: numpy may change that stream between versions.
            order = np.argsort(mixed(key(self._seed, epoch), np.arange(self.windows, dtype=np.uint64)), kind="stable")
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = order.astype(np.uint32)
        return self._orders[epoch]

    def _computed(self, epoch: int, place: NDArray[np.int64]) -> NDArray[np.int64]:
        half = np.uint64((max(2, (self.windows - 1).bit_length()) + 1) // 2)  # bits of each side
        low = np.uint64((1 << int(half)) - 1)
        keys = [key(self._seed, epoch, number) for number in range(ROUNDS)]
        at = place.astype(np.uint64)
        outside = np.ones(len(at), np.bool_)
        while outside.any():  # at most four times as many numbers as windows: a quarter or more land at each turn
            left, right = at[outside] >> half, at[outside] & low
            for one in keys:
                left, right = right, left ^ (mixed(one, right) & low)
            at[outside] = (left << half) | right
            outside = at >= self.windows
        return at.astype(np.int64)
