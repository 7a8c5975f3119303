"""Checkpoints from and to other projects' files; the input is never changed.

    python -m worker.convert from-nanogpt ckpt.pt FOLDER        FOLDER/checkpoints/a1/step-…
    python -m worker.convert to-nanogpt CHECKPOINT ckpt.pt      for nanoGPT's --init_from=resume
    python -m worker.convert from-gpt2 GPT2_FOLDER FOLDER       model.safetensors and config.json, as Hugging Face has them
    python -m worker.convert to-gpt2 CHECKPOINT GPT2_FOLDER

CHECKPOINT is a folder step-…, which is verified first. Exit code 0, or 1 with one sentence that says why not.
"""

import argparse
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError

from app.contract.config import ModelConfig, RunConfig
from worker import checkpoint, devices, gpt2_weights, nanogpt
from worker.torchfile import Unreadable

EXPECTED = (Unreadable, gpt2_weights.NotGPT2, checkpoint.Damaged, FileNotFoundError, IsADirectoryError)
_PLAIN = ("n_layer", "n_head", "n_embd", "block_size", "dropout", "bias")
"""ModelConfig's fields that nanoGPT has too; any other has to stand at its default."""

_SETTINGS = {
    "batch_size": ("batch", "micro_batch"),
    "gradient_accumulation_steps": ("batch", "accumulation"),
    "max_iters": ("schedule", "steps"),
    "learning_rate": ("schedule", "lr"),
    "min_lr": ("schedule", "min_lr"),
    "warmup_iters": ("schedule", "warmup_steps"),
    "lr_decay_iters": ("schedule", "decay_steps"),
    "weight_decay": ("optim", "weight_decay"),
    "beta1": ("optim", "beta1"),
    "beta2": ("optim", "beta2"),
    "grad_clip": ("optim", "clip"),
    "eval_interval": ("eval", "every"),
}
"""train.py's settings and where they stand here."""


class Other(Unreadable):
    """The checkpoint is one that the other project has no model for."""


class Taken(NamedTuple):
    """Another project's checkpoint, saved as one of ours."""

    saved: checkpoint.Found
    config: RunConfig
    told: str  #: what came along and what did not, in a sentence


def take_nanogpt(source: Path, folder: Path, run: str = "imported") -> Taken:
    """Raises Unreadable; OSError."""
    found = nanogpt.read(source)
    config, lost = configuration(found.model_args, found.settings)
    saved = _save(folder, found.step, config, found.weights, found.moments, found.best_val, run)
    told = "with AdamW's moments" if found.moments else "without moments: its optimiser starts anew"
    return Taken(saved, config, f"step {found.step}, {told}.{lost}")


def from_nanogpt(source: Path, folder: Path) -> str:
    taken = take_nanogpt(source, folder)
    return f"{taken.saved.path}: {taken.told}"


def to_nanogpt(source: Path, target: Path) -> str:
    weights, others, state, config = _load(source)
    names = list(weights)
    wanted = [f"{key}/{name}" for name in names for key in nanogpt.MOMENTS]
    # Muon has none of AdamW's for the matrices; nanoGPT could not go on with half of them.
    moments = {key: others[key] for key in wanted} if all(key in others for key in wanted) else {}
    best = state["best_val"]
    o = config.optim
    nanogpt.write(
        target,
        nanogpt.Checkpoint(
            model_args=_model_args(config, weights), weights=weights, moments=moments, step=state["step"],
            best_val=best if math.isfinite(best) else None, settings=_settings(config),
        ),
        lr=config.schedule.lr, betas=(o.beta1, o.beta2), eps=o.eps, decay=o.weight_decay,
    )  # fmt: skip
    told = "with AdamW's moments" if moments else "without moments: nanoGPT's optimiser starts anew"
    return f"{target}: step {state['step']}, {told}."


def take_gpt2(source: Path, folder: Path, run: str = "imported") -> Taken:
    """Raises gpt2_weights.NotGPT2; OSError."""
    found = gpt2_weights.load(source)
    config, _ = configuration(found.model_args, {})
    saved = _save(folder, 0, config, found.weights, {}, None, run)
    return Taken(saved, config, f"{sum(tensor.numel() for tensor in found.weights.values()):,} parameters, step 0.")


def from_gpt2(source: Path, folder: Path) -> str:
    taken = take_gpt2(source, folder)
    return f"{taken.saved.path}: {taken.told}"


def to_gpt2(source: Path, folder: Path) -> str:
    weights, _, state, config = _load(source)
    gpt2_weights.save(folder, _model_args(config, weights), weights)
    zeros = "" if config.model.bias else " Biases, which this model lacks and GPT-2 has, are zeros."
    return f"{folder}: the weights of step {state['step']}.{zeros}"


def configuration(model_args: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[RunConfig, str]:
    """(the run's configuration, what of `settings` could not be taken, as a sentence or nothing)."""
    vocab_size = model_args["vocab_size"]
    # A padded vocabulary is a multiple of 64; a tokenizer with as many entries is not padded further.
    model = {**{key: model_args[key] for key in _PLAIN}, "pad_vocab": vocab_size % 64 == 0}
    sections: dict[str, dict[str, Any]] = {"model": model, "data": {"sampler": "nanogpt"} if settings else {}}
    for name, (section, key) in _SETTINGS.items():
        if name in settings:
            sections.setdefault(section, {})[key] = settings[name]
    if type(settings.get("eval_iters")) is type(settings.get("batch_size")) is int:
        sections["eval"]["windows"] = max(2, settings["eval_iters"] * settings["batch_size"])
    try:
        return RunConfig.model_validate(sections), ""
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        if field.startswith("model."):
            raise Other(f"No run here can have such a model: {field}: {error.errors()[0]['msg']}") from error
        return (
            RunConfig.model_validate({"model": model}),
            f" Its settings were not taken: {field}: {error.errors()[0]['msg']}",
        )


def _save(
    folder: Path,
    step: int,
    config: RunConfig,
    weights: Mapping[str, torch.Tensor],
    moments: Mapping[str, torch.Tensor],
    best_val: float | None,
    run: str,
) -> checkpoint.Found:
    # nanoGPT keeps no generator's state and seeds afresh at a resume; so does a run that goes on from here.
    random = {"rng/cpu": torch.Generator().manual_seed(config.system.seed).get_state()}
    state = {
        "run": run,
        "best_val": math.inf if best_val is None else best_val,
        "best_step": step,
        "wall_s": 0.0,
        "tokens": step * config.tokens_per_step,
        "dataset_sha256": None,
        "numeric_path": asdict(devices.numeric_path(config.system, torch.device("cpu"))),
        "config": config.model_dump(),
    }
    return checkpoint.save(
        folder, 1, step, model=weights, optimizer={**moments, **random}, state=state, reasons={"asked"},
        run=run, val_loss=best_val,
    )  # fmt: skip


def _load(
    source: Path,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, Any], RunConfig]:
    """(weights, moments and random states, state, configuration) of a checkpoint that is whole and of GPT-2's architecture."""
    checkpoint.verify(source)
    weights, others, state = checkpoint.load(source)
    config = RunConfig.model_validate(state["config"])
    for key, field in ModelConfig.model_fields.items():
        if key not in (*_PLAIN, "pad_vocab") and getattr(config.model, key) != field.default:
            raise Other(f"The model has {field.title} = {getattr(config.model, key)}, which GPT-2 has not.")
    return weights, others, state, config


def _model_args(config: RunConfig, weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    return {**{key: getattr(config.model, key) for key in _PLAIN}, "vocab_size": len(weights[nanogpt.EMBEDDING])}


def _settings(config: RunConfig) -> dict[str, Any]:
    """nanoGPT's names for what it knows of the configuration."""
    settings = {name: getattr(getattr(config, section), key) for name, (section, key) in _SETTINGS.items()}
    settings["lr_decay_iters"] = settings["lr_decay_iters"] or config.schedule.steps
    settings["eval_iters"] = max(1, config.eval.windows // config.batch.micro_batch)
    return settings


_COMMANDS: dict[str, tuple[Callable[[Path, Path], str], str, str]] = {
    "from-nanogpt": (from_nanogpt, "nanoGPT's ckpt.pt", "folder to make a run's checkpoints in"),
    "to-nanogpt": (to_nanogpt, "a checkpoint's folder, step-…", "the ckpt.pt to write"),
    "from-gpt2": (from_gpt2, "folder with model.safetensors and config.json", "folder to make a run's checkpoints in"),
    "to-gpt2": (to_gpt2, "a checkpoint's folder, step-…", "folder to write model.safetensors and config.json to"),
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m worker.convert", description="Checkpoints from and to other projects' files."
    )
    subparsers = parser.add_subparsers(dest="command", required=True)
    for name, (_, source, target) in _COMMANDS.items():
        command = subparsers.add_parser(name)
        command.add_argument("source", type=Path, help=source)
        command.add_argument("target", type=Path, help=target)
    given = parser.parse_args(arguments)
    try:
        sys.stdout.write(_COMMANDS[given.command][0](given.source, given.target) + "\n")
    except EXPECTED as error:
        sys.stderr.write(f"{given.source}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
