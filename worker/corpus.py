"""A prepared dataset as a run reads it: token files that are the ones the manifest describes, and the windows of both splits."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.contract.config import RunConfig
from app.contract.dataset import Manifest, Split
from worker.batches import Batches, Tokens, count_windows, fixed_windows


class UnusableData(Exception):
    """The dataset on this worker's disk cannot serve this run; the message says why and what to do."""


class Corpus:
    """Raises UnusableData where the files, the run's past or the run's context do not fit."""

    def __init__(self, folder: Path, config: RunConfig, expected_sha256: str | None = None) -> None:
        """`expected_sha256`: of the manifest that the run has trained on so far."""
        content = (folder / "manifest.json").read_bytes()
        self.sha256 = hashlib.sha256(content).hexdigest()
        if expected_sha256 not in (None, self.sha256):
            raise UnusableData("The dataset is not the one this run has trained on; start a new run for other data.")
        self.manifest = Manifest.model_validate_json(content)
        train, val = self._open(folder, self.manifest.train), self._open(folder, self.manifest.val)
        T = config.model.block_size
        n = min(config.eval.windows, count_windows(train, T), count_windows(val, T))
        if n < 2:
            raise UnusableData(
                f"Evaluation needs two windows of {T} tokens from each split; the dataset has {len(train):,} tokens for "
                f"training and {len(val):,} for validation. Choose a smaller context or more data."
            )
        self.eval_windows: dict[str, tuple[Tokens, NDArray[np.int64]]] = {
            "eval/train_loss": (train, fixed_windows(train, T, n)),
            "val/loss": (val, fixed_windows(val, T, n)),
        }
        batch = config.batch
        self.batches = Batches(train, T, batch.micro_batch, batch.accumulation, config.data.sampler, config.system.seed)

    def vocab_size(self, padded: bool) -> int:
        """Rows of the embedding: the tokenizer's entries, rounded up to a multiple of 64 where `padded`."""
        entries = self.manifest.tokenizer.vocab_size
        return -(-entries // 64) * 64 if padded else entries

    def _open(self, folder: Path, split: Split) -> Tokens:
        bytes_per_id = np.dtype(self.manifest.dtype).itemsize
        for shard in split.shards:
            path = folder / shard.file
            if not path.is_file() or path.stat().st_size != shard.tokens * bytes_per_id:
                raise UnusableData(
                    f"{shard.file} is missing or not {shard.tokens * bytes_per_id:,} bytes long. Prepare the dataset again."
                )
            # About 2 GB/s: seconds for the largest, and no run trains on other tokens unnoticed.
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != shard.sha256:
                    raise UnusableData(f"{shard.file} has changed since it was prepared. Prepare the dataset again.")
        return Tokens([folder / shard.file for shard in split.shards if shard.tokens], self.manifest.dtype)
