"""The program that reads a prepared dataset again and says what is in it. `python -m worker.report_data DIR`

DIR is a prepared dataset's folder, and the report is printed; or a job's folder with config.json {"dataset_dir",
"journal"}, and the report becomes its report.json. As a job it is started by the agent: a line "stop" on stdin ends
it, and so does the end of stdin, for then the agent is dead. Exit codes: 0 done or stopped, 75 after SIGTERM, 1
anything else.
"""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from app.contract.dataset import Manifest
from app.contract.protocol import EXIT_REQUEUE
from app.contract.quality import QualityReport
from worker import quality, tokenizers
from worker.folders import REPORT, write_durably
from worker.journal import Journal, NullJournal
from worker.progress import Progress, Stopped
from worker.shards import MANIFEST

NICENESS = 10
"""A run that trains on this machine goes first."""


class Unreadable(Exception):
    """The dataset's files are not what its manifest says."""


def read(folder: Path, progress: Progress) -> QualityReport:
    """Raises Unreadable, and progress's Stopped."""
    manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    width = {"uint16": 2, "uint32": 4}[manifest.dtype]
    for shard in (*manifest.train.shards, *manifest.val.shards):
        path = folder / shard.file
        if not path.is_file() or path.stat().st_size != shard.tokens * width:
            raise Unreadable(f"{shard.file} is missing or not {shard.tokens * width:,} bytes long. Prepare it again.")
    known = manifest.tokenizer.kind == "bytes" or manifest.tokenizer.file is not None
    tokenizer = tokenizers.load(manifest.tokenizer, folder) if known else None
    return quality.report(folder, manifest, tokenizer, progress)


def run(directory: Path, attempt: int) -> int:
    """Do the job described in `directory`; returns the exit code."""
    config = json.loads((directory / "config.json").read_bytes())
    journal = Journal(directory / "journal" / f"a{attempt}.journal")
    progress = Progress(journal)

    def on_sigterm(*_: object) -> None:
        progress.stop = "requeue"

    signal.signal(signal.SIGTERM, on_sigterm)
    threading.Thread(target=_listen, args=(progress,), daemon=True).start()
    os.nice(NICENESS)
    try:
        made = read(Path(config["dataset_dir"]), progress)
    except Stopped as stopped:
        journal.telemetry(outcome=stopped.outcome)
        return EXIT_REQUEUE if stopped.outcome == "requeue" else 0
    except (Unreadable, OSError) as error:
        sys.stderr.write(f"{error}\n")  # the agent reports the end of what was printed as the cause
        journal.log(str(error), level="error")
        journal.telemetry(outcome="failed", reason="error", detail=str(error))
        return 1
    write_durably(directory / REPORT, _json(made))
    journal.telemetry(outcome="finished")
    return 0


def _listen(progress: Progress) -> None:
    """The agent's words, from a thread: its death (end of stdin) is the end of this process."""
    held = b""
    while chunk := os.read(0, 1024):  # not sys.stdin: its lock, held here, would break the interpreter's shutdown
        *lines, held = (held + chunk).split(b"\n")
        if {b"stop", b"terminate"} & {line.strip() for line in lines}:
            progress.stop = "stopped"
    os._exit(1)


def _json(made: QualityReport) -> bytes:
    return json.dumps(made.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m worker.report_data", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--attempt", type=int, default=1)
    given = parser.parse_args(arguments)
    if (given.directory / "config.json").exists():
        return run(given.directory, given.attempt)
    if not (given.directory / MANIFEST).exists():
        sys.stderr.write(f"{given.directory} holds no prepared dataset: there is no {MANIFEST} in it.\n")
        return 1
    try:
        made = read(given.directory, Progress(NullJournal()))
    except (Unreadable, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.buffer.write(_json(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
