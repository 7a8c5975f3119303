"""Training speed against a plain loop in the manner of nanoGPT: a ratio for each shape, in turn in one call.

    python bench/train_step.py [--rounds 5] [--seconds 2] [--only readme,fp32,bf16,vocabulary,chunked,gpu]

Needs torch and numpy. Each side is a process of its own (bench/side.py) and sleeps while the other is timed; rounds are
interleaved, so that a busy machine slows both alike. The ratio of the medians counts, and beside it stands that of the
best rounds, which a busy machine disturbs least. Losses on equal batches are compared first. The ceiling is what the
plain loop takes over what the matrix products of the linear layers take alone, in the fastest library of this
processor: no loop around them can be faster than that. Without CUDA the GPU's row says "not measured".
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.rows import CHUNKED, ROWS, Row
from worker import allocator

EQUAL_STEPS = 5
SIDE = Path(__file__).resolve().parent / "side.py"


class Side:
    """A process of bench/side.py; `ask` sends a line and waits for its answer."""

    def __init__(self, which: str, row: Row, data: Path) -> None:
        command = [sys.executable, str(SIDE), which, json.dumps(row._asdict()), str(data)]
        # As the product's agent starts a run on a CPU.
        added = allocator.huge_pages(os.environ) if which == "plateau" and row.device == "cpu" else {}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **added}
        )
        self.said = self._answer()

    def ask(self, *words: object) -> Any:
        assert self.process.stdin is not None
        print(*words, file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(self.process.args[1:3])} ended with exit code {self.process.wait()}")  # type: ignore[index,arg-type]
        return json.loads(line)


@contextmanager
def side(which: str, row: Row, data: Path) -> Iterator[Side]:
    made = Side(which, row, data)
    try:
        yield made
    finally:
        made.process.communicate()  # the end of its stdin is its end


def tokens_file(folder: Path, vocab: int) -> Path:
    path = folder / f"train-{vocab}.bin"
    path.write_bytes(np.random.default_rng(0).integers(0, vocab, 200_000).astype("<u2").tobytes())
    return path


def interleaved(timed: dict[str, Callable[[int, int], float]], rounds: int, budget_s: float) -> dict[str, list[float]]:
    """{name: seconds a step, one for each round} of functions of (first, count); `budget_s` for one side of one round."""
    once = {name: min(steps(1000 + i, 1) for i in range(2)) for name, steps in timed.items()}
    count = max(1, int(budget_s / max(once.values())))
    taken: dict[str, list[float]] = {name: [] for name in timed}
    for turn in range(rounds):
        for name in sorted(timed, reverse=turn % 2 == 0):
            taken[name].append(timed[name](1002 + turn * count, count))
    return taken


def steps_of(one: Side) -> Callable[[int, int], float]:
    return lambda first, count: float(one.ask("steps", first, count))


def compare(row: Row, folder: Path, rounds: int, budget_s: float) -> None:
    print(f"{row.title}: target {row.target} x", flush=True)
    if row.device == "cuda" and not torch.cuda.is_available():
        print("  not measured: no CUDA device")
        return
    data = tokens_file(folder, row.shape[0])
    with side("plateau", row, data) as ours, side("plain", row, data) as base:
        if ours.said:
            print(f"  {ours.said}")
        losses = [one.ask("losses", EQUAL_STEPS) for one in (ours, base)]
        apart = max(abs(mine - other) for mine, other in zip(*losses, strict=True))
        taken = interleaved({"plain": steps_of(base), "plateau": steps_of(ours)}, rounds, budget_s)
        alone = ours.ask("products")
    print_times(taken, row)
    print(f"  losses of {EQUAL_STEPS} steps on equal batches differ by at most {apart:.1e}")
    middle, best = statistics.median(taken["plain"]), min(taken["plain"])
    print(
        f"  ceiling of this processor: matrix products alone {alone * 1e3:.1f} ms,"
        f" {middle / alone:.2f} x (best rounds {best / alone:.2f} x)"
    )
    print_ratio(taken)


def compare_chunked(folder: Path, rounds: int, budget_s: float) -> None:
    print(f"{CHUNKED.title}: target <= 1,300 MiB at >= {CHUNKED.target} x the whole logits", flush=True)
    data = tokens_file(folder, CHUNKED.shape[0])
    whole_logits = CHUNKED._replace(whole_logits=True)
    with side("plateau", whole_logits, data) as whole, side("plateau", CHUNKED, data) as chunks:
        sides = {"whole": whole, "chunks": chunks}
        for name, one in sides.items():
            one.ask("losses", 3)
            print(f"  {name:8} peak {one.ask('peak'):,} MiB", flush=True)
        taken = interleaved({name: steps_of(one) for name, one in sides.items()}, rounds, budget_s)
    print_times(taken, CHUNKED)
    print_ratio(taken)


def print_times(taken: dict[str, list[float]], row: Row) -> None:
    for name, each in taken.items():
        middle = statistics.median(each)
        speed = f"{row.tokens / middle:10,.0f} tokens/s   {middle * 1e3:9.1f} ms a step (best {min(each) * 1e3:.1f})"
        print(f"  {name:8} {speed}")


def print_ratio(taken: dict[str, list[float]]) -> None:
    base, other = taken.values()
    middle, best = statistics.median(base) / statistics.median(other), min(base) / min(other)
    print(f"  ratio {middle:.2f} (best rounds {best:.2f})", flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each side of a round")
    parser.add_argument("--only", default="", help="names of rows, with commas between them")
    given = parser.parse_args(arguments)
    wanted = given.only.split(",") if given.only else [*(row.name for row in ROWS), CHUNKED.name]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {given.rounds} interleaved rounds")
    with tempfile.TemporaryDirectory() as folder:
        for row in ROWS:
            if row.name in wanted:
                compare(row, Path(folder), given.rounds, given.seconds)
        if CHUNKED.name in wanted:
            compare_chunked(Path(folder), given.rounds, given.seconds)


if __name__ == "__main__":
    main()
