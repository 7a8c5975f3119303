"""Training tokens/s with and without reporting: the same loop, every step to a real journal against a null one.

    python bench/reporting.py [--rounds 15] [--steps 30]

Needs torch and numpy. The rounds are interleaved, so that a busy machine slows both alike; what counts is the
median of the ratios of neighbouring rounds. Two shapes: nanoGPT's README recipe for CPUs, and a step so small that reporting is
as visible as it gets. Target: reporting costs at most 1 % of tokens/s.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app.contract.schedule import learning_rate
from worker import optim
from worker.batches import Batches, Tokens
from worker.journal import Journal, NullJournal
from worker.loop import Loop
from worker.model import GPT
from worker.report import StepReport

SHAPES = {
    "4 x 128, context 64, batch 12 (nanoGPT's CPU recipe)": (65, 64, 4, 4, 128, 12),
    "1 x 32, context 32, batch 4 (the worst case)": (65, 32, 1, 2, 32, 4),
}
"""vocab, block, layers, heads, width, micro-batch"""


def make_loop(folder: Path, vocab: int, block: int, layers: int, heads: int, width: int, micro_batch: int) -> Loop:
    path = folder / "train-000.bin"
    path.write_bytes(np.random.default_rng(0).integers(0, vocab, 200_000).astype("<u2").tobytes())
    torch.manual_seed(1337)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = GPT(vocab, block, layers, heads, width).to(device)
    optimizer = optim.adamw(optim.parameter_groups(model, 0.1), 1e-3, (0.9, 0.99), 1e-8)
    return Loop(
        model,
        optimizer,
        Batches(Tokens([path], "uint16"), block, micro_batch, 1, "random", 1337),
        clip=1.0,
        device=device,
    )


def timed(loop: Loop, report: StepReport, first: int, steps: int) -> float:
    """Seconds for `steps` updates, each reported."""
    loop.interrupt()
    began = time.perf_counter()
    for update in range(first, first + steps):
        lr = learning_rate(update, lr=1e-3, min_lr=1e-4, warmup_steps=100, decay_steps=2000)
        report.add(update + 1, lr, loop.step(update, lr, report.poll))
    report.settle()
    return time.perf_counter() - began


def compare(name: str, shape: tuple[int, ...], rounds: int, steps: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        loop = make_loop(Path(folder), *shape)
        journals = {"null": NullJournal(), "journal": Journal(Path(folder) / "bench.journal")}
        reports = {
            kind: StepReport(
                journal,
                tokens_per_step=loop.batches.tokens_per_step,
                flops_per_token=loop.model.flops_per_token(),
            )
            for kind, journal in journals.items()
        }
        tok_per_s: dict[str, list[float]] = {kind: [] for kind in reports}
        timed(loop, reports["null"], 0, 10)  # first touches of memory
        first = 10
        for turn in range(rounds):
            for kind in sorted(reports, reverse=turn % 2 == 0):
                seconds = timed(loop, reports[kind], first, steps)
                tok_per_s[kind].append(steps * loop.batches.tokens_per_step / seconds)
                first += steps
        # What the journal alone costs a step, without the noise of the steps around it.
        values = {f"train/value_{i}": 3.14159265 * i for i in range(9)}
        began = time.perf_counter()
        for step in range(2000):
            journals["journal"].points(step, values)
        write_us = (time.perf_counter() - began) / 2000 * 1e6
        with_it, without = statistics.median(tok_per_s["journal"]), statistics.median(tok_per_s["null"])
        ratios = sorted(a / b for a, b in zip(tok_per_s["journal"], tok_per_s["null"], strict=True))
        low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
        step_us = loop.batches.tokens_per_step / without * 1e6
        print(f"{name}, {torch.get_num_threads()} threads, {rounds} rounds of {steps} steps each")
        print(f"  without reporting {without:10,.0f} tokens/s   {step_us / 1e3:.2f} ms a step")
        print(
            f"  with reporting    {with_it:10,.0f} tokens/s   ratio {statistics.median(ratios):.4f} (middle half {low:.3f} to {high:.3f})"
        )
        print(f"  a step's frame takes {write_us:.1f} us: {write_us / step_us:.3%} of a step (target: at most 1 %)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=30)
    given = parser.parse_args()
    for name, shape in SHAPES.items():
        compare(name, shape, given.rounds, given.steps)


if __name__ == "__main__":
    main()
