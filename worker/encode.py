"""The second pass: documents to ids on all cores, written in their order to train and val shards.

Groups of documents go to threads (tiktoken lets go of the GIL: two threads took 4.0 s for 100 MB of text,
two processes 12, a pass that keeps everything in Arrow lists 14.5) and come back in order, so the files are
the same bytes whatever the number of cores. A few groups are in memory at a time, never the text. After each
unit of the source a note is left, from which the next process goes on if this one is interrupted.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.contract.dataset import DatasetSpec, Removed, Split
from worker import groups, removal
from worker.groups import Group, Tail
from worker.progress import Progress
from worker.shards import SHARD_TOKENS, Ids, ShardWriter, id_type, text_hash, val_below
from worker.source_files import Fault, Unit
from worker.sources import Source
from worker.tokenizers import Tokenizer
from worker.unfinished import Note, Unfinished

T = TypeVar("T")
R = TypeVar("R")


class EmptySplit(Exception):
    """Train or validation would have no tokens."""


class Part(NamedTuple):
    """What one group adds to one split."""

    ids: Ids
    documents: int
    text_bytes: int
    counts: NDArray[np.int64] | None  #: of each id, for training


class Encoded(NamedTuple):
    train: Split
    val: Split
    counts: NDArray[np.int64]  #: of each id in train
    empty_documents: int
    faults: list[Fault]
    removed: Removed | None  #: None: nothing was asked to be removed


def encode(
    spec: DatasetSpec,
    source: Source,
    tokenizer: Tokenizer,
    work: Unfinished,
    *,
    boundary: int | None = None,
    threads: int,
    progress: Progress,
    shard_tokens: int = SHARD_TOKENS,
) -> Encoded:
    """Write the shards of both splits into the folder of `work`, from its last note on. Raises EmptySplit.

    `boundary`: where validation begins, in characters of the whole text, for a split by its tail.
    """
    dtype = id_type(tokenizer.vocab_size)
    units = source.units()
    coder = Coder(spec, tokenizer)

    def open_writers() -> tuple[ShardWriter, ShardWriter]:
        train, val = (ShardWriter(work.folder, split, dtype, shard_tokens) for split in ("train", "val"))
        return train, val

    writers = work.go_on(open_writers)
    sums = _Sums(work.notes, tokenizer.vocab_size)
    with writers[0], writers[1]:
        if work.notes:
            for ids in writers[0].written():
                sums.counts += np.bincount(ids, minlength=tokenizer.vocab_size)
            progress.resumed()
        first = sums.units
        dropping = removal.Removal(spec) if removal.asked(spec) else None
        if dropping is not None:
            dropping.begin(source, units, first, progress)
        progress.phase("tokens", share=_share(units, first), text_bytes=sum(sums.text_bytes))
        if boundary is None and dropping is not None:
            read = groups.documents(source, units, first, dropping.keep)
        elif boundary is None:
            read = groups.documents(source, units, first)
        else:
            read = groups.stretches(source, units, first, sums.characters, Tail(boundary, tokenizer.seam))
        with closing(in_order(coder.encode, read, threads)) as encoded:
            for group, parts in encoded:
                for side, (writer, part) in enumerate(zip(writers, parts, strict=True)):
                    writer.append(part.ids)
                    sums.documents[side] += part.documents
                    sums.text_bytes[side] += part.text_bytes
                if parts[0].counts is not None:
                    sums.counts[: len(parts[0].counts)] += parts[0].counts
                sums.empty += group.empty
                sums.faults += group.faults
                sums.characters += sum(map(len, group.texts)) if boundary is not None else 0
                if group.last:
                    sums.units = group.unit + 1
                    work.add(sums.note(writers))
                tokens = writers[0].tokens + writers[1].tokens
                progress.at(group.share, documents=sum(sums.documents), text_bytes=sum(sums.text_bytes), tokens=tokens)
        if boundary is not None:  # a text and its tail
            sums.documents = [int(writer.tokens > 0) for writer in writers]
        _refuse_empty(sums.documents, sums.empty, spec, dropping.removed if dropping is not None else None)
        train, val = (
            Split(tokens=writer.tokens, documents=sums.documents[side], text_bytes=sums.text_bytes[side], shards=writer.close())
            for side, writer in enumerate(writers)
        )  # fmt: skip
    faults = [fault for note in work.notes for fault in note.new_faults]
    return Encoded(train, val, sums.counts, sums.empty, faults, dropping.removed if dropping is not None else None)


class _Sums:
    """What all units so far add up to, and what has come since the last note."""

    def __init__(self, notes: list[Note], vocab_size: int) -> None:
        last = notes[-1] if notes else None
        self.units = last.units if last else 0
        self.characters = last.characters if last else 0
        self.documents = [*last.documents] if last else [0, 0]
        self.text_bytes = [*last.text_bytes] if last else [0, 0]
        self.empty = last.empty if last else 0
        self.faults: tuple[Fault, ...] = ()
        self.counts = np.zeros(vocab_size, np.int64)
        self._noted = [sum(len(note.new_shards[side]) for note in notes) for side in (0, 1)]

    def note(self, writers: tuple[ShardWriter, ShardWriter]) -> Note:
        train, val = (writer.done[noted:] for writer, noted in zip(writers, self._noted, strict=True))
        made = Note(
            units=self.units,
            characters=self.characters,
            documents=(self.documents[0], self.documents[1]),
            text_bytes=(self.text_bytes[0], self.text_bytes[1]),
            empty=self.empty,
            marks=(writers[0].mark(), writers[1].mark()),
            new_shards=(train, val),
            new_faults=self.faults,
        )
        self._noted = [len(writer.done) for writer in writers]
        self.faults = ()
        return made


class Coder:
    """One spec's way from texts to ids; many threads may use it at once."""

    def __init__(self, spec: DatasetSpec, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._dtype = id_type(tokenizer.vocab_size)
        self._below = val_below(spec.val_share)
        self._after = spec.layout == "nanogpt"
        # A text that is split by its tail is in one piece.
        marked = tokenizer.eot is not None and spec.split != "tail"
        self._end_of_text = np.array([tokenizer.eot] if marked else [], np.uint32)

    def encode(self, group: Group) -> tuple[Group, tuple[Part, Part]]:
        """The ids of a group, train's and val's, with end-of-text before each text (layout nanogpt: after)."""
        ids: tuple[list[Ids], list[Ids]] = ([], [])
        text_bytes = [0, 0]
        for number, text in enumerate(group.texts):
            utf8 = text.encode()
            side = int(text_hash(utf8) < self._below if group.val_from is None else number >= group.val_from)
            own = self._tokenizer.encode(text)
            ids[side].extend((own, self._end_of_text) if self._after else (self._end_of_text, own))
            text_bytes[side] += len(utf8)
        train, val = (self._part(ids[side], text_bytes[side], count=side == 0) for side in (0, 1))
        return group, (train, val)

    def _part(self, ids: list[Ids], text_bytes: int, *, count: bool) -> Part:
        joined = np.concatenate(ids or [np.empty(0, np.uint32)])
        counts = np.bincount(joined) if count else None
        return Part(joined.astype(self._dtype), len(ids) // 2, text_bytes, counts)


def in_order(work: Callable[[T], R], items: Iterable[T], threads: int) -> Generator[R, None, None]:
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


def _refuse_empty(documents: list[int], empty: int, spec: DatasetSpec, removed: Removed | None) -> None:
    if all(documents):
        return
    found = sum(documents)
    if found == 0:
        there = (
            "no documents at all"
            if not empty
            else "one empty document"
            if empty == 1
            else f"{empty:,} documents, all of them empty"
        )
        raise EmptySplit(f"There is no text to train on: the source holds {there}.")
    side, way = ("validation", "Raise val_share (up to 0.5)") if documents[0] else ("training", "Lower val_share")
    if spec.split == "tail":
        raise EmptySplit(f"The text is too short: with val_share {spec.val_share:g} nothing is left for {side}.")
    if removed is not None and (removed.val_duplicates or removed.leaked_val) and not documents[1]:
        gone = removed.val_duplicates + removed.leaked_val
        raise EmptySplit(f"Nothing is left for validation: all its {gone:,} documents were removed as copies. {way}.")
    raise EmptySplit(
        f"No document fell to {side}: there are {found}, and a hash of each one's text, with val_share "
        f"{spec.val_share:g}, decides. {way}, or give more documents (in a text file, a form feed starts a new one)."
    )


def _share(units: Sequence[Unit], first: int) -> float:
    return sum(unit.bytes for unit in units[:first]) / max(sum(unit.bytes for unit in units), 1)
