"""The step itself: forward and backward over the accumulated batch, clip, update. Nothing here waits for the device.

Torch, numpy and the standard library only. The step's loss and gradient norm come back as `Scalars`:
on CUDA they travel to pinned memory behind the kernels that made them, and are read a step later.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from worker.batches import Batches
from worker.optim import set_lr


class Scalars:
    """Loss, gradient norm and duration of one step, possibly still on their way from the device."""

    def __init__(self, values, start, end):
        self._values = values  # (2,) float32
        self._start = start  # a CUDA event, or time.perf_counter() seconds
        self._end = end

    def ready(self) -> bool:
        return not isinstance(self._end, torch.cuda.Event) or self._end.query()

    def read(self) -> tuple[float, float, float]:
        """(loss, grad_norm, step_ms); waits where ready() is false."""
        if isinstance(self._end, torch.cuda.Event):
            self._end.synchronize()
            step_ms = self._start.elapsed_time(self._end)
        else:
            step_ms = (self._end - self._start) * 1e3
        loss, grad_norm = self._values.tolist()
        return loss, grad_norm, step_ms


class Loop:
    """Owns model, optimiser, batches and precision; `step` is one update."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        batches: Batches,
        *,
        clip: float,
        device: torch.device | str,
        dtype: str = "float32",
        compiled: bool = False,
    ) -> None:
        assert dtype in ("float32", "bfloat16"), (
            f"{dtype} is not supported: float16 needs loss scaling and is slow on CPUs"
        )
        self.model = model  # what checkpoints save
        self.run: Any = torch.compile(model, dynamic=False) if compiled else model
        self.optimizer = optimizer
        self.batches = batches
        self.clip = clip
        self.device = torch.device(device)
        self.dtype = dtype
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self._mark = None  # CUDA: the event at which the previous step ended

    def autocast(self) -> AbstractContextManager:
        if self.dtype == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def interrupt(self) -> None:
        """Something that is no step comes next (an evaluation, a checkpoint): the next step's clock starts afresh."""
        self._mark = None

    def step(self, update: int, lr: float, between: Callable[[], None] = lambda: None) -> Scalars:
        """Run the 0-based `update` at learning rate `lr`; `between` is called after every micro-batch.

        The loss is the mean over the whole accumulated batch, in train mode, before the update.
        """
        start = self._now() if self._mark is None else self._mark
        set_lr(self.optimizer, lr)
        accumulation = self.batches.accumulation
        total = torch.zeros((), device=self.device)
        for micro in range(accumulation):
            x, y = (self._to_device(t) for t in self.batches.batch(update, micro))
            with self.autocast():
                _, loss = self.run(x, y)
            loss = loss / accumulation
            loss.backward()
            total += loss.detach()
            between()
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.clip:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip, norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return self._scalars(torch.stack((total, norm.float())), start)

    def _to_device(self, tensor):
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def _now(self):
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _scalars(self, values, start):
        if self.device.type != "cuda":
            values = values.cpu()  # free on a CPU; MPS waits here
            return Scalars(values, start, time.perf_counter())
        pinned = torch.empty(2, pin_memory=True)
        pinned.copy_(values, non_blocking=True)
        end = self._mark = self._now()
        return Scalars(pinned, start, end)
