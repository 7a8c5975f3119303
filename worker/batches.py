"""Token files to batches: which windows a step sees is a pure function of (seed, step, micro-batch).

Nothing here has a state that a resume would have to restore: update 1,200 reads the same tokens
whether the process started at 0 or at 1,199, and halving the micro-batch while doubling the
accumulation changes neither the windows of a step nor their order. The sampler `nanogpt` is the one
exception: its windows come from a generator, whose state is in every checkpoint (worker.nanogpt_draws).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from worker.nanogpt_draws import Draws
from worker.order import Shuffled, key, mixed

SAMPLERS = ("shuffled", "sequential", "random", "nanogpt")


class Tokens:
    """One split: its shards read as one long sequence, memory-mapped, never held whole."""

    def __init__(self, paths: Sequence[Path], dtype: str) -> None:
        self.shards = [np.memmap(path, dtype=np.dtype(dtype).newbyteorder("<"), mode="r") for path in paths]
        self.ends = np.cumsum([len(shard) for shard in self.shards])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def rows(self, starts: NDArray, length: int) -> NDArray[np.int64]:
        """The `length` tokens from each start on: (len(starts), length) int64. A row may cross shards."""
        starts = starts.astype(np.int64)
        first = np.searchsorted(self.ends, starts, side="right")  # the shard in which a row begins
        last = np.searchsorted(self.ends, starts + length - 1, side="right")
        rows = np.empty((len(starts), length), dtype=np.int64)
        for shard in np.unique(first):
            chosen = np.flatnonzero((first == shard) & (last == shard))
            offsets = starts[chosen] - self._begin(shard)
            rows[chosen] = self.shards[shard][offsets[:, None] + np.arange(length)]
        for row in np.flatnonzero(first != last):
            self._across(rows[row], int(starts[row]))
        return rows

    def _begin(self, shard):
        return int(self.ends[shard - 1]) if shard else 0

    def _across(self, row, start):
        filled = 0
        while filled < len(row):
            shard = int(np.searchsorted(self.ends, start + filled, side="right"))
            offset = start + filled - self._begin(shard)
            piece = self.shards[shard][offset : offset + len(row) - filled]
            row[filled : filled + len(piece)] = piece
            filled += len(piece)


class Batches:
    """The training batches of a run."""

    def __init__(
        self,
        tokens: Tokens,
        block_size: int,
        micro_batch: int,
        accumulation: int,
        sampler: str,
        seed: int,
        draws: Draws | None = None,
        begins: NDArray[np.uint64] | None = None,
    ) -> None:
        """`draws`: for the sampler nanogpt alone. `begins`: of the windows, where they follow documents (worker.windows);
        None: one after the other, without a gap.
        """
        assert len(tokens) > block_size, (
            f"{len(tokens)} tokens are too few: one window and its target need {block_size + 1}"
        )
        assert sampler in SAMPLERS, sampler
        assert (sampler == "nanogpt") == (draws is not None), f"{sampler} and {draws} do not belong together"
        self.tokens = tokens
        self.block_size = block_size
        self.micro_batch = micro_batch
        self.accumulation = accumulation
        self.sampler = sampler
        self.seed = seed
        self.draws = draws
        self.begins = begins
        self.windows = count_windows(tokens, block_size) if begins is None else len(begins)
        #: (update, windows drawn before it): other than (0, 0) where a fork has changed the batch or the data
        self.origin = (0, 0)
        self._shuffled = Shuffled(self.windows, seed)

    @property
    def tokens_per_step(self) -> int:
        return self.micro_batch * self.accumulation * self.block_size

    def batch(self, update: int, micro: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets of micro-batch `micro` of the 0-based `update`: two (B, T) int64 tensors on the CPU."""
        return window_pair(self.tokens, self.starts(update, micro), self.block_size)

    def drawn(self, update: int) -> int:
        """Windows drawn before the 0-based `update`."""
        return self.origin[1] + (update - self.origin[0]) * self.accumulation * self.micro_batch

    def starts(self, update, micro):
        if self.draws is not None:
            return self.draws.windows((update * self.accumulation + micro) * self.micro_batch, self.micro_batch)
        first = self.drawn(update) + micro * self.micro_batch
        drawn = np.arange(first, first + self.micro_batch, dtype=np.uint64)  # counted since the data's beginning
        if self.sampler == "random":
            # With replacement, as nanoGPT draws offsets: over e epochs' worth of tokens only
            # 1 − exp(−e) of the text is seen. The modulo's bias is below N/2^64.
            places = len(self.tokens) - self.block_size if self.begins is None else self.windows
            chosen = mixed(key(self.seed, "random"), drawn) % np.uint64(places)
            return chosen if self.begins is None else self.begins[chosen].astype(np.int64)
        epoch, window = np.divmod(drawn.astype(np.int64), self.windows)
        if self.sampler == "shuffled":
            window = self._shuffled.at(epoch, window)
        return window * self.block_size if self.begins is None else self.begins[window].astype(np.int64)


def count_windows(tokens: Tokens, block_size: int) -> int:
    """Windows of T inputs that do not overlap; the last needs one more token as its target."""
    return (len(tokens) - 1) // block_size


def fixed_windows(tokens: Tokens, block_size: int, n: int) -> NDArray[np.int64]:
    """Starts of n windows spread evenly over the split, the same at every evaluation; none overlap."""
    windows = count_windows(tokens, block_size)
    assert 0 < n <= windows, f"{n} windows were asked for, the split has {windows}"
    return (np.arange(n, dtype=np.int64) * windows // n) * block_size


def window_pair(tokens: Tokens, starts: NDArray, block_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows = torch.from_numpy(tokens.rows(starts, block_size + 1))
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
