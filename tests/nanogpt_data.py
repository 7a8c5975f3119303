"""A character dataset cut as nanoGPT's data/shakespeare_char does it, and a text for it that every machine makes alike."""

import hashlib
import json
import math
import random
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ALPHABET = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # 65, Shakespeare's


class Cut(NamedTuple):
    """The text as ids: characters numbered in their order, the first nine tenths for training."""

    characters: list[str]
    train: np.ndarray  # uint16
    val: np.ndarray


def invented_text(characters: int = 40_000) -> str:
    """Lines of invented words, the short ones frequent: something to learn in a hundred steps.

    Only random.random() is used: its sequence for a seed is promised for every later Python.
    """
    draw = random.Random(1337).random
    letters = ALPHABET[-26:]
    words = ["".join(letters[int(26 * draw() ** 2)] for _ in range(1 + int(9 * draw()))) for _ in range(400)]
    text = ALPHABET
    while len(text) < characters:
        line = " ".join(words[int(400 * draw() ** 3)] for _ in range(3 + int(6 * draw())))
        text += line.capitalize() + ",.;:!?"[int(6 * draw())] + "\n"
    return text[:characters]


def cut(text: str) -> Cut:
    characters = sorted(set(text))
    number = {character: index for index, character in enumerate(characters)}
    ids = np.array([number[character] for character in text], dtype="<u2")
    border = int(len(ids) * 0.9)
    return Cut(characters, ids[:border], ids[border:])


def write_dataset(folder: Path, text: str) -> Path:
    """The text as a prepared dataset."""
    folder.mkdir(parents=True)
    characters, train, val = cut(text)

    def split(name: str, ids: np.ndarray) -> dict[str, Any]:
        (folder / f"{name}-000.bin").write_bytes(ids.tobytes())
        sha256 = hashlib.sha256(ids.tobytes()).hexdigest()
        shard = {"file": f"{name}-000.bin", "sha256": sha256, "bytes": ids.nbytes, "tokens": len(ids)}
        return {"tokens": len(ids), "documents": 1, "text_bytes": len(ids), "shards": [shard]}

    manifest = {
        "version": 1,
        "spec": {"name": "characters", "kind": "text", "files": [{"name": "input.txt", "path": "input.txt"}]},
        "sources": [],
        "tokenizer": {"kind": "characters", "vocab_size": len(characters), "eot": None, "sha256": "0" * 64},
        "dtype": "uint16",
        "train": split("train", train),
        "val": split("val", val),
        "bytes_per_token": 1.0,
        "unigram_entropy": math.log(len(characters)),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
