"""Out of memory in the middle of a step: the same step again, in smaller pieces.

Half the micro-batch and twice the accumulation read the same windows and take the same step, with sums in
another order. The interrupted step has changed nothing: its gradients are dropped, and the weights are those of
the last finished update. At most three times an attempt; then, or where it cannot help, the error goes on.
"""

import copy
import gc
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from worker import devices
from worker.batches import Batches
from worker.loop import Loop
from worker.report import Sink

MOST_TIMES = 3

T = TypeVar("T")


class Relief:
    """One attempt's cuts of its batch."""

    def __init__(self, loop: Loop, journal: Sink, saved: Mapping[str, int] | None = None) -> None:
        """`saved`: the cut in a checkpoint, taken again where it makes the same step, so that the resume is bit-exact."""
        self.loop = loop
        self.journal = journal
        self.times = 0
        batches = loop.batches
        if saved and saved["micro_batch"] * saved["accumulation"] == batches.micro_batch * batches.accumulation:
            loop.batches = recut(batches, saved["micro_batch"])

    def cut(self) -> dict[str, int]:
        """For the checkpoint, and for the page."""
        return {"micro_batch": self.loop.batches.micro_batch, "accumulation": self.loop.batches.accumulation}

    def run(self, step: int, work: Callable[..., T], *arguments: Any) -> T:
        """`work(*arguments)`, which must be repeatable until it succeeds; `step` updates are finished."""
        while True:
            try:
                return work(*arguments)
            except (MemoryError, RuntimeError) as error:
                if not devices.is_out_of_memory(error) or not self._may_help():
                    raise
            # Out here the error is gone, and with it the frames that held the activations.
            self._halve(step)

    def _may_help(self) -> bool:
        # Once the optimiser writes weights the step cannot be repeated; and no cut makes its moments smaller.
        # Of several processes only one knows, while the others wait inside the step for its gradients.
        alone = self.loop.processes.count == 1
        return alone and self.times < MOST_TIMES and self.loop.batches.micro_batch > 1 and not self.loop.updating

    def _halve(self, step: int) -> None:
        self.times += 1
        before = self.cut()
        self.loop.batches = recut(self.loop.batches, smaller(before["micro_batch"]))
        self.loop.take_back()
        gc.collect()
        if self.loop.device.type == "cuda":
            torch.cuda.empty_cache()
        after = self.cut()
        text = (
            f"Out of memory after step {step}: micro-batch {before['micro_batch']} → {after['micro_batch']}, accumulation"
            f" {before['accumulation']} → {after['accumulation']}; the same step in smaller pieces."
            f" Not bit-exact from step {step} on."
        )
        self.journal.event("alarm", step, text=text, before=before, after=after)
        self.journal.telemetry(**after)
        if self.loop.compiled:  # for each shape anew
            self.loop.compiling = True
            self.journal.event("phase", step, text="compiling")


def smaller(micro_batch: int) -> int:
    """Half of it, or the largest part that divides an odd one."""
    divisor = next(d for d in range(2, micro_batch + 1) if micro_batch % d == 0)
    return micro_batch // divisor


def recut(batches: Batches, micro_batch: int) -> Batches:
    """The same windows of every step, `micro_batch` at a time."""
    sequences = batches.micro_batch * batches.accumulation
    assert sequences % micro_batch == 0, f"{sequences} sequences cannot be read {micro_batch} at a time"
    other = copy.copy(batches)
    other.micro_batch, other.accumulation = micro_batch, sequences // micro_batch
    return other
