"""nanoGPT's ckpt.pt: read without running anything in it, and written so that nanoGPT's `--init_from=resume` goes on from it.

The file holds the weights by name, AdamW's moments by position, and three small dictionaries. Positions are
turned into names by the order in which nanoGPT hands its parameters to AdamW: first every tensor with two
dimensions or more, then the rest, each in the order of definition.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from worker.model import GPT
from worker.optim import parameter_groups
from worker.torchfile import Described, TorchFile, Unreadable

HEAD, EMBEDDING = "lm_head.weight", "transformer.wte.weight"
_PREFIXES = ("_orig_mod.", "module.")  # of a compiled model, of a distributed one
_MASKS = (".attn.bias", ".attn.masked_bias")  # constants that nanoGPT saved where torch had no flash attention
MOMENTS = ("exp_avg", "exp_avg_sq", "step")
SIZES = ("n_layer", "n_head", "n_embd", "block_size", "vocab_size")


class Misshapen(Unreadable):
    """The file can be read, and is no checkpoint of nanoGPT's model."""


class Checkpoint(NamedTuple):
    """What a run is continued from, in this project's names."""

    model_args: dict[str, Any]  #: n_layer, n_head, n_embd, block_size, vocab_size, bias, dropout
    weights: dict[str, Tensor]  #: float32; the tied head once, as the token embedding
    moments: dict[str, Tensor]  #: {"exp_avg/<tensor>": …}; empty before the first update
    step: int  #: finished updates: nanoGPT's iter_num
    best_val: float | None
    settings: dict[str, Any]  #: train.py's config: learning_rate, max_iters…


def skeleton(model_args: Mapping[str, Any]) -> GPT:
    """The model without memory for its weights: names, shapes and their order."""
    sizes = {key: model_args[key] for key in SIZES}
    with torch.device("meta"):
        return GPT(**sizes, dropout=model_args["dropout"], bias=model_args["bias"])


def read(path: Path) -> Checkpoint:
    """Raises Unreadable; OSError where there is no such file."""
    with TorchFile(path) as file:
        content = file.content
        if not isinstance(content, dict) or not {"model", "model_args", "iter_num"} <= content.keys():
            raise Misshapen("It has no model, model_args and iter_num: nanoGPT's train.py did not write it.")
        described = _weights(content["model"])
        model_args = _model_args(content["model_args"], described)
        model = skeleton(model_args)
        _compare({name: each.size for name, each in described.items()}, model)
        # Before the tensors are read: what is wrong should be said at once.
        moments = _moments(content.get("optimizer"), model)
        step = content["iter_num"]
        if type(step) is not int or step < 0:
            raise Misshapen(f"iter_num is {step!r:.40}.")
        settings = content.get("config", {})
        return Checkpoint(
            model_args=model_args,
            weights={name: _float(file, described[name]) for name, _ in model.named_parameters()},
            moments={
                name: _float(file, each) if isinstance(each, Described) else torch.tensor(float(each))
                for name, each in moments.items()
            },
            step=step,
            best_val=_number(file, content.get("best_val_loss")),
            settings=settings if isinstance(settings, dict) else {},
        )


def write(
    path: Path, checkpoint: Checkpoint, *, lr: float, betas: tuple[float, float], eps: float, decay: float
) -> None:
    """Write a ckpt.pt; it appears under its name only when it is whole.

    Without moments nanoGPT's optimiser starts from zero. The last four become those of its AdamW, whose saved
    values nanoGPT keeps at a resume (all but lr).
    """
    model = skeleton(checkpoint.model_args)
    _compare({name: tuple(tensor.shape) for name, tensor in checkpoint.weights.items()}, model)
    weights = dict(checkpoint.weights)
    weights[HEAD] = weights[EMBEDDING]  # one storage in the file as well
    groups = [
        {"params": group["params"], "weight_decay": group["weight_decay"]} for group in parameter_groups(model, decay)
    ]
    # Not fused: whichever device nanoGPT resumes on, this setting fits.
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps).state_dict()
    if checkpoint.moments:
        optimizer["state"] = {
            index: {key: checkpoint.moments[f"{key}/{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
            for index, name in enumerate(_positions(model))
        }
    content = {
        "model": {name: weights[name] for name in model.state_dict()},
        "optimizer": optimizer,
        "model_args": dict(checkpoint.model_args),
        "iter_num": checkpoint.step,
        "best_val_loss": 1e9 if checkpoint.best_val is None else checkpoint.best_val,  # nanoGPT's own "none yet"
        "config": dict(checkpoint.settings),
    }
    temporary = path.with_name(f".{path.name}.new")
    try:
        # nanoGPT's format is torch.save's; no file that this project reads back is written so.
        torch.save(content, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _weights(state: Any) -> dict[str, Described]:
    if not isinstance(state, dict):
        raise Misshapen("Its model is no dictionary of weights.")
    described: dict[str, Described] = {}
    for name, value in state.items():
        plain = str(name)
        for prefix in _PREFIXES:
            plain = plain.removeprefix(prefix)
        if plain.endswith(_MASKS):
            continue
        if not isinstance(value, Described) or not value.storage.dtype.is_floating_point:
            raise Misshapen(f"{plain[:100]} is no tensor of weights.")
        described[plain] = value
    head = described.pop(HEAD, None)
    if head is not None and head != described.get(EMBEDDING):
        raise Misshapen("Its output head is not tied to the token embedding, as nanoGPT's always is.")
    return described


def _model_args(given: Any, described: Mapping[str, Described]) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise Misshapen("Its model_args are no dictionary.")
    for key in SIZES:
        # Far above any GPT, far below what could not be laid out.
        if type(given.get(key)) is not int or not 1 <= given[key] <= 10_000_000 or given["n_layer"] > 1000:
            raise Misshapen(f"model_args[{key!r}] is {given.get(key)!r:.40}, which is no size.")
    if given["n_embd"] % given["n_head"]:
        raise Misshapen(f"The width {given['n_embd']} is not a multiple of the {given['n_head']} heads.")
    dropout = given.get("dropout", 0.0)
    if type(dropout) not in (int, float) or not 0 <= dropout < 1:
        raise Misshapen(f"model_args['dropout'] is {dropout!r:.40}.")
    # The first versions of nanoGPT had no such setting, and biases always.
    bias = given.get("bias", "transformer.ln_f.bias" in described)
    return {**{key: given[key] for key in SIZES}, "bias": bool(bias), "dropout": float(dropout)}


def _compare(here: Mapping[str, tuple[int, ...]], model: GPT) -> None:
    wanted = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    if dict(here) != wanted:
        odd = next(name for name in sorted(here.keys() | wanted) if here.get(name) != wanted.get(name))
        raise Misshapen(f"{odd[:100]} is {here.get(odd)}; a model of its sizes has {wanted.get(odd)}.")


def _positions(model: GPT) -> list[str]:
    """The tensor behind each of AdamW's positions."""
    return [name for group in parameter_groups(model, 0.0) for name in group["names"]]


def _moments(optimizer: Any, model: GPT) -> dict[str, Any]:
    """{"exp_avg/<tensor>": Described, …, "step/<tensor>": Described or a number}; empty where there are none."""
    if not isinstance(optimizer, dict) or not isinstance(optimizer.get("state"), dict) or not optimizer["state"]:
        return {}
    positions = _positions(model)
    state, shapes = optimizer["state"], dict(model.named_parameters())
    try:
        groups = [list(group["params"]) for group in optimizer["param_groups"]]
        sizes = [len(group["params"]) for group in parameter_groups(model, 0.0)]
        numbered = [index for group in groups for index in group] == list(range(len(positions)))
        if [len(group) for group in groups] != sizes or not numbered:
            raise Misshapen("Its optimiser does not hold nanoGPT's two groups, matrices and the rest.")
        moments = {f"{key}/{name}": state[index][key] for index, name in enumerate(positions) for key in MOMENTS}
    except (KeyError, TypeError) as error:
        raise Misshapen(f"Its optimiser is not AdamW with a moment for each tensor: {error}") from error
    for key, value in moments.items():
        kind, _, name = key.partition("/")
        shape = () if kind == "step" else tuple(shapes[name].shape)
        if value.size != shape if isinstance(value, Described) else kind != "step" or type(value) not in (int, float):
            raise Misshapen(f"The optimiser's {key[:100]} does not fit its tensor.")
    return moments


def _float(file: TorchFile, described: Described) -> Tensor:
    return file.tensor(described).float()


def _number(file: TorchFile, value: Any) -> float | None:
    """nanoGPT keeps its best loss as a tensor, or as 1e9 before there is one."""
    if isinstance(value, Described) and not value.size:
        value = float(file.tensor(value))
    return float(value) if type(value) in (int, float) and value < 1e8 else None
