"""Preparing FineWeb-like parquet in GPT-2's tokens against the tokenizer alone and nanoGPT's way, in turn in one call.

    python bench/prepare.py [--mb 100] [--rounds 3] [--seed-text FOLDER_OF_PARQUET]

Each way is a process of its own, timed from its start to its end, with the peak memory of its whole tree (PSS where
the system tells it). The text is cut from a seed text at lengths drawn as FineWeb's are, each piece with a number
of its own, so that no two are equal. nanoGPT's way needs the library `datasets`; where it is not installed, a
plainer script of one process stands in, and the output says so. Targets: at most 1/3 of nanoGPT's time, at least
0.8 of what the tokenizer alone does on the same cores, at most 300 MB.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from worker import builtin, journal, ranks
from worker.tokenizers import write_ranks

ROOT = Path(__file__).resolve().parent.parent
ROW_GROUP = 1000
MEDIAN_CHARACTERS, SPREAD = 1541, 0.851  # FineWeb: lognormal, mean 2,214, p99 11,150
LOOK_S = 0.05
COLUMNS = ("text", "id", "dump", "url", "date", "file_path", "language", "language_score", "token_count")


class Result(NamedTuple):
    wall_s: float
    work_s: float  #: without starting and importing
    tokens: int
    peak_mb: float


def data_folder() -> Path:
    return Path(os.environ.get("PLATEAU_TEST_DATA") or ROOT.parent / "shared" / "data")


def seed_text(folder: Path | None) -> tuple[str, str]:
    """A text and what it is: parquet files with a text column, else the standard library's source."""
    folder = folder or data_folder() / "fineweb"
    files = sorted(folder.glob("*.parquet")) if folder.is_dir() else []
    if files:
        rows = (text for file in files for text in pq.read_table(file, columns=["text"])["text"].to_pylist())
        return "\n\n".join(dict.fromkeys(text for text in rows if text)), f"{len(files)} parquet files of {folder}"
    return "\n\n".join(text for _, text in builtin.modules(builtin.standard_library())), "the standard library's source"


def documents(seed: str, megabytes: float) -> Iterator[str]:
    """Pieces of the seed text, again and again from its start, each with a number that makes it unlike all others."""
    random = np.random.default_rng(2357)
    made = start = number = 0
    while made < megabytes * 1e6:
        length = int(random.lognormal(np.log(MEDIAN_CHARACTERS), SPREAD)) + 20
        piece = f"{number} {seed[start : start + length]}"
        start = start + length if start + length < len(seed) else 0
        number += 1
        made += len(piece.encode())
        yield piece


def write(path: Path, texts: Iterator[str]) -> tuple[int, int]:
    """(documents, bytes of text), in FineWeb's nine columns."""
    count = size = 0
    schema = builtin.SCHEMA
    assert tuple(schema.names) == COLUMNS, f"FineWeb's columns are {COLUMNS}"
    with pq.ParquetWriter(path, schema) as writer:
        rows: list[dict[str, object]] = []

        def flush() -> None:
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows.clear()

        for text in texts:
            rows.append(
                {"text": text, "id": f"<urn:uuid:{count:032x}>", "dump": "CC-MAIN-2024-10", "url": f"https://example.com/{count}",
                 "date": "2024-03-01T00:00:00Z", "file_path": f"s3://commoncrawl/{count // 9999}.warc.gz", "language": "en",
                 "language_score": 0.9, "token_count": len(text) // 4}
            )  # fmt: skip
            count += 1
            size += len(text.encode())
            if len(rows) == ROW_GROUP:
                flush()
        flush()
    return count, size


def watched(command: Sequence[str], environment: dict[str, str]) -> tuple[float, float, str]:
    """(seconds, peak MB of the process and its children, output); raises where it fails."""
    began = time.perf_counter()
    child = subprocess.Popen(command, env=environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    peak = 0
    tree = psutil.Process(child.pid)
    while child.poll() is None:
        peak = max(peak, memory(tree))
        time.sleep(LOOK_S)
    wall_s = time.perf_counter() - began
    output, errors = child.communicate()
    if child.returncode:
        raise SystemExit(f"{' '.join(command[:3])} failed:\n{errors.decode()[-2000:]}")
    return wall_s, peak / 1e6, output.decode()


def memory(tree: psutil.Process) -> int:
    total = 0
    try:
        for process in [tree, *tree.children(recursive=True)]:
            try:
                info = process.memory_full_info()
                total += getattr(info, "pss", 0) or info.rss
            except psutil.Error:  # it has just ended
                continue
    except psutil.NoSuchProcess:
        pass
    return total


def baseline(way: str, parquet: Path, ranks_file: Path, cores: int) -> Result:
    with tempfile.TemporaryDirectory() as out:
        command = [
            sys.executable,
            str(ROOT / "bench" / "plain_prepare.py"),
            way,
            str(parquet),
            str(ranks_file),
            out,
            str(cores),
        ]
        wall_s, peak_mb, output = watched(command, {**os.environ, "HF_DATASETS_CACHE": out, "HF_HUB_OFFLINE": "1"})
    said = json.loads(output.splitlines()[-1])
    return Result(wall_s, said["seconds"], said["tokens"], peak_mb)


def plateau(parquet: Path, ranks_file: Path) -> Result:
    with tempfile.TemporaryDirectory() as temporary:
        job = Path(temporary) / "job"
        job.mkdir()
        spec = {"name": "bench", "kind": "parquet", "files": [{"name": parquet.name, "path": str(parquet)}], "tokenizer": {"kind": "gpt2"}}  # fmt: skip
        config = {"dataset": "d-0001", "spec": spec, "files": [str(parquet)], "out": str(job / "out")}
        (job / "config.json").write_text(json.dumps(config))
        home = Path(temporary) / "home"
        environment = {**os.environ, "PLATEAU_WORKER_HOME": str(home), "PLATEAU_GPT2_RANKS": str(ranks_file)}
        wall_s, peak_mb, _ = watched([sys.executable, "-m", "worker.prepare", str(job)], environment)
        manifest = json.loads((job / "out" / "manifest.json").read_bytes())
        told = [frame["t"] for frame in journal.read(job / "journal" / "a1.journal", 0)[0] if "t" in frame]
    tokens = next(one for one in reversed(told) if one.get("phase") == "tokens")
    assert tokens["share"] == 1, "the end of the tokens was not told"
    assert tokens["tokens"] == manifest["train"]["tokens"] + manifest["val"]["tokens"], "the manifest counts others"
    return Result(wall_s, tokens["text_mb"] / tokens["mb_per_s"], tokens["tokens"], peak_mb)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=float, default=100, help="text to prepare")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed-text", type=Path, help="a folder of parquet files with a text column")
    given = parser.parse_args(arguments)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    slow = "datasets" if importlib.util.find_spec("datasets") else "plain"
    slow_name = "nanoGPT's datasets.map" if slow == "datasets" else "plain script (no datasets here)"
    with tempfile.TemporaryDirectory() as folder:
        own = data_folder() / "gpt2.tiktoken"
        environment = {**os.environ, **({"PLATEAU_GPT2_RANKS": str(own)} if own.exists() else {})}
        ranks_file = Path(folder) / "gpt2.tiktoken"
        try:
            ranks_file.write_bytes(ranks_content(environment))
        except ranks.NoRanks as error:
            raise SystemExit(f"Not measured: {error}") from None
        parquet = Path(folder) / "fineweb-like.parquet"
        text, what = seed_text(given.seed_text)
        count, size = write(parquet, documents(text, given.mb))
        del text
        print(
            f"{size / 1e6:.1f} MB of text in {count:,} documents from {what}; {cores} cores, {given.rounds} rounds in turn"
        )
        ways = {
            "tokenizer alone": lambda: baseline("alone", parquet, ranks_file, cores),
            slow_name: lambda: baseline(slow, parquet, ranks_file, cores),
            "Plateau": lambda: plateau(parquet, ranks_file),
        }
        results: dict[str, list[Result]] = {name: [] for name in ways}
        for turn in range(given.rounds):
            for name in sorted(ways, reverse=turn % 2 == 0):
                results[name].append(ways[name]())
    report(results, size / 1e6, slow_name)


def ranks_content(environment: dict[str, str]) -> bytes:
    return write_ranks(ranks.find("gpt2", environment, Path(environment.get("PLATEAU_WORKER_HOME", "")) or Path()))


def report(results: dict[str, list[Result]], megabytes: float, slow_name: str) -> None:
    tokens = {name: {one.tokens for one in each} for name, each in results.items()}
    assert len(set.union(*tokens.values())) == 1, f"the ways do not agree on the number of tokens: {tokens}"
    (count,) = tokens["Plateau"]
    for name, each in results.items():
        wall_s, work_s = (statistics.median(getattr(one, of) for one in each) for of in ("wall_s", "work_s"))
        print(
            f"  {name:32} {wall_s:6.2f} s (work {work_s:.2f})  {megabytes / work_s:6.1f} MB/s  "
            f"{count / work_s / 1e6:5.2f} M tokens/s  peak {max(one.peak_mb for one in each):6,.0f} MB"
        )

    def ratio(of: str, name: str, other: str) -> str:
        """The middle of the rounds' ratios, and that of the best rounds, which a busy machine disturbs least."""
        pairs = [getattr(a, of) / getattr(b, of) for a, b in zip(results[name], results[other], strict=True)]
        best = min(getattr(one, of) for one in results[name]) / min(getattr(one, of) for one in results[other])
        return f"{statistics.median(pairs):.2f} (best rounds {best:.2f})"

    print(f"  of {slow_name}'s time, from start to end: {ratio('wall_s', 'Plateau', slow_name)}; target: at most 0.33")
    print(
        f"  of the tokenizer's speed, while making tokens: {ratio('work_s', 'tokenizer alone', 'Plateau')}; target: at least 0.8"
    )
    print(f"  peak memory: {max(one.peak_mb for one in results['Plateau']):,.0f} MB; target: at most 300")


if __name__ == "__main__":
    main()
