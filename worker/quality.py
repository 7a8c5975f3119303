"""The quality report: a second pass over a prepared dataset's tokens, and over its text where tokens do not tell.

First the ids, block by block (frequencies, windows, where documents end), then the text of every document, decoded
group by group (characters, copies after normalising, signatures), then the comparison of signatures. In memory are
a block, 16 bytes a document, and 512 bytes for each of at most 200,000 compared documents.
"""

import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.contract.dataset import Manifest
from app.contract.quality import Copies, Leakage, NearCopies, QualityReport, SplitNumbers, TopToken
from worker import duplicates, frequencies, lengths, minhash, verdicts
from worker.documents import BLOCK_TOKENS, Counts, Side, in_groups
from worker.leakage import WINDOW, Windows
from worker.progress import Progress
from worker.rereading import Text, read_text
from worker.tokenizers import Tokenizer

EXAMPLE_CHARACTERS = 160
EXAMPLES = 5
NO_MARKS = "No end-of-text marks in the token files: where documents begin and end is not known."
NO_TEXT = "The vocabulary is not known, so the tokens cannot be read as text."


def report(
    folder: Path,
    manifest: Manifest,
    tokenizer: Tokenizer | None,
    progress: Progress,
    *,
    block_tokens: int = BLOCK_TOKENS,
) -> QualityReport:
    """Raises progress's Stopped. `tokenizer`: None where the vocabulary is not known."""
    wall, cpu = time.perf_counter(), time.process_time()
    progress.phase("tokens")
    sides = tuple(Side.of(split, folder, manifest) for split in (manifest.train, manifest.val))
    train, val = sides
    known = all(side.documents is not None for side in sides if len(side.stream))
    keys = np.concatenate([_token_keys(side) for side in sides])
    by_documents = known and len(keys) >= frequencies.LEAST_UNITS and val.size > 0
    windows, cells, beyond = _read_tokens(sides, keys if by_documents else None, progress, block_tokens)
    missing: dict[str, str] = {}
    exact = text = near = None
    all_lengths = np.concatenate(
        [side.documents.lengths for side in sides if side.documents is not None] or [np.empty(0, np.int64)]
    )
    if known:
        exact = duplicates.grouped(keys)
    else:
        missing |= dict.fromkeys(("documents", "lengths", "distinct_tokens", "exact", "normalised", "near"), NO_MARKS)
        missing["extremes"] = missing["leakage.documents"] = NO_MARKS
    if tokenizer is not None and not beyond:
        progress.phase("text")
        text = read_text(sides, tokenizer, progress)
    else:
        missing |= dict.fromkeys(("characters", "compression", "normalised", "near"), NO_TEXT)
    normalised = duplicates.grouped(text.keys) if text is not None and known else None
    if text is not None and known and tokenizer is not None:
        progress.phase("near")
        near = _near(sides, text, all_lengths, tokenizer, progress)
    likeness = frequencies.likeness(train.counts, val.counts, cells, by_documents=by_documents)
    if likeness is None:
        missing["likeness"] = "Too little text to say what a random split would show."
    edges = lengths.bin_edges(int(all_lengths.max(initial=0)))
    made = QualityReport(
        train=_numbers(train, 0, text, edges, keys[: train.size]),
        val=_numbers(val, 1, text, edges, keys[train.size :]),
        exact=_copies(exact, sides, all_lengths, tokenizer),
        normalised=_copies(normalised, sides, all_lengths, tokenizer),
        near=near,
        leakage=_leakage(windows, sides, keys, text),
        repeats=windows.repeats(),
        entropy=frequencies.entropy(train.counts, train.stream, manifest.tokenizer.vocab_size),
        compression=text.compression if text is not None else None,
        extremes=lengths.extremes(all_lengths, manifest.empty_documents) if known else None,
        vocabulary=frequencies.vocabulary_use(train.counts, val.counts, beyond).model_copy(
            update={"top": _top(train.counts, tokenizer)}
        ),
        likeness=likeness,
        missing=missing,
        cpu_s=round(time.process_time() - cpu, 2),
        wall_s=round(time.perf_counter() - wall, 2),
        peak_mb=peak_mb(),
    )
    return made.model_copy(update={"findings": verdicts.findings(made)})


def _read_tokens(
    sides: Sequence[Side], keys: duplicates.Keys | None, progress: Progress, block_tokens: int
) -> tuple[Windows, frequencies.Cells, int]:
    """(windows, documents dealt into cells, ids beyond the vocabulary); frequencies go to the sides' counts.

    `keys`: of both splits' documents; None to deal passages instead.
    """
    train, val = sides
    total = max(1, len(train.stream) + len(val.stream))
    windows = Windows(train.stream, val.stream, len(train.counts))
    cells = frequencies.Cells(len(train.stream), len(val.stream), len(train.counts))
    beyond = done = 0
    for side in (val, train):  # validation first: train's windows are looked up among its
        if keys is None:
            own = frequencies.passage_keys(len(side.stream), side is val)
        else:
            own = keys[train.size :] if side is val else keys[: train.size]
        cell_of = cells.deal(own)
        for start, ids in side.stream.blocks(overlap=WINDOW - 1, size=block_tokens):
            (windows.add_val if side is val else windows.add_train)(ids)
            ids = ids[:block_tokens]
            beyond += frequencies.count(ids, side.counts)
            unit = frequencies.unit_of_each(start, ids, side.documents if keys is not None else None)
            cells.add(ids, cell_of[unit])
            done += len(ids)
            progress.at(done / total, tokens=done)
    return windows, cells, beyond


def _top(counts: Counts, tokenizer: Tokenizer | None) -> list[TopToken]:
    return frequencies.top_tokens(counts, lambda id: tokenizer.pieces([id])[0] if tokenizer is not None else "")


def _token_keys(side: Side) -> duplicates.Keys:
    """A key of each document's ids."""
    keys = np.empty(side.size, np.uint64)
    if side.documents is None:
        return keys
    starts, ends = side.documents.starts, side.documents.ends
    for first, last in in_groups(side.documents):
        begin = int(starts[first])
        ids = side.stream.read(begin, int(ends[last - 1])).tobytes()
        width = side.stream.itemsize
        for at in range(first, last):
            keys[at] = duplicates.key_of(ids[(int(starts[at]) - begin) * width : (int(ends[at]) - begin) * width])
    return keys


def _near(
    sides: Sequence[Side], text: Text, all_lengths: Counts, tokenizer: Tokenizer, progress: Progress
) -> NearCopies:
    """Compare the signatures; the documents of val among them, and of those how many are like one of train."""
    leaders, joined = minhash.clusters(text.signatures, lambda share: progress.at(share, documents=len(text.signed)))
    beyond = leaders != np.arange(len(leaders))
    tokens = all_lengths[text.signed]
    in_val = text.signed >= sides[0].size
    with_train = np.isin(leaders, leaders[~in_val])
    return NearCopies(
        compared=len(leaders),
        sampled=text.sampled,
        documents=int(beyond.sum()),
        share=float(beyond.mean()) if len(beyond) else 0.0,
        tokens=int(tokens[beyond].sum()),
        token_share=int(tokens[beyond].sum()) / max(1, int(tokens.sum())),
        threshold=minhash.THRESHOLD,
        permutations=minhash.PERMUTATIONS,
        bands=minhash.BANDS,
        val_documents=int(in_val.sum()),
        val_in_train=int((in_val & with_train).sum()),
        examples=[
            (_beginning(sides, int(text.signed[one]), tokenizer), _beginning(sides, int(text.signed[other]), tokenizer))
            for one, other in joined[:EXAMPLES]
        ],
    )


def _beginning(sides: Sequence[Side], number: int, tokenizer: Tokenizer) -> str:
    """The first characters of a document, numbered over both splits."""
    for side in sides:
        assert side.documents is not None
        if number < side.size:
            start, end = int(side.documents.starts[number]), int(side.documents.ends[number])
            return tokenizer.decode(side.stream.read(start, min(end, start + EXAMPLE_CHARACTERS)))[:EXAMPLE_CHARACTERS]
        number -= side.size
    raise AssertionError(f"document {number} is beyond both splits")


def _copies(
    groups: duplicates.Groups | None, sides: Sequence[Side], all_lengths: Counts, tokenizer: Tokenizer | None
) -> Copies | None:
    if groups is None:
        return None
    example = _beginning(sides, groups.most_at, tokenizer) if tokenizer is not None and groups.most > 1 else ""
    return duplicates.copies(groups, all_lengths, example)


def _numbers(side: Side, number: int, text: Text | None, edges: list[int], keys: duplicates.Keys) -> SplitNumbers:
    """`number`: 0 for train, 1 for validation. `keys`: of the ids of its documents."""
    # The preparation counted its bytes exactly; decoded again, a character cut between two blocks would count double.
    text_bytes = side.split.text_bytes or (text.bytes[number] if text is not None else None)
    tokens = len(side.stream)
    made = SplitNumbers(
        tokens=tokens,
        characters=text.characters[number] if text is not None else None,
        bytes=text_bytes,
        bytes_per_token=text_bytes / tokens if text_bytes is not None and tokens else None,
    )
    if side.documents is None:
        return made
    own = side.documents.lengths
    return made.model_copy(
        update={
            "documents": len(own),
            "distinct_tokens": int(own[duplicates.grouped(keys).first].sum()) if len(keys) else None,
            "lengths": lengths.lengths_of(own, edges),
        }
    )


def _leakage(windows: Windows, sides: Sequence[Side], keys: duplicates.Keys, text: Text | None) -> Leakage:
    made = windows.leakage()
    train, val = sides
    if not train.size or not val.size:
        return made
    made.documents = int(np.isin(keys[train.size :], keys[: train.size]).sum())
    made.share = made.documents / val.size
    if text is not None:
        made.normalised_documents = int(np.isin(text.keys[train.size :], text.keys[: train.size]).sum())
        made.normalised_share = made.normalised_documents / val.size
    return made


def peak_mb() -> float:
    """The process's own peak; what its parent had in memory does not count."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
