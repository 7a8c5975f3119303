"""The processes of a run, one a device: which part of a step each takes, and how their parts become one step.

Torch, numpy and the standard library only. ALONE is a run of one process: everything it is asked is answered at once,
without a collective and without a wait. Of several, each takes every count-th micro-batch and every count-th
window of an evaluation; gradients and losses are averaged, so that the step is the one a single process takes,
with sums in another order. Only the process of rank 0 writes: journal, checkpoints, the end.
"""

import hashlib
import json
import os
import time
import warnings
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn

STORE_FD = "RANKS_STORE_FD"
"""Set by worker.launch: the listening socket of the processes' meeting place, which rank 0 inherits."""
WAIT = timedelta(minutes=30)
"""For another process in a collective. One that has died is noticed at once: worker.launch ends the others."""
DEFER_S = 10.0


class Turn(NamedTuple):
    """What all processes heed before the next step."""

    commands: list[list[str]]
    terminate: bool
    full: bool  #: the journal has no room for more points


class Alone:
    """One process: the run as it is everywhere but on several devices."""

    rank = 0
    count = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def begin(self, device: torch.device, seed: int) -> torch.device:
        """Meet the others; the device of this process."""
        return device

    def end(self) -> None:
        """The attempt is over for all."""

    def defer(self) -> None:
        """Something went wrong: whoever is not rank 0 leaves it some time to say what, for it sees the same or is ended."""

    def share(self, accumulation: int) -> range:
        """This process's micro-batches of a step."""
        return range(accumulation)

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model whose backward pass averages gradients over the processes."""
        return model

    def apart(self) -> AbstractContextManager[object]:
        """Forward and backward inside keep their gradients to themselves."""
        return nullcontext()

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Their gradients become the mean over the processes."""

    def mean(self, value: Tensor) -> Tensor:
        """Of a scalar on the device, over the processes. The host does not wait for CUDA."""
        return value

    def reseed(self, update: int) -> None:
        """Dropout's masks of this update, different in each process."""

    def windows(self, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """This process's windows of an evaluation: as many as any other's."""
        return starts

    def gathered(self, losses: Tensor, count: int) -> Tensor:
        """(windows(…),) of each process → (count,) in the order of the evaluation's windows, in all of them."""
        return losses

    def agree(self, turn: Turn) -> Turn:
        """Rank 0's turn, in all processes."""
        return turn

    def first(self, value: Any) -> Any:
        """Rank 0's value, in all processes; anything that JSON holds."""
        return value

    def unlike(self, tensors: Mapping[str, Tensor]) -> list[str]:
        """The names of tensors that are not the same to the last bit in all processes."""
        return []


class Several(Alone):
    """One of `count` processes, each with a device of its own on this machine; torch's DistributedDataParallel."""

    def __init__(self, rank: int, count: int) -> None:
        self.rank = rank
        self.count = count

    def begin(self, device: torch.device, seed: int) -> torch.device:
        self._seed = seed
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", self.rank)))
            torch.cuda.set_device(device)
        met: dict[str, Any] = {}  # torchrun has its own meeting place, found by the environment
        if fd := os.environ.get(STORE_FD):
            listening: dict[str, Any] = {"master_listen_fd": int(fd)} if self.leads else {}
            address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
            store = distributed.TCPStore(  # type: ignore[attr-defined]
                *address, self.count, self.leads, WAIT, wait_for_workers=False, **listening
            )
            met = {"store": store, "rank": self.rank, "world_size": self.count}
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=WAIT, **met)
        # What the hosts tell each other goes around the devices, which are not waited for.
        self._hosts = distributed.new_group(backend="gloo") if device.type == "cuda" else distributed.group.WORLD
        self._device = device
        return device

    def end(self) -> None:
        distributed.barrier(self._hosts)
        distributed.destroy_process_group()

    def defer(self) -> None:
        if not self.leads:
            time.sleep(DEFER_S)

    def share(self, accumulation: int) -> range:
        assert accumulation % self.count == 0, (
            f"{accumulation} micro-batches cannot be shared by {self.count} processes"
        )
        return range(self.rank, accumulation, self.count)

    def wrap(self, model: nn.Module) -> nn.Module:
        devices = [self._device.index] if self._device.type == "cuda" else None
        with warnings.catch_warnings():
            # torch 2.13 calls broadcast_buffers forward_sync_buffers and complains; 2.11 knows the old name alone.
            warnings.simplefilter("ignore", FutureWarning)
            self._parallel = nn.parallel.DistributedDataParallel(
                model,
                device_ids=devices,
                broadcast_buffers=False,  # tables that no step changes
                gradient_as_bucket_view=True,  # no second copy of the gradients
            )
        return self._parallel

    def apart(self) -> AbstractContextManager[object]:
        return self._parallel.no_sync()

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def mean(self, value: Tensor) -> Tensor:
        distributed.all_reduce(value)
        return value.div_(self.count)

    def reseed(self, update: int) -> None:
        # A function of seed, update and rank: a resume needs no generator's state of any process.
        digest = hashlib.blake2b(f"{self._seed}/{update}/{self.rank}".encode(), digest_size=7).digest()
        torch.manual_seed(int.from_bytes(digest, "little"))

    def windows(self, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        filled = np.concatenate([starts, np.repeat(starts[:1], -len(starts) % self.count)])
        return filled[self.rank :: self.count]

    def gathered(self, losses: Tensor, count: int) -> Tensor:
        parts = [torch.empty_like(losses) for _ in range(self.count)]
        distributed.all_gather(parts, losses.contiguous())
        return torch.stack(parts, dim=1).flatten()[:count]

    def agree(self, turn: Turn) -> Turn:
        said = json.dumps(turn.commands).encode() if turn.commands else b""
        head = torch.tensor([len(said), turn.terminate, turn.full])
        distributed.broadcast(head, 0, group=self._hosts)
        length, terminate, full = head.tolist()
        commands = json.loads(self._broadcast(said, length)) if length else []
        return Turn(commands, bool(terminate), bool(full))

    def first(self, value: Any) -> Any:
        said = json.dumps(value).encode() if self.leads else b""
        length = torch.tensor([len(said)])
        distributed.broadcast(length, 0, group=self._hosts)
        return json.loads(self._broadcast(said, int(length)))

    def unlike(self, tensors: Mapping[str, Tensor]) -> list[str]:
        sums = [_bits(tensor).sum(dtype=torch.int64).cpu() for tensor in tensors.values()]
        mine = torch.stack(sums)
        theirs = [torch.empty_like(mine) for _ in range(self.count)]
        distributed.all_gather(theirs, mine, group=self._hosts)
        same = (torch.stack(theirs) == theirs[0]).all(dim=0).tolist()
        return [name for name, equal in zip(tensors, same, strict=True) if not equal]

    def _broadcast(self, said: bytes, length: int) -> bytes:
        body = torch.zeros(length, dtype=torch.uint8)
        if self.leads:
            body.copy_(torch.frombuffer(bytearray(said), dtype=torch.uint8))
        distributed.broadcast(body, 0, group=self._hosts)
        return body.numpy().tobytes()


ALONE = Alone()


def of_environment() -> Alone:
    """As worker.launch or torchrun started this process: by RANK and WORLD_SIZE."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    return Several(int(os.environ["RANK"]), count) if count > 1 else ALONE


def _bits(tensor: Tensor) -> Tensor:
    """A tensor's memory as whole numbers, so that a sum tells zero from minus zero."""
    flat = tensor.detach().contiguous().flatten()
    return flat.view(torch.int32 if flat.element_size() == 4 else torch.uint8)
