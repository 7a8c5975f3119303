"""The step itself: forward and backward over the accumulated batch, clip, update. Nothing here waits for the device.

Torch, numpy and the standard library only. The step's loss and gradient norm come back as `Scalars`:
on CUDA they travel to pinned memory behind the kernels that made them, and are read a step later.
"""

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from worker.batches import Batches
from worker.optim import set_lr
from worker.processes import ALONE, Alone

AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""The type of autocast over float32 weights, for each precision a run may ask for."""


NOISE_EVERY = 10
"""Updates between two measurements of the gradient noise: one more norm, a thousandth of the time at accumulation 2."""


@contextmanager
def without_collector() -> Iterator[None]:
    """Python's cyclic garbage collector is off inside: it would stop some steps for up to half a second.

    What exists is collected once and then left alone, so that the collections of Loop.interrupt() are short.
    """
    was_on = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()


class Scalars:
    """Loss, gradient norm and duration of one step, possibly still on their way from the device."""

    def __init__(self, values, start, end):
        self._values = values  # (3,) float32: loss, gradient norm, the first micro-batch's or nan; (4,) with float16: and the loss scale
        self._start = start  # a CUDA event, or time.perf_counter() seconds
        self._end = end
        self.grad_squares: tuple[float, float] | None = (
            None  # once read, where measured: |G|² of a micro-batch and of the batch
        )
        self.scaling: tuple[float, bool] | None = (
            None  # once read, with float16: the loss scale, and whether the step was skipped
        )

    def ready(self) -> bool:
        return not isinstance(self._end, torch.cuda.Event) or self._end.query()

    def read(self) -> tuple[float, float, float]:
        """(loss, grad_norm, step_ms); waits where ready() is false."""
        if isinstance(self._end, torch.cuda.Event):
            self._end.synchronize()
            step_ms = self._start.elapsed_time(self._end)
        else:
            step_ms = (self._end - self._start) * 1e3
        loss, grad_norm, micro, *scale = self._values.tolist()
        if math.isfinite(micro):
            self.grad_squares = micro**2, grad_norm**2
        if scale:
            self.scaling = scale[0], not math.isfinite(grad_norm)
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
        tf32: bool = False,
        processes: Alone = ALONE,
    ) -> None:
        assert dtype in AUTOCAST, f"{dtype} is none of {', '.join(AUTOCAST)}"
        self.model = model  # what checkpoints save
        wrapped = processes.wrap(model)  # within torch.compile, which then cuts its graph where gradients are sent
        self.run: Any = torch.compile(wrapped, dynamic=False) if compiled else wrapped
        self.compiled = compiled
        self.compiling = (
            compiled  # the coming step, or the first of a new shape, compiles: minutes rather than milliseconds
        )
        self.processes = processes
        self.optimizer = optimizer
        self.batches = batches
        self.clip = clip
        self.device = torch.device(device)
        self.dtype = dtype
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.updating = False  # the optimiser is writing weights: the step can no longer be taken back
        self._mark = None  # CUDA: the event at which the previous step ended
        self._ahead: tuple = ()  # CUDA: (what for, the batch that was fetched ahead)
        # Gradients that float16 cannot hold: the loss is scaled up before them and they are scaled down after.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=dtype == "float16")
        if self.device.type == "cuda":  # 10 of 23 bits of each factor, three times the speed; said by the configuration
            torch.set_float32_matmul_precision("high" if tf32 else "highest")

    def autocast(self) -> AbstractContextManager:
        dtype = AUTOCAST[self.dtype]
        return torch.autocast(self.device.type, dtype=dtype) if dtype else nullcontext()

    def interrupt(self) -> None:
        """Something that is no step comes next (an evaluation, a checkpoint): the next step's clock starts afresh."""
        self._mark = None
        if not gc.isenabled():
            gc.collect()  # what without_collector() has put off, now that no step waits for it

    def take_back(self) -> None:
        """An error has ended a step before its update: drop what it left behind, so that the step can be taken again."""
        self.optimizer.zero_grad(set_to_none=True)
        self._ahead = ()
        # A scaler remembers whose gradients it has unscaled and refuses to do it twice; a new one has its scale alone.
        state = self.scaler.state_dict()
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.scaler.is_enabled())
        self.scaler.load_state_dict(state)
        self.interrupt()

    def step(self, update: int, lr: float, between: Callable[[], None] = lambda: None) -> Scalars:
        """Run the 0-based `update` at learning rate `lr`; `between` is called after every micro-batch.

        The loss is the mean over the whole accumulated batch, in train mode, before the update. In float16 a step
        whose scaled gradients overflow is skipped: no weight and no moment changes, its Scalars say so.
        """
        start = self._now() if self._mark is None else self._mark
        set_lr(self.optimizer, lr)
        mine = self.processes.share(self.batches.accumulation)
        self.processes.reseed(update)
        measured = self.batches.accumulation > 1 and update % NOISE_EVERY == 0
        # Processes average their gradients during the last backward pass. Where that is also the first, whose own
        # gradient is measured, they do so after it.
        after = measured and len(mine) == 1
        total = torch.zeros((), device=self.device)
        micro_norm = torch.full_like(total, math.nan)
        for micro in mine:
            x, y = self._batch(update, micro)
            apart = after or micro != mine[-1]
            with self.processes.apart() if apart else nullcontext():
                with self.autocast():
                    loss = self.run(x, y)[
                        1
                    ]  # the logits by no name: with a large vocabulary they are the largest tensor
                loss = loss / len(mine)
                self.scaler.scale(loss).backward()
            if measured and micro == mine[0]:
                micro_norm = self._norm() * len(mine) / self.scaler.scale(torch.ones_like(total))
            total += loss.detach()
            self._fetch_ahead(update, micro + self.processes.count)
            between()
        if after:
            self.processes.average(self.parameters)
        total = self.processes.mean(total)
        scale = [self.scaler.scale(torch.ones_like(total))] if self.scaler.is_enabled() else []
        self.scaler.unscale_(self.optimizer)
        norm = self._norm()
        # Read where reading waits for nothing: gradients within the limit would be multiplied by 1.
        if self.clip and not (self.device.type == "cpu" and norm <= self.clip):
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip, norm)
        self.updating = True
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.updating = False
        self.optimizer.zero_grad(set_to_none=True)
        return self._scalars(torch.stack((total, norm.float(), micro_norm.float(), *scale)), start)

    def _norm(self):
        return torch.nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])

    def _batch(self, update, micro):
        wanted = (self.batches, update, micro)
        batch = self._ahead[1] if self._ahead and self._ahead[0] == wanted else self._sent(update, micro)
        self._ahead = ()
        return batch

    def _fetch_ahead(self, update, micro):
        """Gather and send the batch that comes next while the device still works on this one.

        Kernels and copies are only queued here: the host reaches this line long before the device does. Another
        cut of the batch (less memory) is another object, and what was fetched for the old one is not used.
        """
        if self.device.type != "cuda":
            return  # the host is the device, and nothing would be saved
        update, micro = (update, micro) if micro < self.batches.accumulation else (update + 1, self.processes.rank)
        self._ahead = ((self.batches, update, micro), self._sent(update, micro))

    def _sent(self, update, micro):
        tensors = self.batches.batch(update, micro)
        if self.device.type == "cuda":  # from pinned memory the copy is one more thing in the device's queue
            return tuple(tensor.pin_memory().to(self.device, non_blocking=True) for tensor in tensors)
        return tuple(tensor.to(self.device) for tensor in tensors)

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
        pinned = torch.empty(len(values), pin_memory=True)
        pinned.copy_(values, non_blocking=True)
        end = self._mark = self._now()
        return Scalars(pinned, start, end)
