"""A run's checkpoints: writes them while training goes on, says so in the journal, deletes those no longer kept, and puts one back."""

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import torch

from worker import checkpoint, optim
from worker.report import Sink


class Misfit(Exception):
    """The checkpoint to go on from is one of another model."""


class Keeper:
    """One attempt's hand on the run's checkpoints."""

    def __init__(
        self, run_dir: Path, run: str, attempt: int, keep_last: int, journal: Sink, journal_path: Path
    ) -> None:
        self.run_dir = run_dir
        self.run = run
        self.attempt = attempt
        self.keep_last = keep_last
        self.journal = journal
        self.journal_path = journal_path
        self._writing: Thread | None = None
        self._broken: Exception | None = None
        self._unsaved = False  # the last checkpoint found no room
        self.first_step = 0  # what earlier attempts wrote after it belongs to a past that was given up

    def save(
        self,
        step: int,
        reasons: set[str],
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        state: Mapping[str, Any],
        val_loss: float | None,
        random: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        """Copy the state, then write it in the background; a disk that has no room costs the checkpoint, not the run.

        Returns once the copy is made; with a write still under way it waits for that first, so there is one at a time.
        """
        self.wait()
        path = checkpoint.folder(self.run_dir, self.attempt, step)
        existing = next((each for each in checkpoint.found(self.run_dir) if each.path == path), None)
        write: Callable[[], checkpoint.Found]
        if existing:
            write = partial(checkpoint.rewrite_reasons, existing, existing.reasons | reasons)
        else:
            write = partial(
                checkpoint.save, self.run_dir, self.attempt, step,
                model=copied(dict(model.named_parameters())),
                optimizer=copied(optim.moments(optimizer) | random_states(device) | dict(random or {})),
                state=dict(state), reasons=set(reasons), run=self.run, val_loss=val_loss,
            )  # fmt: skip
        # Not a daemon: a process that ends in an orderly way still finishes the write.
        self._writing = Thread(target=self._write, args=(write, step, state["best_step"]), name="checkpoint")
        self._writing.start()

    def wait(self) -> None:
        """Until nothing is being written; raises what went wrong other than a disk without room."""
        if self._writing is not None:
            self._writing.join()
            self._writing = None
        if self._broken is not None:
            broken, self._broken = self._broken, None
            raise broken

    def _write(self, write: Callable[[], checkpoint.Found], step: int, best_step: int) -> None:
        try:
            # A resume from here takes the points up to here for granted: they go to the disk first.
            if self.journal_path.exists():
                checkpoint.fsync(self.journal_path)
            # Said before older ones are deleted: the server must never be left with checkpoints that are gone.
            self._announce(write())
            self._prune(best_step)
            self._unsaved = False
        except OSError as error:
            self._tell_unsaved(step, error)
        except Exception as error:  # of the writer's thread, told to training's
            self._broken = error

    def _tell_unsaved(self, step: int, error: OSError) -> None:
        """An alarm for the first checkpoint that found no room, a line of the log for each that follows it."""
        newest = max((each.step for each in checkpoint.found(self.run_dir)), default=None)
        left = "no checkpoint is there" if newest is None else f"the newest stays that of step {newest}"
        text = f"No checkpoint at step {step}: {error}; {left}."
        if self._unsaved:
            self.journal.log(text, "warn")
            return
        self._unsaved = True
        free = shutil.disk_usage(self.run_dir).free / 1e6 if self.run_dir.exists() else 0.0
        advice = f"Training goes on. Make room on the disk of {self.run_dir}, where {free:,.0f} MB are free, or delete checkpoints."
        self.journal.event("alarm", step, text=f"{text} {advice}"[:2000])

    def delete(self, attempt: int, step: int) -> None:
        """For a person who asked for it."""
        self.wait()
        self._delete(attempt, step)

    def _delete(self, attempt: int, step: int) -> None:
        path = checkpoint.folder(self.run_dir, attempt, step)
        if path.is_dir():
            checkpoint.delete(path)
        if attempt > 0:  # nobody has heard of what a fork brought along
            self.journal.event("checkpoint_deleted", step, attempt=attempt, step=step)

    def to_go_on_from(self, asked: Path | None) -> Path | None:
        """The checkpoint asked for if every byte of it is as it was written, else an older one that is, said aloud."""
        if asked is None:
            return None
        try:
            checkpoint.verify(asked)
        except checkpoint.Damaged as error:
            older = checkpoint.newest_verified(self.run_dir, at_most=int(asked.name.removeprefix("step-")))
            instead = f"going on from {older.name}" if older else "starting afresh"
            self.journal.event("alarm", text=f"The checkpoint {asked.name} is damaged; {instead}. {error}"[:2000])
            return older
        return asked

    def _announce(self, saved: checkpoint.Found) -> None:
        manifest = saved.manifest
        facts = {key: manifest[key] for key in ("attempt", "step", "kept", "bytes", "val_loss")}
        text = f"{manifest['kept']}, {manifest['bytes'] / 1e6:.1f} MB"
        self.journal.event("checkpoint", saved.step, text=text, **facts, manifest=manifest)

    def _prune(self, best_step: int) -> None:
        past: list[checkpoint.Found] = []
        given_up: list[checkpoint.Found] = []
        for each in checkpoint.found(self.run_dir):
            of_this_past = each.attempt == self.attempt or (
                each.attempt < self.attempt and each.step <= self.first_step
            )
            (past if of_this_past else given_up).append(each)
        gone, demoted = checkpoint.surplus(past, best_step, self.keep_last)
        for each in gone + [each for each in given_up if each.attempt < self.attempt and "asked" not in each.reasons]:
            self._delete(each.attempt, each.step)
        for each in demoted:
            self._announce(checkpoint.rewrite_reasons(each, each.reasons - {"best"}))


def copied(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """On the host, of their own memory: training may go on changing the originals."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def not_finite(model: torch.nn.Module) -> str | None:
    """The first parameter that holds something not finite. One look at the device, whatever the number of tensors."""
    named = dict(model.named_parameters())
    flags = torch.stack([parameter.isfinite().all() for parameter in named.values()]).tolist()
    return next((name for name, finite in zip(named, flags, strict=True) if not finite), None)


def random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """The states of the generators that dropout draws from, as uint8."""
    states = {"rng/cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["rng/cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["rng/mps"] = torch.mps.get_rng_state()
    return states


def restore(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    weights: Mapping[str, torch.Tensor],
    moments: Mapping[str, torch.Tensor],
    device: torch.device,
) -> None:
    """Weights, moments and random states of a checkpoint; raises Misfit before anything has changed.

    λ, the betas and lr stay the configuration's. On another kind of device than the checkpoint's, and for a fork
    with another seed, the generator stays as seeded.
    """
    parameters = dict(model.named_parameters())
    here = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    there = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if here != there:
        odd = next(name for name in sorted(here | there) if here.get(name) != there.get(name))
        raise Misfit(f"The checkpoint does not fit the model: {odd} is {there.get(odd)} there, {here.get(odd)} here.")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    optim.load_moments(optimizer, moments)
    if "rng/cpu" in moments:
        torch.set_rng_state(moments["rng/cpu"])
    if device.type == "cuda" and "rng/cuda" in moments:
        torch.cuda.set_rng_state(moments["rng/cuda"], device)
    elif device.type == "mps" and "rng/mps" in moments:
        torch.mps.set_rng_state(moments["rng/mps"])
