"""One attempt of one run, from its config.json to its last step.

    python -m worker.train RUN_DIR --attempt N

The agent starts it; by hand it works too. It writes what happens to the journal and to checkpoints
and takes commands between steps. Exit codes: 0 the last step is reached, or a person stopped or
paused the run; 75 saved after SIGTERM; 3 not finite; 4 out of memory; 1 anything else.
"""

import argparse
import json
import math
import stat
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from os import fstat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.contract.protocol import EXIT_REQUEUE
from app.contract.schedule import decay_share, learning_rate
from worker import devices, endings, optim, signals
from worker.batches import Tokens
from worker.commands import Commands
from worker.engine import Job, announce, build
from worker.evaluate import Evaluation, bits_per_byte, evaluate, perplexity
from worker.journal import Journal, NullJournal
from worker.keeper import Keeper, not_finite
from worker.loop import without_collector
from worker.midway import Midway
from worker.processes import ALONE, Alone, Turn, of_environment
from worker.report import NonFinite, Sink, StepReport
from worker.telemetry import Telemetry

EXITS = {"finished": 0, "stopped": 0, "paused": 0, "requeue": EXIT_REQUEUE}
LOOK_FOR_ROOM_S = 0.2
REPORTED_WINDOWS = 20_000
"""Up to so many windows each one's validation loss is reported, for comparisons in pairs."""


class Training:
    """The engine wired to data, journal and checkpoints; `run` is the whole attempt."""

    def __init__(self, run_dir: Path, job: Job, journal: Sink, commands: Commands, processes: Alone = ALONE) -> None:
        self.run_dir = run_dir
        self.job = job
        self.config = job.config
        self.journal = journal
        self.commands = commands
        self.processes = processes
        journal_path = job.journal or run_dir / "journal" / f"a{job.attempt}.journal"
        self.keeper = Keeper(run_dir, job.run, job.attempt, job.config.checkpoint.keep_last, journal, journal_path)
        self.step = 0  # finished updates
        self.begin = job.fork.step if job.fork else 0  # where the run's own curve starts
        self.best_val = math.inf
        self.best_step = 0
        self.val_loss: float | None = None  # of the current step, where it was evaluated
        self.waiting_for_room = False

    def run(self) -> str:
        """Train to the last step or to a command; returns the outcome."""
        self.load()
        with without_collector():
            if self.step == self.begin:  # a fork, too, is measured and saved first: then it needs its parent no more
                self.evaluate({})
                self.midway.regular(self.step)
                self.save({"start"})
            while self.step < self.config.schedule.steps:
                turn = self.processes.agree(Turn(self.commands.take(), self.commands.terminate, self.journal.full))
                if outcome := self.obey(turn):
                    return outcome
                if self.has_room(turn):
                    self.update()
        return "finished"

    def load(self) -> None:
        self.journal.event("phase", text="loading")
        engine = build(self.job, self.keeper, self.journal, self.processes)
        self.path, self.corpus, self.groups = engine.path, engine.corpus, engine.groups
        self.model, self.optimizer, self.loop, self.relief = engine.model, engine.optimizer, engine.loop, engine.relief
        if state := engine.state:
            self.step = self.keeper.first_step = state["step"]
            if engine.changed is None:  # a fork's best is its own
                self.best_val, self.best_step = state["best_val"], state["best_step"]
        self.midway = Midway(
            self.model, self.loop.autocast, self.corpus.manifest.tokenizer, self.job.dataset_dir, self.config.eval,
            self.config.system.seed, self.journal, writes=self.processes.leads,
        )  # fmt: skip
        announce(engine, self.job, self.journal)
        self.journal.event("phase", self.step, text="compiling" if self.loop.compiling else "training")
        self.telemetry = Telemetry(self.loop.device)
        self.report = StepReport(
            self.journal,
            tokens_per_step=self.config.tokens_per_step,
            flops_per_token=self.model.flops_per_token(),
            peak_flops=devices.peak_flops(self.path),
            wall_s=engine.state.get("wall_s", 0.0),
            step=self.step,
            tokens=engine.state.get("tokens", self.step * self.config.tokens_per_step),
        )

    # ---------------------------------------------------------------------------------------------
    # Training

    def update(self) -> None:
        """One update, and what is due after it."""
        s = self.config.schedule
        last = self.step + 1 == s.steps
        evaluation = last or (self.step + 1) % self.config.eval.every == 0
        end = s.decay_steps or s.steps
        lr = learning_rate(
            self.step, lr=s.lr, min_lr=s.min_lr, warmup_steps=s.warmup_steps, decay_steps=end, shape=s.shape,
            cooldown=s.cooldown,
        )  # fmt: skip
        share = decay_share(self.step, shape=self.config.optim.decay_schedule, decay_steps=end)
        optim.set_decay_share(self.optimizer, share)
        # The update that leads to an evaluation is the one whose size is measured.
        watch = signals.Watch(self.groups, self.optimizer) if evaluation else None
        scalars = self.relief.run(self.step, self.loop.step, self.step, lr, self.report.poll)
        self.step += 1
        self.val_loss = None
        self.report.add(self.step, lr, scalars, optim.effective_decay(self.optimizer))
        if self.telemetry.due():
            self.journal.points(self.step, self.telemetry.read())
        if self.loop.compiling:
            self.loop.compiling = False
            self.pause_clock()
            self.journal.event("phase", self.step, text="training")

        reasons = set()
        if watch and self.evaluate(watch.read()):
            reasons.add("best")
        if self.midway.due(self.step):
            self.pause_clock()
            self.midway.regular(self.step)
        if self.config.checkpoint.every and self.step % self.config.checkpoint.every == 0:
            reasons.add("interval")
        if last:
            reasons.add("end")
        if reasons:
            self.save(reasons)

    def evaluate(self, signals_of_update: Mapping[str, float]) -> bool:
        """Measure at the current step; returns whether val is the best so far."""
        self.pause_clock()
        first = self.step == self.begin
        values = self.report.axes(self.step) if first else {}  # later steps have written theirs
        for key, (tokens, starts) in self.corpus.eval_windows(self.step).items():
            result = self.relief.run(self.step, self.measure, tokens, starts)
            values |= {key: result.loss, f"{key}_se": result.se}
            comparable = not self.corpus.draws and len(result.losses) <= REPORTED_WINDOWS and math.isfinite(result.loss)
            if key == "val/loss" and comparable:
                losses = [round(loss, 5) for loss in result.losses.tolist()]
                self.journal.event("evaluation", self.step, losses=losses)
        self.val_loss = val = values["val/loss"]
        values["val/perplexity"] = perplexity(val)
        values["val/bpb"] = bits_per_byte(val, self.corpus.manifest.bytes_per_token)
        values |= {f"rms/{group}": value for group, value in signals.rms(self.groups).items()}
        values |= signals_of_update
        values |= self.telemetry.read()
        self.journal.points(self.step, values)
        speed = f", {self.report.tok_per_s:,.0f} tokens/s" if not first else ""
        self.journal.log(
            f"step {self.step}: val {val:.4f} ± {values['val/loss_se']:.4f}, train {values['eval/train_loss']:.4f}{speed}"
        )
        if not math.isfinite(val):
            raise NonFinite(f"The validation loss became {val} at step {self.step}.", self.report.grad_norms)
        if val >= self.best_val:
            return False
        self.best_val, self.best_step = val, self.step
        if not first:
            self.journal.event("best", self.step, text=f"val {val:.4f}", val_loss=val)
        return True

    def measure(self, tokens: Tokens, starts: NDArray[np.int64]) -> Evaluation:
        loop, T = self.loop, self.config.model.block_size
        size = loop.batches.micro_batch
        return evaluate(loop.run, tokens, starts, T, size, loop.device, loop.autocast, self.processes)

    def has_room(self, turn: Turn) -> bool:
        """False, after a short wait, while the journal is full: points are never thinned, so training waits."""
        if not turn.full:
            if self.waiting_for_room:
                self.journal.event("phase", self.step, text="training")
            self.waiting_for_room = False
            return True
        self.pause_clock()
        if not self.waiting_for_room:
            text = "Training waits: this worker has no room for more points. It goes on once the server has taken some or the disk has space."
            self.journal.event("alarm", self.step, text=text)
        self.waiting_for_room = True
        began = time.perf_counter()
        time.sleep(LOOK_FOR_ROOM_S)
        self.report.paused(time.perf_counter() - began)
        return False

    def pause_clock(self) -> None:
        """Something that is no step comes next: every step's points are written, and none is charged for it."""
        self.report.settle()
        self.loop.interrupt()

    # ---------------------------------------------------------------------------------------------
    # Commands and checkpoints

    def obey(self, turn: Turn) -> str | None:
        """Carry out what was asked for since the last step; the outcome where that ends the attempt."""
        for word, *arguments in turn.commands:
            if word == "stop":
                self.save({"end"})
                return "stopped"
            if word == "pause":
                self.save({"interval"})
                return "paused"
            if word == "save":
                self.save({"asked"})
            elif word == "evaluate":
                if self.evaluate({}):
                    self.save({"best"})
            elif word == "sample":
                self.pause_clock()
                self.midway.asked(self.step, arguments)
            elif word == "delete" and len(arguments) == 2 and all(a.isdecimal() for a in arguments):
                if self.processes.leads:
                    self.keeper.delete(int(arguments[0]), int(arguments[1]))
            else:
                self.journal.log(f"unknown command: {word} {' '.join(arguments)}", "warn")
        if turn.terminate:
            self.save({"interval"})
            return "requeue"
        return None

    def save(self, reasons: set[str]) -> None:
        """Of all processes only the first writes; the others have the same to write."""
        self.pause_clock()
        if broken := not_finite(self.model):  # a checkpoint of it would push a good one out
            raise NonFinite(f"The weights {broken} are not finite after step {self.step}.", self.report.grad_norms)
        if not self.processes.leads:
            return
        state = {
            "run": self.job.run,
            "best_val": self.best_val,
            "best_step": self.best_step,
            "wall_s": self.report.wall_s,
            "tokens": self.report.tokens(self.step),
            "windows": self.loop.batches.drawn(self.step),
            "dataset_sha256": self.corpus.sha256,
            "tokenizer_sha256": self.corpus.manifest.tokenizer.sha256,
            "numeric_path": asdict(self.path),
            "scaler": self.loop.scaler.state_dict(),
            "batch": self.relief.cut(),
            "config": self.config.model_dump(),
        }
        random = self.corpus.random_states(self.step)
        self.keeper.save(self.step, reasons, self.model, self.optimizer, self.loop.device, state, self.val_loss, random)


def attempt(run_dir: Path, job: Job, journal: Sink, commands: Commands, processes: Alone = ALONE) -> int:
    """Run the attempt, write to the journal how it ended and return the exit code."""
    training = Training(run_dir, job, journal, commands, processes)
    try:
        outcome = training.run()
    except endings.EXPECTED as error:
        processes.defer()
        training.keeper.wait()
        return endings.failed(error, training.step, run_dir, journal)
    training.keeper.wait()
    journal.telemetry(outcome=outcome)
    processes.end()
    return EXITS[outcome]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m worker.train", description="One attempt of one run.")
    parser.add_argument("run_dir", type=Path, help="holds config.json; the journal and the checkpoints go there")
    parser.add_argument("--attempt", type=int, required=True, help="1 for a run's first")
    given = parser.parse_args(arguments)
    commands = Commands()
    commands.heed_sigterm()
    processes = of_environment()
    # A pipe is the agent's, and its end is the agent's end; a terminal or /dev/null gives no commands.
    if processes.leads and stat.S_ISFIFO(fstat(sys.stdin.fileno()).st_mode):
        commands.listen(sys.stdin.buffer)
    content = json.loads((given.run_dir / "config.json").read_bytes())
    job = Job.model_validate({**content, "attempt": given.attempt})
    path = job.journal or given.run_dir / "journal" / f"a{given.attempt}.journal"
    journal: Sink = Journal(path) if processes.leads else NullJournal()
    return attempt(given.run_dir, job, journal, commands, processes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
