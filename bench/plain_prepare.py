"""What a preparation is measured against, each in a process of its own: `python bench/plain_prepare.py WAY PARQUET RANKS OUT CORES`.

alone: nothing but the tokenizer, on text that is in memory already, on as many threads as there are cores.
datasets: in the manner of nanoGPT's data/openwebtext/prepare.py, by `datasets.map`.
plain: the same without that library, in the manner of its smaller scripts: the whole table in memory, a list of ids.
Each prints one line of JSON: seconds of the work itself, and the number of tokens.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from worker.tokenizers import BytePairs, read_ranks

GROUP = 250


def tokenizer(ranks: Path) -> BytePairs:
    return BytePairs(read_ranks(ranks.read_bytes()), "gpt2")


def alone(parquet: Path, ranks: Path, out: Path, cores: int) -> tuple[float, int]:
    import pyarrow.parquet as pq

    texts = pq.read_table(parquet, columns=["text"])["text"].to_pylist()
    groups = [texts[start : start + GROUP] for start in range(0, len(texts), GROUP)]
    encode = tokenizer(ranks).encode

    def work(group: list[str]) -> int:
        return sum(len(encode(text)) for text in group)

    began = time.perf_counter()
    with ThreadPoolExecutor(cores) as pool:
        tokens = sum(pool.map(work, groups))
    return time.perf_counter() - began, tokens + len(texts)  # one end-of-text for each, as the others write


def with_datasets(parquet: Path, ranks: Path, out: Path, cores: int) -> tuple[float, int]:
    began = time.perf_counter()
    from datasets import load_dataset

    encoding = tokenizer(ranks)
    found = load_dataset("parquet", data_files=str(parquet), cache_dir=str(out / "cache"), num_proc=cores)
    split = found["train"].train_test_split(test_size=0.1, seed=2357, shuffle=True)

    def process(example: dict[str, str]) -> dict[str, object]:
        ids = [*encoding.encode(example["text"]).tolist(), encoding.eot]
        return {"ids": ids, "len": len(ids)}

    tokenized = split.map(process, remove_columns=found["train"].column_names, num_proc=cores)
    total = 0
    for name, documents in tokenized.items():
        length = int(np.sum(documents["len"], dtype=np.uint64))
        written = np.memmap(out / f"{name}.bin", dtype=np.uint16, mode="w+", shape=(length,))
        at, shards = 0, min(1024, len(documents))
        for index in range(shards):
            batch = documents.shard(num_shards=shards, index=index, contiguous=True).with_format("numpy")
            ids = np.concatenate(batch["ids"])
            written[at : at + len(ids)] = ids
            at += len(ids)
        written.flush()
        total += length
    return time.perf_counter() - began, total


def plain(parquet: Path, ranks: Path, out: Path, cores: int) -> tuple[float, int]:
    began = time.perf_counter()
    import pyarrow.parquet as pq

    encoding = tokenizer(ranks)
    texts = pq.read_table(parquet)["text"].to_pylist()
    order = np.random.default_rng(2357).permutation(len(texts))
    held_out = len(texts) // 10
    total = 0
    for name, rows in (("val", order[:held_out]), ("train", order[held_out:])):
        ids: list[int] = []
        for row in rows:
            ids += encoding.encode(texts[row]).tolist()
            ids.append(50_256)
        np.array(ids, dtype=np.uint16).tofile(out / f"{name}.bin")
        total += len(ids)
    return time.perf_counter() - began, total


WAYS = {"alone": alone, "datasets": with_datasets, "plain": plain}


def main() -> None:
    way, parquet, ranks, out, cores = sys.argv[1:]
    seconds, tokens = WAYS[way](Path(parquet), Path(ranks), Path(out), int(cores))
    print(json.dumps({"seconds": seconds, "tokens": tokens}))


if __name__ == "__main__":
    main()
