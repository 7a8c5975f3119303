"""The program that makes a dataset: documents to token shards and a manifest. `python -m worker.prepare DIR`

DIR/config.json: {"dataset", "spec" (DatasetSpec), "files" (local paths, in the spec's order), "out" (folder)}.
Reports through DIR/journal/a<attempt>.journal. Started by the agent: a line "stop" on stdin ends it, and so does
the end of stdin, for then the agent is dead. Exit codes: 0 done or stopped, 75 after SIGTERM, 1 anything else;
what a person can put right is one sentence in the journal, a traceback is a bug.
"""

import argparse
import contextlib
import errno
import itertools
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from app.contract.dataset import DatasetSpec, Manifest, PreviewDocument
from app.contract.home import plateau_home
from app.contract.protocol import EXIT_REQUEUE
from worker import builtin, encode, gpt2_ranks, shards, tokenizers, vocabulary
from worker.journal import Journal
from worker.progress import Progress, Stopped
from worker.sources import Source, SourceFile, UnreadableSource, inspect

PREVIEW_DOCUMENTS = 3
PREVIEW_CHARACTERS = 1500
EXPECTED = (UnreadableSource, gpt2_ranks.NoRanks, builtin.NoStandardLibrary, encode.EmptySplit)


def prepare(
    spec: DatasetSpec,
    files: Sequence[Path],
    out: Path,
    *,
    progress: Progress,
    ranks: Callable[[], tokenizers.Ranks],
    threads: int,
    shard_tokens: int = shards.SHARD_TOKENS,
) -> Manifest:
    """Fill `out`: shards and the tokenizer's file first, manifest.json last. Equal inputs give equal bytes."""
    shards.clear(out)
    progress.phase("reading")
    source = _source(spec, files, progress)
    progress.phase("vocabulary")
    chosen = vocabulary.choose(spec, source, ranks, progress)
    info = tokenizers.save(chosen, out)
    # What encodes is what was saved: a reader of the manifest gets exactly this.
    tokenizer = tokenizers.load(info, out)
    progress.phase("tokens")
    made = encode.encode(spec, source, tokenizer, out, threads=threads, progress=progress, shard_tokens=shard_tokens)
    manifest = Manifest(
        spec=spec,
        sources=[{"name": file.name, "bytes": file.bytes, "sha256": file.sha256} for file in source.files],
        tokenizer=info,
        dtype=shards.id_type(tokenizer.vocab_size),
        train=made.train,
        val=made.val,
        # End-of-text counts as a token and has no bytes, as in the loss that this turns into bits per byte.
        bytes_per_token=(made.train.text_bytes + made.val.text_bytes) / (made.train.tokens + made.val.tokens),
        unigram_entropy=encode.unigram_entropy(made.counts),
        empty_documents=made.empty_documents,
        preview=preview(source, tokenizer),
    )
    shards.write_manifest(out, manifest)
    return manifest


def preview(source: Source, tokenizer: tokenizers.Tokenizer) -> list[PreviewDocument]:
    """The first documents, cut short, with their tokens: all that a page needs to show them in colour."""
    shown = []
    with contextlib.closing(source.documents()) as read:
        texts = (text for text in read if not vocabulary.is_empty(text))
        for text in itertools.islice(texts, PREVIEW_DOCUMENTS):
            start = text[:PREVIEW_CHARACTERS]
            ids = [int(i) for i in tokenizer.encode(start)]
            shown.append(PreviewDocument(text=start, tokens=tokenizer.pieces(ids), ids=ids))
    return shown


def _source(spec: DatasetSpec, files: Sequence[Path], progress: Progress) -> Source:
    assert len(files) == len(spec.files) or spec.kind == "builtin", f"{len(files)} paths for {len(spec.files)} files"
    names = [file.name for file in spec.files] if spec.kind != "builtin" else [path.name for path in files]
    total = sum(path.stat().st_size for path in files if path.is_file()) or 1
    read = 0

    def on_bytes(count: int) -> None:
        nonlocal read
        read += count
        progress.at(read / total, text_bytes=read)

    found: list[SourceFile] = [inspect(name, path, on_bytes) for name, path in zip(names, files, strict=True)]
    source = Source("parquet" if spec.kind == "builtin" else spec.kind, found, spec.text_column)
    source.check()
    return source


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
    try:
        files = [Path(path) for path in config["files"]]
        if spec.kind == "builtin":
            files = [directory / builtin.file_name()]
            builtin.write_parquet(builtin.standard_library(), files[0])
        manifest = prepare(
            spec,
            files,
            out,
            progress=progress,
            ranks=lambda: gpt2_ranks.gpt2_ranks(os.environ, home),
            threads=_cores(),
        )
    except Stopped as stopped:
        journal.telemetry(outcome=stopped.outcome)
        return EXIT_REQUEUE if stopped.outcome == "requeue" else 0
    except EXPECTED as error:
        return _failed(journal, str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return _failed(journal, f"The worker's disk is full: no room in {out}. Free some space and try again.")
    tokens = manifest.train.tokens + manifest.val.tokens
    journal.log(
        f"{manifest.train.documents + manifest.val.documents:,} documents, {tokens:,} tokens, "
        f"{manifest.bytes_per_token:.2f} bytes a token, vocabulary of {manifest.tokenizer.vocab_size:,}"
    )
    journal.telemetry(outcome="finished")
    return 0


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
