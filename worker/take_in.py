"""An import job: another project's checkpoint file, read as data, becomes a checkpoint of a run on this worker.

    python -m worker.take_in DIR [--attempt N]

Nothing in the file is executed. Exit code 0, or 1 with a sentence that says why it was not taken.
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
from worker.nanogpt import EMBEDDING
from worker.sampling import load_model


class Job(BaseModel):
    """DIR/config.json."""

    run: str
    run_dir: Path  #: where this worker keeps the run's things
    format: Format
    source: Path  #: the file, or the folder with GPT-2's two
    vocab_size: int | None = None  #: entries of the dataset's tokenizer, where there is a dataset
    journal: Path


class Unfit(Exception):
    """The checkpoint does not belong to the dataset that was named."""


def padded(entries: int) -> int:
    return -(-entries // 64) * 64


def take_in(job: Job, journal: Journal) -> None:
    """Convert, verify by loading, and tell the server. Raises what convert.EXPECTED names, Unfit, OSError."""
    take = convert.take_nanogpt if job.format == "nanogpt" else convert.take_gpt2
    taken = take(job.source, job.run_dir, job.run)
    model = load_model(taken.saved.path)
    rows = model.get_parameter(EMBEDDING).shape[0]
    if job.vocab_size is not None and rows not in (job.vocab_size, padded(job.vocab_size)):
        raise Unfit(
            f"The checkpoint has {rows:,} rows for tokens, the dataset's vocabulary {job.vocab_size:,} entries: "
            "it was trained on another dataset. Name that one, or none."
        )
    manifest = taken.saved.manifest
    facts = {key: manifest[key] for key in ("attempt", "step", "kept", "bytes", "val_loss")}
    journal.event("checkpoint", taken.saved.step, text=f"{manifest['bytes'] / 1e6:.1f} MB", **facts, manifest=manifest)
    everything, _, no_embedding = model.parameter_counts()
    journal.telemetry(
        outcome="finished", config=taken.config.model_dump(mode="json"), imported_step=taken.saved.step,
        best_val=manifest["val_loss"], detail=taken.told, vocab_size=rows, parameters=everything,
        parameters_no_embedding=no_embedding, flops_per_token=model.flops_per_token(),
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m worker.take_in", description="A checkpoint from elsewhere.")
    parser.add_argument("directory", type=Path, help="holds config.json; the journal goes where that says")
    parser.add_argument("--attempt", type=int, default=1)
    given = parser.parse_args(arguments)
    job = Job.model_validate(json.loads((given.directory / "config.json").read_bytes()))
    journal = Journal(job.journal)
    try:
        take_in(job, journal)
    except (*convert.EXPECTED, Unfit, OSError, MemoryError) as error:
        return endings.refused(journal, str(error) or "Out of memory.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
