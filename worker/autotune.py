"""Which library computes a run's matrix products: measured for about a second on the run's own shapes, before step 0.

Only routes that are exact are measured, so the answer changes the speed and the last bits, never the precision.
It is taken once: checkpoints keep it, and a resume takes it from there.
"""

import time

import torch
from torch import nn

from worker.linear import KERNELS, OWN, Route, Shape, exact, operands, products, shapes

BUDGET_S = 1.0
WORTH_FLOP = 200e6
"""Of one forward pass. Below it, Python's own time decides a step and not the library, and a run of so little
is over before a second is earned back."""
MARGIN = 0.97  # a kernel that is not clearly faster would be chosen by chance, and tests and eyes like torch's own
TIMED_FLOP = 4 << 30  # of one timed product: beyond that fewer rows show the same speed


def choose(model: nn.Module, rows: int, budget_s: float = BUDGET_S) -> Route:
    """The fastest exact route for the linear layers of `model` on `rows` tokens of a micro-batch, on this CPU.

    The model is not run, and no random number of the process is drawn.
    """
    found = shapes(model, rows)
    if sum(shape.flop * count for shape, count in found.items()) < WORTH_FLOP:
        return OWN
    kernels = [kernel for kernel in KERNELS if kernel == "torch" or exact(kernel, found)]
    return fastest(measure(kernels, found, budget_s))


def measure(kernels: list[str], found: dict[Shape, int], budget_s: float) -> list[dict[str, float]]:
    """For each of the three products, the seconds that all layers take with each kernel.

    Rounds are interleaved and the best of each is taken: what else the machine does can only add time.
    """
    timed = []  # (which product, kernel, its operands, layers and rows it stands for)
    for shape, count in found.items():
        rows = max(64, min(shape.rows, TIMED_FLOP // (2 * shape.inputs * shape.outputs)))
        for place, pair in enumerate(products(*operands(shape._replace(rows=rows)))):
            timed += [(place, kernel, pair, count * shape.rows / rows) for kernel in kernels]
    best = [float("inf")] * len(timed)
    began = time.perf_counter()
    turn = 0
    with torch.no_grad():
        while turn < 2 or time.perf_counter() - began < budget_s:  # the first turn makes the kernels
            for index, (_, kernel, pair, _) in enumerate(timed):
                start = time.perf_counter()
                KERNELS[kernel](*pair)
                best[index] = min(best[index], time.perf_counter() - start)
            turn += 1
    total = [dict.fromkeys(kernels, 0.0) for _ in range(3)]
    for seconds, (place, kernel, _, weight) in zip(best, timed, strict=True):
        total[place][kernel] += seconds * weight
    return total


def fastest(seconds: list[dict[str, float]]) -> Route:
    """For each product the kernel that takes least; torch's own unless another is clearly faster."""
    chosen = []
    for times in seconds:
        kernel = min(times, key=times.__getitem__)
        chosen.append(kernel if times[kernel] < MARGIN * times["torch"] else "torch")
    return Route(*chosen)
