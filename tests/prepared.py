"""Prepared datasets made in a moment from lists of texts, one token a byte: for tests only."""

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.contract.dataset import Manifest, Shard, Split
from worker.tokenizers import Bytes

EOT = 256


def ids_of(texts: Sequence[str], layout: str = "plateau") -> np.ndarray:
    mark = np.array([EOT], np.uint16)
    encoded = [Bytes().encode(text).astype(np.uint16) for text in texts]
    parts = [part for ids in encoded for part in ((mark, ids) if layout == "plateau" else (ids, mark))]
    return np.concatenate([*parts, np.empty(0, np.uint16)])


def dataset(
    folder: Path, train: np.ndarray, val: np.ndarray, *, shard_tokens: int = 1 << 30, **changes: object
) -> Manifest:
    """Write the token files; the manifest that describes them."""
    folder.mkdir(parents=True, exist_ok=True)

    def split(name: str, ids: np.ndarray) -> Split:
        shards = []
        for number, start in enumerate(range(0, len(ids), shard_tokens)):
            part = ids[start : start + shard_tokens].astype("<u2")
            path = folder / f"{name}-{number:03}.bin"
            part.tofile(path)
            shards.append(Shard(file=path.name, sha256=hashlib.sha256(part.tobytes()).hexdigest(), bytes=2 * len(part), tokens=len(part)))  # fmt: skip
        return Split(tokens=len(ids), documents=int((ids == EOT).sum()), text_bytes=0, shards=shards)

    made = Manifest.model_validate(
        {
            "spec": {"name": "x", "kind": "builtin"}, "sources": [], "dtype": "uint16", "bytes_per_token": 1.0,
            "tokenizer": {"kind": "bytes", "vocab_size": 257, "eot": EOT, "sha256": "ab" * 32},
            "train": split("train", train).model_dump(), "val": split("val", val).model_dump(), "unigram_entropy": 1.0,
        }
        | changes
    )  # fmt: skip
    (folder / "manifest.json").write_text(made.model_dump_json())
    return made


def sentences(count: int, words: int = 120, seed: int = 0) -> list[str]:
    """Different texts of random words; any two share next to no sequence of five."""
    drawn = random.Random(seed)
    vocabulary = ["".join(drawn.choices("abcdefghijklmnopqrstuvwxyz", k=drawn.randint(2, 9))) for _ in range(2000)]
    return [" ".join(drawn.choices(vocabulary, k=words)) for _ in range(count)]
