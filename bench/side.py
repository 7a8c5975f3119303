"""One side of bench/train_step.py in a process of its own: it builds a loop, then does what each line of stdin asks.

    python bench/side.py plain|plateau ROW DATA

A line is `losses N`, `steps FIRST COUNT`, `products` or `peak`; each is answered by a line of JSON. Between two lines the process sleeps,
so that the other side has the machine to itself. A process each, because an allocator's habits, a collector
that is off and the memory of the other side would not stay on one side of a shared one.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app.contract.arithmetic import loss_in_chunks, loss_rows
from bench.plain_loop import PlainGPT, PlainLoop
from bench.rows import Row
from worker import allocator, attention, autotune, linear, optim
from worker.batches import Batches, Tokens
from worker.loop import Loop, without_collector
from worker.model import GPT

SEED = 1337


def gpt(row: Row) -> GPT:
    torch.manual_seed(SEED)
    vocab, block, layers, heads, width, _ = row.shape
    return GPT(vocab, block, layers, heads, width).to(row.device)


def batches(row: Row, data: Path) -> Batches:
    return Batches(Tokens([data], "uint16"), row.shape[1], row.shape[5], 1, "random", SEED)


def learning_rate(update: int) -> float:
    return 1e-4 + 0.5 * (1 + float(np.cos(np.pi * update / 2000))) * 9e-4


def takes_chunks(row: Row) -> bool:
    """Whether a run that leaves it open takes the loss of this row in chunks."""
    memory_bytes = torch.cuda.get_device_properties(0).total_memory if row.device == "cuda" else 0
    logits = row.tokens * row.shape[0]
    return not row.whole_logits and loss_in_chunks(
        row.device, row.dtype, logits, compiled=row.compiled, memory_bytes=memory_bytes
    )


class Plateau:
    """The product's loop, with what its engine sets up around it."""

    def __init__(self, row: Row, data: Path) -> None:
        self.row = row
        self.model = gpt(row)
        if row.device == "cpu":
            allocator.keep_freed_memory()
        self.said = ""
        if row.device == "cpu" and row.dtype == "float32" and not row.compiled:
            route = autotune.choose(self.model, row.tokens)
            linear.take(self.model, route)
            self.said = f"route of products (forward+input+weight): {route}"
        in_chunks = takes_chunks(row)
        if in_chunks:
            self.model.loss_rows = loss_rows(row.device, row.dtype)
            if row.device == "cpu":
                allocator.keep_freed_memory(large=True)
        attends = attention.kind(row.device, row.dtype, compiled=row.compiled, in_chunks=in_chunks)
        self.model.attend(blocked=attends == "blocks")
        optimizer = optim.adamw(optim.parameter_groups(self.model, 0.1), 1e-3, (0.9, 0.99), 1e-8)
        self.loop = Loop(
            self.model, optimizer, batches(row, data),
            clip=1.0, device=row.device, dtype=row.dtype, compiled=row.compiled, tf32=True,
        )  # fmt: skip

    def step(self, update: int) -> None:
        self.loop.step(update, learning_rate(update))

    def loss(self, update: int) -> float:
        return self.loop.step(update, learning_rate(update)).read()[0]


class Plain:
    """The baseline, with the same initial weights. On a CPU nanoGPT neither compiles by its README's advice nor heeds
    the precision; on CUDA it does both."""

    def __init__(self, row: Row, data: Path) -> None:
        vocab, block, layers, heads, width, micro_batch = row.shape
        model = PlainGPT(vocab, block, layers, heads, width).to(row.device)
        model.load_state_dict(gpt(row).state_dict())
        compiled = row.device == "cuda"
        self.row, self.said = row, ""
        self.loop = PlainLoop(model, data, block, micro_batch, device=row.device, compiled=compiled)
        self.batches = batches(row, data)

    def step(self, update: int) -> None:
        self.loop.step(update)

    def loss(self, update: int) -> float:
        x, y = (tensor.to(self.row.device) for tensor in self.batches.batch(update, 0))
        return self.loop.step(update, (x, y))


def seconds(step: Callable[[int], object], first: int, count: int, device: str) -> float:
    """Of one of `count` steps."""
    began = time.perf_counter()
    for update in range(first, first + count):
        step(update)
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / count


def products_seconds(row: Row, budget_s: float = 2.0) -> float:
    """What the matrix products of a step's linear layers take alone, each in the fastest library that has it here."""
    found = linear.shapes(gpt(row), row.tokens)
    dtype = torch.bfloat16 if row.dtype == "bfloat16" else torch.float32
    routed = row.device == "cpu" and dtype is torch.float32
    kernels = [k for k in linear.KERNELS if k == "torch" or (routed and linear.exact(k, found))]
    timed = []  # (layers, operands of one product, the best seconds so far)
    for shape, layers in found.items():
        operands = (tensor.to(row.device, dtype) for tensor in linear.operands(shape))
        timed += [[layers, pair, float("inf")] for pair in linear.products(*operands)]
    began, turn = time.perf_counter(), 0
    while turn < 3 or time.perf_counter() - began < budget_s:
        for entry in timed:
            for kernel in kernels:
                took = seconds(lambda _, k=kernel, pair=entry[1]: linear.KERNELS[k](*pair), 0, 1, row.device)
                entry[2] = min(entry[2], took)
        turn += 1
    return sum(layers * best for layers, _, best in timed)


def peak_mib() -> int:
    """Of this process."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux hands ru_maxrss of the process that started this one on to it; VmHWM begins anew
        kib = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    else:
        kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10
    return kib // 2**10


def answer(side: Any, words: list[str]) -> Any:
    match words:
        case ["losses", count]:
            return [side.loss(update) for update in range(int(count))]
        case ["steps", first, count]:
            return seconds(side.step, int(first), int(count), side.row.device)
        case ["products"]:
            return products_seconds(side.row)
        case ["peak"]:
            return peak_mib()
    raise ValueError(f"{' '.join(words)} is nothing a side can do")


def main(which: str, row: str, data: str) -> None:
    side = (Plateau if which == "plateau" else Plain)(Row(**json.loads(row)), Path(data))
    print(json.dumps(side.said), flush=True)
    with without_collector() if which == "plateau" else nullcontext():
        for line in sys.stdin:
            print(json.dumps(answer(side, line.split())), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
