"""nanoGPT's prepared data taken as it is: train.bin and val.bin, uint16, with the characters of meta.pkl or GPT-2's vocabulary.

The tokens keep their bytes, their order and their split; only the numbers that a manifest holds are counted, in one pass.
meta.pkl is read as data (worker/plain_pickle.py): nothing in it is run.
"""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.contract.dataset import DatasetSpec, Manifest, PreviewDocument, Split
from worker import encode, preview, shards, tokenizers
from worker.plain_pickle import Machine, Unreadable
from worker.progress import Progress
from worker.source_files import SourceFile, UnreadableSource
from worker.tokenizers import BytePairs, Characters, Ranks, Tokenizer

TRAIN, VAL, META = "train.bin", "val.bin", "meta.pkl"
READ_BYTES = 4 << 20
LARGEST_META = 16 << 20
PREVIEW_DOCUMENTS = 3
PREVIEW_CHARACTERS = 1500
PREVIEW_TOKENS = 100_000  #: of the beginning, in which the documents to show are looked for


class Files(NamedTuple):
    """The files by the part that their names give them."""

    train: SourceFile
    val: SourceFile
    meta: SourceFile | None


def adopt(
    spec: DatasetSpec,
    files: Sequence[SourceFile],
    out: Path,
    *,
    find_ranks: Callable[[str], Ranks],
    progress: Progress,
    shard_tokens: int = shards.SHARD_TOKENS,
) -> Manifest:
    """Make `out`: shards that joined are train.bin and val.bin, the tokenizer's file and manifest.json.

    Raises UnreadableSource; what `find_ranks` raises where GPT-2's vocabulary is needed and not there.
    """
    given = by_name(files)
    for file in (given.train, given.val):
        if file.bytes == 0 or file.bytes % 2:
            raise UnreadableSource(
                f"{file.name} has {file.bytes:,} bytes, which is no whole number of uint16 tokens. "
                "nanoGPT's files hold two bytes a token and nothing else; is it whole?"
            )
    chosen = BytePairs(find_ranks("gpt2"), "gpt2") if given.meta is None else _characters(given.meta)
    if out.exists():  # what an earlier attempt left
        shutil.rmtree(out)
    out.mkdir(parents=True)
    info = tokenizers.save(chosen, out)
    tokenizer = tokenizers.load(info, out)
    progress.phase("tokens")
    total = given.train.bytes + given.val.bytes
    train, train_counts = _copied(given.train, "train", given, tokenizer, out, progress, 0, total, shard_tokens)
    val, _ = _copied(given.val, "val", given, tokenizer, out, progress, given.train.bytes, total, shard_tokens)
    manifest = Manifest(
        spec=spec,
        sources=[{"name": file.name, "bytes": file.bytes, "sha256": file.sha256} for file in files],
        tokenizer=info,
        dtype="uint16",
        train=train,
        val=val,
        split_rule="given",
        bytes_per_token=(train.text_bytes + val.text_bytes) / (train.tokens + val.tokens),
        unigram_entropy=encode.unigram_entropy(train_counts),
        preview=[*_first(given.train, tokenizer), *preview.spread(out, train, val, "uint16", tokenizer)],
    )
    shards.write_manifest(out, manifest)
    return manifest


def by_name(files: Sequence[SourceFile]) -> Files:
    """Raises UnreadableSource unless they are train.bin, val.bin and perhaps meta.pkl."""
    found: dict[str, SourceFile] = {}
    for file in files:
        part = file.name.rpartition("/")[2]
        if part not in (TRAIN, VAL, META):
            raise UnreadableSource(
                f"{file.name} is none of {TRAIN}, {VAL} and {META}: by these names nanoGPT's files are known. Rename it, or leave it out."
            )
        if part in found:
            raise UnreadableSource(f"There are two files {part}: {found[part].name} and {file.name}. Leave one out.")
        found[part] = file
    for part in (TRAIN, VAL):
        if part not in found:
            there = ", ".join(file.name for file in files)
            raise UnreadableSource(
                f"{part} is missing; there is {there}. nanoGPT's data are both {TRAIN} and {VAL}, which its prepare.py writes."
            )
    return Files(found[TRAIN], found[VAL], found.get(META))


def _characters(meta: SourceFile) -> Characters:
    """The vocabulary that meta.pkl describes: {"vocab_size", "itos": {id: character}, "stoi"}."""

    def refuse(what: str) -> UnreadableSource:
        return UnreadableSource(
            f"{meta.name} is not the meta.pkl of a character vocabulary: {what}. "
            "nanoGPT's holds vocab_size, itos and stoi; without a meta.pkl the tokens are taken as GPT-2's."
        )

    if meta.bytes > LARGEST_META:
        raise refuse(f"it has {meta.bytes:,} bytes")
    try:
        content = Machine().run(meta.path.read_bytes())
    except Unreadable as error:
        raise refuse(str(error).rstrip(".")) from None
    itos: Any = content.get("itos") if isinstance(content, dict) else None
    if isinstance(itos, list):
        itos = dict(enumerate(itos))
    if not isinstance(itos, dict) or not itos:
        raise refuse("it has no itos")
    names = [name for i in range(len(itos)) if isinstance(name := itos.get(i), str) and len(name) == 1]
    if len(set(names)) != len(itos):
        raise refuse(f"its itos does not give each id from 0 to {len(itos) - 1} a character of its own")
    if content.get("vocab_size", len(itos)) != len(itos):
        raise refuse(f"its vocab_size is {content['vocab_size']!r}, and its itos has {len(itos)} characters")
    return Characters("".join(names), with_eot=False, in_order=True)


def _copied(
    file: SourceFile, split: str, given: Files, tokenizer: Tokenizer, out: Path,
    progress: Progress, before: int, total: int, shard_tokens: int,
) -> tuple[Split, NDArray[np.int64]]:  # fmt: skip
    """The file's tokens in shards, and how often each id occurs. `before` and `total`: bytes, for the progress."""
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    digest = hashlib.sha256()
    with file.path.open("rb") as binary, shards.ShardWriter(out, split, "uint16", shard_tokens) as writer:
        while chunk := binary.read(READ_BYTES):
            digest.update(chunk)
            ids = np.frombuffer(chunk, "<u2")
            if int(ids.max()) >= tokenizer.vocab_size:
                raise _too_large(file, writer.tokens, ids, given, tokenizer)
            counts += np.bincount(ids, minlength=len(counts))
            writer.append(ids)
            done = before + 2 * writer.tokens
            progress.at(done / total, tokens=done // 2)
        if digest.hexdigest() != file.sha256:
            raise UnreadableSource(f"{file.name} changed while it was read. Start again once it is at rest.")
        made = writer.close()
    lengths = np.array([0 if i == tokenizer.eot else len(tokenizer.bytes_of(i)) for i in range(len(counts))])
    ends = 0 if tokenizer.eot is None else int(counts[tokenizer.eot])
    text_bytes = int(counts @ lengths)
    return Split(tokens=writer.tokens, documents=max(1, ends), text_bytes=text_bytes, shards=made), counts


def _too_large(
    file: SourceFile, before: int, ids: NDArray[np.uint16], given: Files, tokenizer: Tokenizer
) -> UnreadableSource:
    first = int(np.argmax(ids >= tokenizer.vocab_size))
    whose = f"{given.meta.name} has {tokenizer.vocab_size}" if given.meta else f"GPT-2 has {tokenizer.vocab_size:,}"
    way = (
        "Do both come from the same prepare.py?"
        if given.meta
        else "Give the meta.pkl that belongs to them, or prepare the text itself here."
    )
    return UnreadableSource(f"{file.name}: token {before + first:,} is {ids[first]}, but {whose} entries. {way}")


def _first(train: SourceFile, tokenizer: Tokenizer) -> list[PreviewDocument]:
    """The first documents, cut short; characters know no documents, so that there is one."""
    with train.path.open("rb") as binary:
        ids = np.frombuffer(binary.read(2 * PREVIEW_TOKENS), "<u2")
    documents = [ids]
    if tokenizer.eot is not None:
        ends = np.flatnonzero(ids == tokenizer.eot)
        documents = [part[part != tokenizer.eot] for part in np.split(ids, ends)]
    shown = []
    for document in [document for document in documents if len(document)][:PREVIEW_DOCUMENTS]:
        start = [int(i) for i in document[:PREVIEW_CHARACTERS]]
        shown.append(PreviewDocument(text=tokenizer.decode(start), tokens=tokenizer.pieces(start), ids=start))
    return shown
