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
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from app.contract.config import RunConfig
from app.contract.protocol import EXIT_REQUEUE
from app.contract.schedule import decay_share, learning_rate
from worker import checkpoint, devices, endings, optim, signals
from worker.batches import Tokens
from worker.commands import Commands
from worker.corpus import Corpus
from worker.evaluate import Evaluation, bits_per_byte, evaluate, perplexity
from worker.journal import Journal
from worker.keeper import Keeper, not_finite, restore
from worker.loop import Loop, without_collector
from worker.model import GPT
from worker.relief import Relief
from worker.report import NonFinite, Sink, StepReport

EXITS = {"finished": 0, "stopped": 0, "paused": 0, "requeue": EXIT_REQUEUE}
LOOK_FOR_ROOM_S = 0.2
REPORTED_WINDOWS = 20_000
"""Up to so many windows each one's validation loss is reported, for comparisons in pairs."""


class Job(BaseModel):
    """RUN_DIR/config.json, written by the agent."""

    run: str
    attempt: int = Field(ge=1)
    config: RunConfig
    dataset_dir: Path
    resume: Path | None = None  #: a checkpoint's folder
    device: str = "auto"  #: the worker's own: cpu, mps, cuda:0
    journal: Path | None = None  #: None: RUN_DIR/journal/a<attempt>.journal


class Training:
    """The engine wired to data, journal and checkpoints; `run` is the whole attempt."""

    def __init__(self, run_dir: Path, job: Job, journal: Sink, commands: Commands) -> None:
        self.run_dir = run_dir
        self.job = job
        self.config = job.config
        self.journal = journal
        self.commands = commands
        journal_path = job.journal or run_dir / "journal" / f"a{job.attempt}.journal"
        self.keeper = Keeper(run_dir, job.run, job.attempt, job.config.checkpoint.keep_last, journal, journal_path)
        self.step = 0  # finished updates
        self.best_val = math.inf
        self.best_step = 0
        self.val_loss: float | None = None  # of the current step, where it was evaluated
        self.compiling = False
        self.waiting_for_room = False

    def run(self) -> str:
        """Train to the last step or to a command; returns the outcome."""
        self.load()
        with without_collector():
            if self.step == 0:
                self.evaluate({})
                self.save({"start"})
            while self.step < self.config.schedule.steps:
                if outcome := self.obey():
                    return outcome
                if self.has_room():
                    self.update()
        return "finished"

    # ---------------------------------------------------------------------------------------------
    # Loading

    def load(self) -> None:
        self.journal.event("phase", text="loading")
        config = self.config
        saved = self.keeper.to_go_on_from(self.job.resume)
        weights, moments, state = checkpoint.load(saved) if saved else ({}, {}, {})

        device = devices.choose(config.system.device, self.job.device)
        fresh = devices.numeric_path(config.system, device)
        self.path = devices.resumed_path(state["numeric_path"], fresh) if saved else fresh
        torch.set_num_threads(self.path.threads)

        self.corpus = Corpus(self.job.dataset_dir, config, state.get("dataset_sha256"))
        torch.manual_seed(config.system.seed)  # of every device
        m, o = config.model, config.optim
        vocab_size = self.corpus.vocab_size(m.pad_vocab)
        self.model = GPT(vocab_size, **m.model_dump(exclude={"pad_vocab"})).to(device)
        self.model.transformer.recompute = config.system.recompute
        self.corpus.begin(moments, state.get("step", 0))
        self.groups = signals.metric_groups(self.model)
        recipe = o.model_dump(exclude={"clip", "decay_schedule"})
        self.optimizer = optim.build(self.model, peak=config.schedule.lr, **recipe)
        if saved:
            restore(self.model, self.optimizer, weights, moments, device)
            self.step = self.keeper.first_step = state["step"]
            self.best_val, self.best_step = state["best_val"], state["best_step"]
        tokens = config.batch.micro_batch * m.block_size
        if saved:
            self.path = devices.possible(self.path, self.model, tokens)
        else:
            self.path = devices.fitted(self.path, self.model, vocab_size, tokens, config.system.chunked_loss)
        devices.follow(self.path, self.model)
        self.loop = Loop(
            self.model, self.optimizer, self.corpus.batches,
            clip=o.clip, device=device, dtype=self.path.dtype, compiled=self.path.compile, tf32=self.path.tf32,
        )  # fmt: skip
        self.loop.scaler.load_state_dict(state.get("scaler") or self.loop.scaler.state_dict())
        self.relief = Relief(self.loop, self.journal, state.get("batch"))
        self.announce(state)
        self.report = StepReport(
            self.journal,
            tokens_per_step=config.tokens_per_step,
            flops_per_token=self.model.flops_per_token(),
            peak_flops=devices.peak_flops(self.path),
            wall_s=state.get("wall_s", 0.0),
        )

    def announce(self, state: Mapping[str, Any]) -> None:
        everything, _, no_embedding = self.model.parameter_counts()
        self.journal.telemetry(
            **asdict(self.path),
            parameters=everything,
            parameters_no_embedding=no_embedding,
            vocab_size=self.model.transformer.wte.num_embeddings,
            tokens_per_step=self.config.tokens_per_step,
            flops_per_token=self.model.flops_per_token(),
            peak_flops=devices.peak_flops(self.path),
            **self.relief.cut(),
            eval_windows=self.corpus.eval_count,
            train_tokens=self.corpus.manifest.train.tokens,
            val_tokens=self.corpus.manifest.val.tokens,
        )
        if self.job.attempt > 1:
            # Points that an earlier attempt wrote after this step are taken back; these follow in their place.
            text = f"Going on from the checkpoint of step {self.step}." if state else "Starting afresh."
            self.journal.event("resume", self.step, text=text, first_step=self.step)
        if state and (changes := devices.NumericPath(**state["numeric_path"]).differences(self.path)):
            text = f"Not bit-exact from step {self.step} on: {'; '.join(changes)}."
            self.journal.event("alarm", self.step, text=text)
        self.compiling = self.path.compile
        self.journal.event("phase", self.step, text="compiling" if self.compiling else "training")

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
        if self.compiling:
            self.compiling = False
            self.pause_clock()
            self.journal.event("phase", self.step, text="training")

        reasons = set()
        if watch and self.evaluate(watch.read()):
            reasons.add("best")
        if self.config.checkpoint.every and self.step % self.config.checkpoint.every == 0:
            reasons.add("interval")
        if last:
            reasons.add("end")
        if reasons:
            self.save(reasons)

    def evaluate(self, signals_of_update: Mapping[str, float]) -> bool:
        """Measure at the current step; returns whether val is the best so far."""
        self.pause_clock()
        values: dict[str, float] = {} if self.step else self.report.axes(0)  # later steps have written theirs
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
        values["system/rss_gib"] = psutil.Process().memory_info().rss / devices.GIB
        if memory := devices.memory_gib(self.loop.device):
            values["system/device_mem_gib"] = memory
        self.journal.points(self.step, values)
        speed = f", {self.report.tok_per_s:,.0f} tokens/s" if self.step else ""
        self.journal.log(
            f"step {self.step}: val {val:.4f} ± {values['val/loss_se']:.4f}, train {values['eval/train_loss']:.4f}{speed}"
        )
        if not math.isfinite(val):
            raise NonFinite(f"The validation loss became {val} at step {self.step}.", self.report.grad_norms)
        if val >= self.best_val:
            return False
        self.best_val, self.best_step = val, self.step
        if self.step:
            self.journal.event("best", self.step, text=f"val {val:.4f}", val_loss=val)
        return True

    def measure(self, tokens: Tokens, starts: NDArray[np.int64]) -> Evaluation:
        loop, T = self.loop, self.config.model.block_size
        return evaluate(loop.run, tokens, starts, T, loop.batches.micro_batch, loop.device, loop.autocast)

    def has_room(self) -> bool:
        """False, after a short wait, while the journal is full: points are never thinned, so training waits."""
        if not self.journal.full:
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

    def obey(self) -> str | None:
        """Carry out what was asked for since the last step; the outcome where that ends the attempt."""
        for word, *arguments in self.commands.take():
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
            elif word == "delete" and len(arguments) == 2 and all(a.isdecimal() for a in arguments):
                self.keeper.delete(int(arguments[0]), int(arguments[1]))
            else:
                self.journal.log(f"unknown command: {word} {' '.join(arguments)}", "warn")
        if self.commands.terminate:
            self.save({"interval"})
            return "requeue"
        return None

    def save(self, reasons: set[str]) -> None:
        self.pause_clock()
        if broken := not_finite(self.model):  # a checkpoint of it would push a good one out
            raise NonFinite(f"The weights {broken} are not finite after step {self.step}.", self.report.grad_norms)
        state = {
            "run": self.job.run,
            "best_val": self.best_val,
            "best_step": self.best_step,
            "wall_s": self.report.wall_s,
            "tokens": self.step * self.config.tokens_per_step,
            "dataset_sha256": self.corpus.sha256,
            "numeric_path": asdict(self.path),
            "scaler": self.loop.scaler.state_dict(),
            "batch": self.relief.cut(),
            "config": self.config.model_dump(),
        }
        random = self.corpus.random_states(self.step)
        self.keeper.save(self.step, reasons, self.model, self.optimizer, self.loop.device, state, self.val_loss, random)


def attempt(run_dir: Path, job: Job, journal: Sink, commands: Commands) -> int:
    """Run the attempt, write to the journal how it ended and return the exit code."""
    training = Training(run_dir, job, journal, commands)
    try:
        outcome = training.run()
    except endings.EXPECTED as error:
        training.keeper.wait()
        return endings.failed(error, training.step, run_dir, journal)
    training.keeper.wait()
    journal.telemetry(outcome=outcome)
    return EXITS[outcome]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m worker.train", description="One attempt of one run.")
    parser.add_argument("run_dir", type=Path, help="holds config.json; the journal and the checkpoints go there")
    parser.add_argument("--attempt", type=int, required=True, help="1 for a run's first")
    given = parser.parse_args(arguments)
    commands = Commands()
    commands.heed_sigterm()
    # A pipe is the agent's, and its end is the agent's end; a terminal or /dev/null gives no commands.
    if stat.S_ISFIFO(fstat(sys.stdin.fileno()).st_mode):
        commands.listen(sys.stdin.buffer)
    content = json.loads((given.run_dir / "config.json").read_bytes())
    job = Job.model_validate({**content, "attempt": given.attempt})
    journal = Journal(job.journal or given.run_dir / "journal" / f"a{given.attempt}.journal")
    return attempt(given.run_dir, job, journal, commands)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
