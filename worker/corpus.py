"""A prepared dataset as a run reads it: token files that are the ones the manifest describes, and the windows of both splits."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.contract.config import RunConfig
from app.contract.dataset import Manifest, Split
from worker.batches import Batches, Tokens, count_windows, fixed_windows
from worker.nanogpt_draws import Draws
from worker.windows import document_windows


class UnusableData(Exception):
    """The dataset on this worker's disk cannot serve this run; the message says why and what to do."""


NO_BOUNDARIES = (
    "No end-of-text stands in this dataset's token files, so where documents begin is not known and attention cannot stay "
    "within them. Set Document boundaries (data.boundaries) to ignore, or prepare the text with end-of-text between documents."
)


class Corpus:
    """Raises UnusableData where the files, the run's past or the run's context do not fit."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        content = (folder / "manifest.json").read_bytes()
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.manifest = Manifest.model_validate_json(content)
        train, val = self._open(folder, self.manifest.train), self._open(folder, self.manifest.val)
        T = config.model.block_size
        n = min(config.eval.windows, count_windows(train, T), count_windows(val, T))
        if n < 2:
            raise UnusableData(
                f"Evaluation needs two windows of {T} tokens from each split; the dataset has {len(train):,} tokens for "
                f"training and {len(val):,} for validation. Choose a smaller context or more data."
            )
        self._eval_tokens = {"eval/train_loss": train, "val/loss": val}
        self._fixed_windows = {key: fixed_windows(tokens, T, n) for key, tokens in self._eval_tokens.items()}
        batch, sampler = config.batch, config.data.sampler
        self.draws: Draws | None = None
        if sampler == "nanogpt":
            n = config.eval.windows  # with replacement: there may be more of them than the split has room for
            self.draws = Draws(
                len(train) - T, len(val) - T, micro_batch=batch.micro_batch, accumulation=batch.accumulation,
                eval_every=config.eval.every, eval_batches=-(-n // batch.micro_batch),
            )  # fmt: skip
        self.eval_count = n  #: windows of an evaluation, from each split
        #: id of end-of-text where attention stays within documents
        self.eot = self._boundaries() if config.data.boundaries == "respect" else None
        begins = None
        if self.eot is not None:
            begins = document_windows(train, self.eot, T, folder / f"windows-{T}.bin")
            if not len(begins):
                raise UnusableData(NO_BOUNDARIES)
        self.batches = Batches(
            train, T, batch.micro_batch, batch.accumulation, sampler, config.system.seed, self.draws, begins
        )  # fmt: skip

    def check(self, state: Mapping[str, Any], *, other_data: bool = False) -> None:
        """Whether a run may go on here from a checkpoint's `state`; a fork may on `other_data` of the same vocabulary."""
        if not other_data and state.get("dataset_sha256") not in (None, self.sha256):
            raise UnusableData("The dataset is not the one this run has trained on; start a new run for other data.")
        if state.get("tokenizer_sha256") not in (None, self.manifest.tokenizer.sha256):
            raise UnusableData("The dataset's tokens mean something else to this checkpoint: another vocabulary.")

    def begin(self, saved: Mapping[str, torch.Tensor], state: Mapping[str, Any], *, afresh: bool = False) -> None:
        """Go on reading where a checkpoint with these tensors and this `state` was; `afresh` at the data's beginning.

        For nanogpt: where the initial weights have just left the process's generator, or as saved.
        """
        step = state.get("step", 0)
        sequences = self.batches.micro_batch * self.batches.accumulation
        self.batches.origin = step, 0 if afresh else state.get("windows", step * sequences)
        if self.draws is not None:
            self.draws.begin(saved.get("rng/windows", torch.get_rng_state()), step)

    def random_states(self, step: int) -> dict[str, torch.Tensor]:
        """What a checkpoint of `step` has to hold for begin()."""
        return {} if self.draws is None else {"rng/windows": self.draws.state(step)}

    def eval_windows(self, step: int) -> dict[str, tuple[Tokens, NDArray[np.int64]]]:
        """{metric: (split, starts)} for the evaluation after `step` updates; the same at every step but for nanogpt."""
        starts = self._fixed_windows
        if self.draws is not None:
            drawn = self.draws.evaluation(step)
            starts = {"eval/train_loss": drawn.train[: self.eval_count], "val/loss": drawn.val[: self.eval_count]}
        return {key: (tokens, starts[key]) for key, tokens in self._eval_tokens.items()}

    def vocab_size(self, padded: bool) -> int:
        """Rows of the embedding: the tokenizer's entries, rounded up to a multiple of 64 where `padded`."""
        entries = self.manifest.tokenizer.vocab_size
        return -(-entries // 64) * 64 if padded else entries

    def _boundaries(self) -> int:
        if self.manifest.tokenizer.eot is None:
            raise UnusableData(NO_BOUNDARIES)
        return self.manifest.tokenizer.eot

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
