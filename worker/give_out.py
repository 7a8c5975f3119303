"""An export job: a checkpoint as another project's files, in DIR/out, from where the agent sends them to the server.

    python -m worker.give_out DIR [--attempt N]

Exit code 0, or 1 with a sentence that says why the other project cannot have this model.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from app.contract.exchange import Format
from worker import convert, endings
from worker.journal import Journal


class Job(BaseModel):
    """DIR/config.json."""

    checkpoint: Path
    format: Format
    out: Path  #: an empty folder
    journal: Path


def give_out(job: Job, journal: Journal) -> None:
    """Raises what convert.EXPECTED names, OSError."""
    nanogpt = job.format == "nanogpt"
    target = job.out / "ckpt.pt" if nanogpt else job.out
    told = (convert.to_nanogpt if nanogpt else convert.to_gpt2)(job.checkpoint, target)
    journal.telemetry(outcome="finished", detail=told.removeprefix(f"{target}: "))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m worker.give_out", description="A checkpoint for elsewhere.")
    parser.add_argument("directory", type=Path, help="holds config.json; the journal goes where that says")
    parser.add_argument("--attempt", type=int, default=1)
    given = parser.parse_args(arguments)
    job = Job.model_validate(json.loads((given.directory / "config.json").read_bytes()))
    journal = Journal(job.journal)
    try:
        give_out(job, journal)
    except (*convert.EXPECTED, OSError, MemoryError) as error:
        return endings.refused(journal, str(error) or "Out of memory.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
