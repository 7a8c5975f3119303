"""Text from a model, piece by piece: a prompt into ids, ids back into characters that are whole."""

import codecs
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from app.contract.config import RunConfig
from app.contract.sampling import SampleSettings
from worker import checkpoint
from worker.generate import Choice, generate, generator
from worker.model import GPT
from worker.report import Sink
from worker.tokenizers import Tokenizer

SAY_EVERY_S = 0.1
EMBEDDING = "transformer.wte.weight"


class Unwritable(Exception):
    """No text can be written as asked; the message says why."""


def load_model(folder: Path) -> GPT:
    """The model of a checkpoint, in eval mode on the CPU. Raises checkpoint.Damaged, Unwritable."""
    checkpoint.verify(folder)
    weights = load_file(folder / checkpoint.MODEL)
    config = RunConfig.model_validate(json.loads((folder / checkpoint.STATE).read_text())["config"])
    model = GPT(len(weights[EMBEDDING]), **config.model.model_dump(exclude={"pad_vocab"})).eval()
    parameters = dict(model.named_parameters())
    if {name: tensor.shape for name, tensor in weights.items()} != {name: p.shape for name, p in parameters.items()}:
        raise Unwritable(f"The weights of {folder.name} do not fit the model that its state.json describes.")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    return model


def begin(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The ids a text begins with. Without a prompt: end-of-text, after which documents begin, else a line end."""
    if prompt:
        try:
            return [int(token) for token in tokenizer.encode(prompt)]
        except ValueError as error:
            raise Unwritable(f"The prompt cannot be written with this run's vocabulary: {error}") from error
    if tokenizer.eot is not None:
        return [tokenizer.eot]
    try:
        return [int(token) for token in tokenizer.encode("\n")]
    except ValueError:
        return [0]


def write(model: GPT, tokenizer: Tokenizer, settings: SampleSettings, index: int) -> Iterator[str]:
    """Sample number `index`: the prompt, then what the model writes, each piece as soon as its characters are whole.

    The end-of-text token shows as <|endoftext|> and is the last. Raises Unwritable.
    """
    prompt = begin(tokenizer, settings.prompt)
    rows = model.lm_head.weight.shape[0]
    if max(prompt) >= rows or tokenizer.vocab_size > rows:
        raise Unwritable(f"The vocabulary has {tokenizer.vocab_size:,} entries, the model only {rows:,}.")
    if settings.prompt:
        yield settings.prompt
    characters = codecs.getincrementaldecoder("utf-8")("replace")  # a token may be a part of a character
    ids = generate(
        model, prompt, settings.tokens, Choice(settings.temperature, settings.top_k, settings.top_p),
        generator(settings.seed, index), entries=tokenizer.vocab_size, stop=tokenizer.eot,
    )  # fmt: skip
    for token in ids:
        if piece := characters.decode(tokenizer.bytes_of(token)):
            yield piece
    if rest := characters.decode(b"", final=True):
        yield rest


def write_all(model: GPT, tokenizer: Tokenizer, settings: SampleSettings) -> Iterator[tuple[int, str]]:
    """(sample, piece) of all samples, one after the other. Raises Unwritable."""
    for index in range(settings.samples):
        for piece in write(model, tokenizer, settings, index):
            yield index, piece


class Teller:
    """Says in the journal what has been written, at most ten times a second; `names` goes into each event."""

    def __init__(self, journal: Sink, step: int | None = None, **names: Any) -> None:
        self._journal = journal
        self._step = step
        self._names = names
        self._index, self._text, self._said = 0, "", float("-inf")

    def add(self, index: int, piece: str) -> None:
        if index != self._index:
            self.flush()
        self._index, self._text = index, self._text + piece
        if time.monotonic() - self._said >= SAY_EVERY_S:
            self.flush()

    def flush(self) -> None:
        if self._text:
            self._journal.event("sample", self._step, **self._names, index=self._index, written=self._text)
            self._text, self._said = "", time.monotonic()
