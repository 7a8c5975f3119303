"""The program that makes a dataset: documents to token shards and a manifest. `python -m worker.prepare DIR`

DIR/config.json: {"dataset", "spec" (DatasetSpec), "files" (local paths), "names" (what each is called), "out" (folder)}.
Reports through DIR/journal/a<attempt>.journal. Started by the agent: a line "stop" on stdin ends it, and so does
the end of stdin, for then the agent is dead. Exit codes: 0 done or stopped, 75 after SIGTERM, 1 anything else;
what a person can put right is one sentence in the journal, a traceback is a bug. However it ends, the next
preparation of the same files by the same spec goes on from the last finished unit (worker/unfinished.py), and
what was prepared before on this worker is taken, not made again (worker/recipe.py).
"""

import argparse
import errno
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from app.contract.dataset import DatasetSpec, Manifest, TokenizerInfo
from app.contract.home import plateau_home
from app.contract.protocol import EXIT_REQUEUE
from worker import adopted, builtin, encode, hub, preview, ranks, recipe, shards, tokenizers, unfinished, vocabulary
from worker import languages as language_counts
from worker.journal import Journal
from worker.progress import Progress, Stopped
from worker.source_files import Faults
from worker.sources import Kind, Source, SourceFile, UnreadableSource, inspect

WAYS = {
    "new": "",
    "resumed": "; an interrupted preparation was gone on with",
    "reused": "; prepared before on this worker and taken from there",
}
SPARE_BYTES = 64 << 10
"""Kept for the sentence that says that the disk is full, which must be written to it, too."""
EXPECTED = (UnreadableSource, ranks.NoRanks, builtin.NoStandardLibrary, encode.EmptySplit)


def prepare(
    spec: DatasetSpec,
    files: Sequence[Path],
    out: Path,
    *,
    home: Path,
    progress: Progress,
    find_ranks: Callable[[str], tokenizers.Ranks],
    threads: int,
    shard_tokens: int = shards.SHARD_TOKENS,
    names: Sequence[str] | None = None,
    fetched: hub.Fetched | None = None,
) -> Manifest:
    """Make `out`: shards, the tokenizer's file and manifest.json. Equal inputs give equal bytes.

    `home`: the worker's, where unfinished preparations and prepared datasets lie. `names` of the files, where a folder
    of the spec stands for many. `fetched`: where they come from the hub.
    """
    progress.phase("reading")
    states = [_state(path) for path in files]
    found = _inspected(names or [file.name for file in spec.files], files, progress)
    if spec.kind == "tokens":
        return adopted.adopt(spec, found, out, find_ranks=find_ranks, progress=progress, shard_tokens=shard_tokens)
    if fetched is not None:
        fetched.verify(found)
    source = Source(_kind(spec, fetched), found, spec.text_column)
    source.check()
    origin = {} if fetched is None else {"hub": spec.hub.repo, "commit": fetched.commit}
    own = {"spec": spec, "sources": [row | origin for row in source.described()]}
    sha256 = recipe.recipe_of(spec, source.files)
    if before := recipe.prepared_before(home, sha256):
        folder, manifest = before
        splits = manifest.train, manifest.val
        progress.taken(
            documents=sum(split.documents for split in splits), text_bytes=sum(split.text_bytes for split in splits),
            tokens=sum(split.tokens for split in splits),
        )  # fmt: skip
        recipe.take(folder, manifest, out)
        return _written(out, manifest.model_copy(update=own))
    with unfinished.held(home, sha256, lambda: progress.at(0.0)) as work:
        if not work.complete:
            try:
                manifest = _make(spec, source, work, progress, find_ranks, threads, shard_tokens)
            except encode.EmptySplit:
                work.clear()  # nothing to go on with
                raise
            if changed := [
                file.name for file, state in zip(source.files, states, strict=True) if _state(file.path) != state
            ]:
                work.clear()
                raise UnreadableSource(
                    f"{', '.join(changed)} changed while being read. Start again once the files are at rest."
                )
            _written(work.folder, manifest.model_copy(update={"recipe": sha256}))
        work.hand_over(out)
    manifest = Manifest.model_validate_json((out / shards.MANIFEST).read_bytes())
    return _written(out, manifest.model_copy(update=own))  # another's names, if it was another that left it unfinished


def _make(
    spec: DatasetSpec,
    source: Source,
    work: unfinished.Unfinished,
    progress: Progress,
    find_ranks: Callable[[str], tokenizers.Ranks],
    threads: int,
    shard_tokens: int,
) -> Manifest:
    """Everything but the manifest into the folder of `work`."""
    if work.settled is None:
        work.clear()
        progress.phase("vocabulary")
        boundary = None
        if spec.split == "tail":  # as nanoGPT: data[: int(n * 0.9)]
            boundary = int(vocabulary.characters_of(source, progress) * (1 - spec.val_share))
        tokenizer = vocabulary.choose(spec, source, find_ranks, progress, boundary)
        info = tokenizers.save(tokenizer, work.folder)
        work.begin({"tokenizer": info.model_dump(), "boundary": boundary})
    else:
        info = TokenizerInfo.model_validate(work.settled["tokenizer"])
        tokenizer, boundary = tokenizers.load(info, work.folder), work.settled["boundary"]
    languages = []
    if source.kind != "text" and spec.kind != "builtin":
        progress.phase("languages")
        languages = language_counts.counted(source, progress)
    made = encode.encode(
        spec, source, tokenizer, work,
        boundary=boundary, threads=threads, progress=progress, shard_tokens=shard_tokens,
    )  # fmt: skip
    faults = Faults()
    for fault in made.faults:
        faults.add(fault)
    return Manifest(
        spec=spec,
        sources=source.described(),
        tokenizer=info,
        dtype=shards.id_type(tokenizer.vocab_size),
        train=made.train,
        val=made.val,
        split_rule=spec.split,
        # End-of-text counts as a token and has no bytes, as in the loss that this turns into bits per byte.
        bytes_per_token=(made.train.text_bytes + made.val.text_bytes) / (made.train.tokens + made.val.tokens),
        unigram_entropy=encode.unigram_entropy(made.counts),
        empty_documents=made.empty_documents,
        removed=made.removed,
        languages=languages,
        preview=[
            *preview.first(source, tokenizer),
            *preview.spread(work.folder, made.train, made.val, shards.id_type(tokenizer.vocab_size), tokenizer),
        ],
        faults=len(faults),
        first_faults=faults.sentences(),
    )


def _written(folder: Path, manifest: Manifest) -> Manifest:
    shards.write_manifest(folder, manifest)
    return manifest


def _state(path: Path) -> tuple[int, int] | None:
    """Size and time of a file; None where there is none, which the source will say."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _kind(spec: DatasetSpec, fetched: hub.Fetched | None) -> Kind:
    if spec.kind == "parquet" or spec.kind == "jsonl" or spec.kind == "text":
        return spec.kind
    return "parquet" if fetched is None else fetched.kind  # the built-in dataset is a parquet file, too


def _inspected(names: Sequence[str], files: Sequence[Path], progress: Progress) -> list[SourceFile]:
    assert len(files) == len(names), f"{len(files)} paths for {len(names)} files"
    total = sum(path.stat().st_size for path in files if path.is_file()) or 1
    read = 0

    def on_bytes(count: int) -> None:
        nonlocal read
        read += count
        progress.at(read / total, text_bytes=read)

    return [inspect(name, path, on_bytes) for name, path in zip(names, files, strict=True)]


def _listen(progress: Progress) -> None:
    """The agent's words, from a thread: its death (end of stdin) is the end of this process."""
    held = b""
    while chunk := os.read(0, 1024):  # not sys.stdin: its lock, held here, would break the interpreter's shutdown
        *lines, held = (held + chunk).split(b"\n")
        if {b"stop", b"terminate"} & {line.strip() for line in lines}:
            progress.stop = "stopped"
    os._exit(1)


def run(directory: Path, journal: Journal, progress: Progress) -> int:
    """Do the job described in `directory`; returns the exit code."""
    config = json.loads((directory / "config.json").read_bytes())
    spec = DatasetSpec.model_validate(config["spec"])
    out = Path(config["out"])
    home = Path(os.environ.get("PLATEAU_WORKER_HOME") or plateau_home() / "worker")
    spare = directory / "spare"
    try:
        spare.write_bytes(bytes(SPARE_BYTES))
        files = [Path(path) for path in config["files"]]
        names = config.get("names")
        fetched = None
        if spec.kind == "builtin":
            files, names = [directory / builtin.file_name()], [builtin.file_name()]
            builtin.write_parquet(builtin.standard_library(), files[0])
        elif spec.kind == "hub":
            fetched = hub.bring(spec.hub, home / "hub", progress)
            files, names = fetched.paths, fetched.names
        unfinished.tidy(home, time.time())
        manifest = prepare(
            spec, files, out, home=home, progress=progress, threads=_cores(), names=names, fetched=fetched,
            find_ranks=lambda kind: ranks.find(kind, os.environ, home, lambda url: _download(url, progress)),
        )  # fmt: skip
    except Stopped as stopped:
        journal.telemetry(outcome=stopped.outcome)
        return EXIT_REQUEUE if stopped.outcome == "requeue" else 0
    except EXPECTED as error:
        return _failed(journal, str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        spare.unlink(missing_ok=True)
        journal.write_held()
        return _failed(
            journal,
            f"The worker's disk is full: no room in {home}. Free some space and try again: what is finished is kept, "
            "and the next attempt goes on from there.",
        )
    if fetched is not None:
        shutil.rmtree(fetched.folder, ignore_errors=True)
    tokens = manifest.train.tokens + manifest.val.tokens
    journal.log(
        f"{manifest.train.documents + manifest.val.documents:,} documents, {tokens:,} tokens, "
        f"{manifest.bytes_per_token:.2f} bytes a token, vocabulary of {manifest.tokenizer.vocab_size:,}"
        + WAYS[progress.way]
    )
    journal.telemetry(outcome="finished")
    return 0


def _download(url: str, progress: Progress) -> bytes:
    from worker import client  # a tenth of a second that only a download needs

    try:
        return client.download(url, lambda: progress.at(0.0))
    except client.WorkerError as error:
        raise ranks.Unreachable(str(error)) from error


def _failed(journal: Journal, sentence: str) -> int:
    sys.stderr.write(sentence + "\n")  # the agent reports the end of what was printed as the cause
    journal.log(sentence, level="error")
    journal.event("failed", text=sentence)
    journal.telemetry(outcome="failed", reason="error", detail=sentence)
    return 1


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m worker.prepare", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--attempt", type=int, default=1)
    given = parser.parse_args(arguments)
    journal = Journal(given.directory / "journal" / f"a{given.attempt}.journal")
    progress = Progress(journal)

    def on_sigterm(*_: object) -> None:
        progress.stop = "requeue"

    signal.signal(signal.SIGTERM, on_sigterm)
    threading.Thread(target=_listen, args=(progress,), daemon=True).start()
    return run(given.directory, journal, progress)


if __name__ == "__main__":
    sys.exit(main())
