"""The second pass: documents to ids on all cores, written in their order to train and val shards.

Groups of documents go to threads (tiktoken lets go of the GIL: two threads took 4.0 s for 100 MB of text,
two processes 12, a pass that keeps everything in Arrow lists 14.5) and come back in order, so the files are
the same bytes whatever the number of cores. A few groups are in memory at a time, never the text.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.contract.dataset import DatasetSpec, Split
from worker.progress import Progress
from worker.shards import SHARD_TOKENS, Ids, ShardWriter, id_type, text_hash, val_below
from worker.sources import Source
from worker.tokenizers import Tokenizer
from worker.vocabulary import is_empty

GROUP_DOCUMENTS = 250
GROUP_CHARACTERS = 1_000_000
T = TypeVar("T")
R = TypeVar("R")


class EmptySplit(Exception):
    """Train or validation would have no tokens."""


class Part(NamedTuple):
    """What one group adds to one split."""

    ids: Ids
    documents: int
    text_bytes: int


class Encoded(NamedTuple):
    train: Split
    val: Split
    counts: NDArray[np.int64]  #: of each id in train
    empty_documents: int


def encode(
    spec: DatasetSpec,
    source: Source,
    tokenizer: Tokenizer,
    out: Path,
    *,
    threads: int,
    progress: Progress,
    shard_tokens: int = SHARD_TOKENS,
) -> Encoded:
    """Write the shards of both splits into `out`. Raises EmptySplit; leaves no unfinished file behind."""
    dtype = id_type(tokenizer.vocab_size)
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    documents = [0, 0]
    text_bytes = [0, 0]
    empty = 0

    def work(texts: list[str]) -> tuple[Part, Part]:
        return encode_group(texts, tokenizer, spec)

    def groups() -> Iterator[list[str]]:
        nonlocal empty
        texts: list[str] = []
        characters = 0
        for text in read:
            if is_empty(text):
                empty += 1
                continue
            texts.append(text)
            characters += len(text)
            if len(texts) == GROUP_DOCUMENTS or characters >= GROUP_CHARACTERS:
                yield texts
                texts, characters = [], 0
        if texts:
            yield texts

    with (
        closing(source.documents()) as read,
        ShardWriter(out, "train", dtype, shard_tokens) as train,
        ShardWriter(out, "val", dtype, shard_tokens) as val,
    ):
        for parts in in_order(work, groups(), threads):
            counts += np.bincount(parts[0].ids, minlength=len(counts))
            for side, (writer, part) in enumerate(zip((train, val), parts, strict=True)):
                writer.append(part.ids)
                documents[side] += part.documents
                text_bytes[side] += part.text_bytes
            tokens = train.tokens + val.tokens
            progress.at(source.share, documents=sum(documents), text_bytes=sum(text_bytes), tokens=tokens)
        _refuse_empty(documents, empty, spec)
        made = [
            Split(tokens=writer.tokens, documents=documents[side], text_bytes=text_bytes[side], shards=writer.close())
            for side, writer in enumerate((train, val))
        ]
    return Encoded(made[0], made[1], counts, empty)


def encode_group(texts: list[str], tokenizer: Tokenizer, spec: DatasetSpec) -> tuple[Part, Part]:
    """The ids of some documents, train's and val's, with end-of-text before each (layout nanogpt: after)."""
    dtype = id_type(tokenizer.vocab_size)
    below = val_below(spec.val_share)
    end_of_text = np.array([] if tokenizer.eot is None else [tokenizer.eot], np.uint32)
    ids: tuple[list[Ids], list[Ids]] = ([], [])
    text_bytes = [0, 0]
    for text in texts:
        utf8 = text.encode()
        side = int(text_hash(utf8) < below)
        own = tokenizer.encode(text)
        ids[side].extend((own, end_of_text) if spec.layout == "nanogpt" else (end_of_text, own))
        text_bytes[side] += len(utf8)
    nothing = np.empty(0, np.uint32)
    train, val = (
        Part(np.concatenate(ids[side] or [nothing]).astype(dtype), len(ids[side]) // 2, text_bytes[side])
        for side in (0, 1)
    )
    return train, val


def in_order(work: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """work(item) for each item, in order, on threads; at most 2 * threads items are under way."""
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) == 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def unigram_entropy(counts: NDArray[np.int64]) -> float:
    """Nats a token of the frequencies alone: H = -Σ p ln p."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def _refuse_empty(documents: list[int], empty: int, spec: DatasetSpec) -> None:
    if all(documents):
        return
    found = sum(documents)
    if found == 0:
        raise EmptySplit(f"There is no text to train on: {empty} documents, all of them empty.")
    side, way = ("validation", "Raise val_share (up to 0.5)") if documents[0] else ("training", "Lower val_share")
    raise EmptySplit(
        f"No document fell to {side}: there are {found}, and a hash of each one's text, with val_share "
        f"{spec.val_share:g}, decides. {way}, or give more documents (in a text file, a form feed starts a new one)."
    )
