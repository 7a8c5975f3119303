"""The windows nanoGPT would draw: its random offsets, in its order, from one generator.

One generator gives everything: the initial weights, then each micro-batch's offsets, and between them, at
every evaluation, `batches` batches of train and as many of val. nanoGPT fetches a batch ahead, so the
order is: batch 0, evaluation of step 0, batch 1, batch 2, …: an evaluation comes after the first batch of
the step it measures. Here the generator is a copy that starts where the initial weights left the process's
own. Nothing else can draw from it, so that the sequence is a function of its start alone: a loop may
fetch far ahead, and an evaluation out of turn or a dropout mask moves nothing.

With dropout on a CPU nanoGPT draws its masks in between as well; these windows are its own where dropout
is 0 or the masks are drawn on a GPU.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

_KEPT_UPDATES = 8
"""A step that ran out of memory is done again, and a loop may be some steps ahead of the one that is saved."""


class Evaluated(NamedTuple):
    """Starts of the windows of one evaluation, (batches · micro_batch,) each."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]


class Draws:
    """The whole sequence of a run; `begin` before anything else."""

    def __init__(
        self,
        train_offsets: int,
        val_offsets: int,
        *,
        micro_batch: int,
        accumulation: int,
        eval_every: int,
        eval_batches: int,
    ) -> None:
        """`…_offsets`: how many places of a split a window can start at, its length less block_size."""
        self.train_offsets = train_offsets
        self.val_offsets = val_offsets
        self.micro_batch = micro_batch
        self.accumulation = accumulation
        self.eval_every = eval_every
        self.eval_batches = eval_batches

    def begin(self, state: torch.Tensor, update: int = 0) -> None:
        """Go on at the 0-based `update` with a state that state(update) gave; for update 0 the initial weights' end."""
        self._generator = torch.Generator()
        self._generator.set_state(state)
        self._next = update * self.accumulation  # the micro-batch drawn next, counted since step 0
        self._drawn: dict[int, NDArray[np.int64]] = {}
        self._states: dict[int, torch.Tensor] = {}  # before the first batch of an update

    def windows(self, first: int, count: int) -> NDArray[np.int64]:
        """Starts of the windows first … first + count − 1 of all that are trained on, counted since step 0.

        By their numbers and not by micro-batch, so that half the micro-batch twice over sees the same.
        """
        numbers = np.arange(first, first + count)
        micro, place = np.divmod(numbers, self.micro_batch)
        self._reach(int(micro[-1]))
        assert int(micro[0]) in self._drawn, f"window {first} is further back than {_KEPT_UPDATES} updates"
        return np.array([self._drawn[m][p] for m, p in zip(micro.tolist(), place.tolist(), strict=True)])

    def evaluation(self, step: int) -> Evaluated:
        """The windows on which the model after `step` updates is measured; the sequence itself does not move."""
        own = torch.Generator()
        own.set_state(self.state(step))
        self._draw(own, self.train_offsets)  # the step's first batch
        return Evaluated(*(self._batches(own, offsets) for offsets in (self.train_offsets, self.val_offsets)))

    def state(self, update: int) -> torch.Tensor:
        """What a resume at `update` has to begin with: the generator's state, uint8."""
        self._reach(update * self.accumulation)
        return self._states[update].clone()

    def _reach(self, micro: int) -> None:
        """Draw on until micro-batch `micro` is there."""
        while self._next <= micro:
            update, later = divmod(self._next, self.accumulation)
            if not later:
                self._states[update] = self._generator.get_state()
                self._forget(update - _KEPT_UPDATES)
            self._drawn[self._next] = self._draw(self._generator, self.train_offsets)
            if not later and update % self.eval_every == 0:
                for offsets in (self.train_offsets, self.val_offsets):
                    self._batches(self._generator, offsets)
            self._next += 1

    def _forget(self, update: int) -> None:
        self._states.pop(update, None)
        for micro in range(update * self.accumulation, (update + 1) * self.accumulation):
            self._drawn.pop(micro, None)

    def _batches(self, generator: torch.Generator, offsets: int) -> NDArray[np.int64]:
        return np.concatenate([self._draw(generator, offsets) for _ in range(self.eval_batches)])

    def _draw(self, generator: torch.Generator, offsets: int) -> NDArray[np.int64]:
        starts: NDArray[np.int64] = torch.randint(offsets, (self.micro_batch,), generator=generator).numpy()
        return starts
