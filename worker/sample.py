"""A sample job: text written from a checkpoint, on the CPU, and told while it is written.

    python -m worker.sample DIR [--attempt N]

DIR/config.json (the agent writes it) names the checkpoint's folder, the tokenizer and the settings. Several
samples are written one after the other, each with draws of its own. Exit code 0 written or stopped, 75 told to
leave the machine, 1 with a sentence that says why not.
"""

import argparse
import json
import os
import stat
import sys
from collections.abc import Sequence
from os import fstat
from pathlib import Path

import torch
from pydantic import BaseModel

from app.contract.dataset import TokenizerInfo
from app.contract.protocol import EXIT_REQUEUE
from app.contract.sampling import SampleSettings
from worker import checkpoint, endings, ranks, sampling, tokenizers
from worker.commands import Commands
from worker.journal import Journal

THREADS = 1
"""A run may be training beside it: two threads that wait for each other were then ten times slower than one."""
EXPECTED = (checkpoint.Damaged, sampling.Unwritable, ranks.NoRanks, MemoryError)


class Job(BaseModel):
    """DIR/config.json."""

    checkpoint: Path
    tokenizer: TokenizerInfo | None = None  #: None: GPT-2's, for a model that belongs to no dataset
    tokenizer_dir: Path
    settings: SampleSettings
    journal: Path


def write(job: Job, journal: Journal, commands: Commands) -> str:
    """Write all samples; returns the outcome. Raises EXPECTED."""
    torch.set_num_threads(THREADS)
    tokenizer: tokenizers.Tokenizer
    if job.tokenizer is not None:
        tokenizer = tokenizers.load(job.tokenizer, job.tokenizer_dir)
    else:
        home = Path(os.environ.get("PLATEAU_WORKER_HOME") or job.tokenizer_dir)
        tokenizer = tokenizers.BytePairs(ranks.find("gpt2", os.environ, home), "gpt2")
    sampling.begin(tokenizer, job.settings.prompt)  # before the weights: a wrong prompt should be said at once
    model = sampling.load_model(job.checkpoint)
    teller = sampling.Teller(journal)
    for index, piece in sampling.write_all(model, tokenizer, job.settings):
        teller.add(index, piece)
        if commands.terminate:
            return "requeue"
        if {"stop", "terminate", "pause"} & {words[0] for words in commands.take()}:
            teller.flush()
            return "stopped"
    teller.flush()
    return "finished"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m worker.sample", description="Text from a checkpoint.")
    parser.add_argument("directory", type=Path, help="holds config.json; the journal goes where that says")
    parser.add_argument("--attempt", type=int, default=1)
    given = parser.parse_args(arguments)
    commands = Commands()
    commands.heed_sigterm()
    if stat.S_ISFIFO(fstat(sys.stdin.fileno()).st_mode):
        commands.listen(sys.stdin.buffer)
    job = Job.model_validate(json.loads((given.directory / "config.json").read_bytes()))
    journal = Journal(job.journal)
    try:
        outcome = write(job, journal, commands)
    except EXPECTED as error:
        sentence = str(error) or "Out of memory: the model does not fit beside what else this worker does."
        return endings.refused(journal, sentence)
    journal.telemetry(outcome=outcome)
    return EXIT_REQUEUE if outcome == "requeue" else 0


if __name__ == "__main__":
    sys.exit(main())
