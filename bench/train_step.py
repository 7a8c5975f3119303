"""Training speed against a plain loop in the manner of nanoGPT: a ratio for each shape, both in one process and in turn.

    python bench/train_step.py [--rounds 5] [--seconds 2] [--only readme,fp32,bf16,vocabulary,chunked,gpu]

Needs torch and numpy. Rounds are interleaved, so that a busy machine slows both alike; the ratio of the medians
counts, and beside it stands that of the best rounds, which a busy machine disturbs least. Where precision is equal,
losses on equal batches are compared first. Without CUDA the GPU's row says "not measured".
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.plain_loop import PlainGPT, PlainLoop
from worker import autotune, linear, optim
from worker.batches import Batches, Tokens
from worker.cross_entropy import rows_for
from worker.loop import Loop, without_collector
from worker.model import GPT

EQUAL_STEPS = 5


class Row(NamedTuple):
    name: str
    title: str
    shape: tuple[int, int, int, int, int, int]  #: vocabulary, block, layers, heads, width, micro-batch
    dtype: str
    compiled: bool
    target: float
    device: str = "cpu"


ROWS = (
    Row("readme", "README recipe 4/128/64, float32", (65, 64, 4, 4, 128, 12), "float32", False, 1.35),
    Row("fp32", "6/384/256, float32", (65, 256, 6, 6, 384, 8), "float32", False, 1.6),
    Row("bf16", "6/384/256, bf16 autocast", (65, 256, 6, 6, 384, 8), "bfloat16", False, 2.4),
    Row("vocabulary", "6/384/256, vocabulary 50,304, bf16, compiled", (50_304, 256, 6, 6, 384, 8), "bfloat16", True, 2.7),
    Row("gpu", "GPT-2 124M, T 1024, bf16, compiled", (50_304, 1024, 12, 12, 768, 32), "bfloat16", True, 1.3, "cuda"),
)  # fmt: skip
CHUNKED_SHAPE = (50_304, 256, 6, 6, 384, 8)


def tokens_file(folder: Path, vocab: int) -> Path:
    path = folder / f"train-{vocab}.bin"
    path.write_bytes(np.random.default_rng(0).integers(0, vocab, 200_000).astype("<u2").tobytes())
    return path


def ours(
    shape: tuple[int, ...], data: Path, dtype: str = "float32", compiled: bool = False, device: str = "cpu"
) -> Loop:
    """Plateau's loop; in eager float32 on a CPU with the route of products that its autotune chooses."""
    vocab, block, layers, heads, width, micro_batch = shape
    torch.manual_seed(1337)
    model = GPT(vocab, block, layers, heads, width).to(device)
    if device == "cpu" and dtype == "float32" and not compiled:
        route = autotune.choose(model, micro_batch * block)
        print(f"  route of products (forward+input+weight): {route}")
        linear.take(model, route)
    optimizer = optim.adamw(optim.parameter_groups(model, 0.1), 1e-3, (0.9, 0.99), 1e-8)
    batches = Batches(Tokens([data], "uint16"), block, micro_batch, 1, "random", 1337)
    return Loop(model, optimizer, batches, clip=1.0, device=device, dtype=dtype, compiled=compiled)


def plain(loop: Loop, shape: tuple[int, ...], data: Path, compiled: bool = False, device: str = "cpu") -> PlainLoop:
    """The baseline, with the same initial weights."""
    vocab, block, layers, heads, width, micro_batch = shape
    model = PlainGPT(vocab, block, layers, heads, width).to(device)
    model.load_state_dict(loop.model.state_dict())
    return PlainLoop(model, data, block, micro_batch, device=device, compiled=compiled)


def learning_rate(update: int) -> float:
    return 1e-4 + 0.5 * (1 + float(np.cos(np.pi * update / 2000))) * 9e-4


def seconds(step: Callable[[int], object], first: int, steps: int, device: str) -> float:
    began = time.perf_counter()
    for update in range(first, first + steps):
        step(update)
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / steps


def interleaved(
    steps: dict[str, Callable[[int], object]], rounds: int, budget_s: float, device: str
) -> dict[str, list[float]]:
    """{name: seconds a step, one for each round}; `budget_s` for one side of one round."""
    once = {name: min(seconds(step, 1000 + i, 1, device) for i in range(2)) for name, step in steps.items()}
    count = max(1, int(budget_s / max(once.values())))
    taken: dict[str, list[float]] = {name: [] for name in steps}
    with without_collector():
        for turn in range(rounds):
            for name in sorted(steps, reverse=turn % 2 == 0):
                taken[name].append(seconds(steps[name], 1002 + turn * count, count, device))
    return taken


def compare(row: Row, folder: Path, rounds: int, budget_s: float) -> None:
    print(f"{row.title}: target {row.target} x", flush=True)
    if row.device == "cuda" and not torch.cuda.is_available():
        print("  not measured: no CUDA device")
        return
    data = tokens_file(folder, row.shape[0])
    loop = ours(row.shape, data, row.dtype, row.compiled, row.device)
    # On a CPU nanoGPT neither compiles by the README's advice nor heeds the precision; on CUDA it does both.
    base = plain(loop, row.shape, data, compiled=row.device == "cuda", device=row.device)
    apart = 0.0
    for update in range(EQUAL_STEPS):
        x, y = (t.to(row.device) for t in loop.batches.batch(update, 0))
        apart = max(apart, abs(base.step(update, (x, y)) - loop.step(update, learning_rate(update)).read()[0]))
    taken = interleaved(
        {"plain": base.step, "plateau": lambda update: loop.step(update, learning_rate(update))},
        rounds, budget_s, row.device,
    )  # fmt: skip
    tokens = loop.batches.tokens_per_step
    for name, each in taken.items():
        middle = statistics.median(each)
        print(
            f"  {name:8} {tokens / middle:10,.0f} tokens/s   {middle * 1e3:9.1f} ms a step (best {min(each) * 1e3:.1f})"
        )
    print(f"  losses of {EQUAL_STEPS} steps on equal batches differ by at most {apart:.1e}")
    print(f"  ratio {ratio(taken, statistics.median):.2f} (best rounds {ratio(taken, min):.2f})", flush=True)


def ratio(taken: dict[str, list[float]], of: Callable[[list[float]], float]) -> float:
    base, other = taken.values()
    return of(base) / of(other)


def compare_chunked(folder: Path, rounds: int, budget_s: float) -> None:
    print(
        "6/384/256, vocabulary 50,304, float32, loss in chunks: target <= 1,300 MiB at >= 0.8 x the whole logits",
        flush=True,
    )
    data = tokens_file(folder, CHUNKED_SHAPE[0])
    for name, rows in (("whole", 0), ("chunks", rows_for("cpu"))):
        # A process of its own: the peak of a process never falls.
        command = [sys.executable, str(Path(__file__).resolve()), "--peak", str(data), str(rows)]
        peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
        print(f"  {name:8} peak {int(peak):,} MiB", flush=True)
    loop = ours(CHUNKED_SHAPE, data)

    def step(update: int, rows: int) -> None:
        loop.model.loss_rows = rows
        loop.step(update, learning_rate(update))

    taken = interleaved(
        {"whole": lambda update: step(update, 0), "chunks": lambda update: step(update, rows_for("cpu"))},
        rounds, budget_s, "cpu",
    )  # fmt: skip
    for name, each in taken.items():
        print(f"  {name:8} {statistics.median(each) * 1e3:9.1f} ms a step (best {min(each) * 1e3:.1f})")
    print(f"  ratio {ratio(taken, statistics.median):.2f} (best rounds {ratio(taken, min):.2f})", flush=True)


def print_peak(data: Path, rows: int) -> None:
    """Peak memory of this process over three steps, in MiB; for compare_chunked()."""
    import resource

    loop = ours(CHUNKED_SHAPE, data)
    loop.model.loss_rows = rows
    for update in range(3):
        loop.step(update, 1e-3)
    status = Path("/proc/self/status")
    if status.exists():  # Linux hands ru_maxrss of the process that started this one on to it; VmHWM begins anew
        peak_kib = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    else:
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10
    print(peak_kib // 2**10)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each side of a round")
    parser.add_argument("--only", default="", help="names of rows, with commas between them")
    parser.add_argument("--peak", nargs=2, metavar=("FILE", "ROWS"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.peak:
        print_peak(Path(given.peak[0]), int(given.peak[1]))
        return
    wanted = given.only.split(",") if given.only else [*(row.name for row in ROWS), "chunked"]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {given.rounds} interleaved rounds")
    with tempfile.TemporaryDirectory() as folder:
        for row in ROWS:
            if row.name in wanted:
                compare(row, Path(folder), given.rounds, given.seconds)
        if "chunked" in wanted:
            compare_chunked(Path(folder), given.rounds, given.seconds)


if __name__ == "__main__":
    main()
