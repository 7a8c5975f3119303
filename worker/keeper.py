"""A run's checkpoints: writes them, says so in the journal, deletes those no longer kept, and puts one back."""

from collections.abc import Mapping
from pathlib import Path
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
    ) -> bool:
        """Whether there is a checkpoint of `step` now; a disk that has no room costs the checkpoint, not the run."""
        path = checkpoint.folder(self.run_dir, self.attempt, step)
        existing = next((each for each in checkpoint.found(self.run_dir) if each.path == path), None)
        try:
            if existing:
                saved = checkpoint.rewrite_reasons(existing, existing.reasons | reasons)
            else:
                # A resume from here takes the points up to here for granted: they go to the disk first.
                if self.journal_path.exists():
                    checkpoint.fsync(self.journal_path)
                saved = checkpoint.save(
                    self.run_dir, self.attempt, step,
                    model=dict(model.named_parameters()), optimizer=optim.moments(optimizer) | random_states(device),
                    state=state, reasons=reasons, run=self.run, val_loss=val_loss,
                )  # fmt: skip
        except OSError as error:
            self.journal.event("alarm", step, text=f"No checkpoint at step {step}: {error}"[:2000])
            return False
        self._announce(saved)
        self._prune(state["best_step"])
        return True

    def delete(self, attempt: int, step: int) -> None:
        path = checkpoint.folder(self.run_dir, attempt, step)
        if path.is_dir():
            checkpoint.delete(path)
        self.journal.event("checkpoint_deleted", step, attempt=attempt, step=step)

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
            self.delete(each.attempt, each.step)
        for each in demoted:
            self._announce(checkpoint.rewrite_reasons(each, each.reasons - {"best"}))


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

    λ, the betas and lr stay the configuration's. On another kind of device than the checkpoint's, its
    generator stays as seeded.
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
    torch.set_rng_state(moments["rng/cpu"])
    if device.type == "cuda" and "rng/cuda" in moments:
        torch.cuda.set_rng_state(moments["rng/cuda"], device)
    elif device.type == "mps" and "rng/mps" in moments:
        torch.mps.set_rng_state(moments["rng/mps"])
