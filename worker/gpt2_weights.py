"""GPT-2's weights as Hugging Face lays them out: a folder of model.safetensors and config.json, to and from our names.

There the four products of a block are Conv1D, whose weight is (in, out), the transpose of a Linear's. Names
lack the leading "transformer." or have it, the tied head may be there a second time, and old files carry
the causal mask as a tensor. GPT-2 always has biases: a model without gets zeros, which compute the same.

GPT-2 was trained with the tanh form of GELU (gelu_new); here, as in nanoGPT, it is the exact one, which
differs by at most 5e-4 in any activation. What is saved here says so in its config.json.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from worker.nanogpt import EMBEDDING, HEAD, SIZES, skeleton

WEIGHTS, CONFIG = "model.safetensors", "config.json"
_TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
_MASKS = (".attn.bias", ".attn.masked_bias")
_OURS_TO_THEIRS = {
    "n_layer": "n_layer", "n_head": "n_head", "n_embd": "n_embd", "block_size": "n_positions", "vocab_size": "vocab_size",
}  # fmt: skip


class NotGPT2(Exception):
    """The folder does not hold a GPT-2 in this layout; the message says what is missing or different."""


class GPT2(NamedTuple):
    model_args: dict[str, Any]  #: as worker.nanogpt.Checkpoint's
    weights: dict[str, Tensor]  #: float32, by our names; the tied head once


def load(folder: Path) -> GPT2:
    """Raises NotGPT2; OSError where a file cannot be read."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise NotGPT2(f"{folder} has no {WEIGHTS}. Weights in other formats or in several files are not read.")
    try:
        stored = load_file(path)
    except SafetensorError as error:
        raise NotGPT2(f"{path} is damaged or not in the safetensors format: {error}") from error
    theirs = {name.removeprefix("transformer."): tensor for name, tensor in stored.items()}
    head = theirs.pop(HEAD, None)
    theirs = {name: tensor for name, tensor in theirs.items() if not name.endswith(_MASKS)}
    model_args = _model_args(folder)
    weights = {}
    for name, parameter in skeleton(model_args).named_parameters():
        there = theirs.pop(name.removeprefix("transformer."), None)
        shape = tuple(parameter.shape)
        wanted = shape[::-1] if name.endswith(_TRANSPOSED) else shape
        if there is None or tuple(there.shape) != wanted:
            found = "missing" if there is None else f"{tuple(there.shape)}"
            raise NotGPT2(f"{name.removeprefix('transformer.')} should be {wanted} and is {found}.")
        weights[name] = (there.t() if name.endswith(_TRANSPOSED) else there).float().contiguous()
    if theirs:
        raise NotGPT2(f"{sorted(theirs)[0]} is no tensor of GPT-2.")
    if head is not None and not torch.equal(head.float(), weights[EMBEDDING]):
        raise NotGPT2("Its output head is not tied to the token embedding, as GPT-2's is.")
    return GPT2(model_args, weights)


def save(folder: Path, model_args: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Write both files; config.json last."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, parameter in skeleton({**model_args, "bias": True}).named_parameters():
        tensor = weights.get(name)
        if tensor is None:
            assert name.endswith(".bias"), f"{name} is missing"
            tensor = torch.zeros(parameter.shape)
        tensor = tensor.t() if name.endswith(_TRANSPOSED) else tensor
        tensors[name.removeprefix("transformer.")] = tensor.contiguous()
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        **{theirs: model_args[ours] for ours, theirs in _OURS_TO_THEIRS.items()},
        "n_ctx": model_args["block_size"],
        "activation_function": "gelu",
        "layer_norm_epsilon": 1e-5,
        "attn_pdrop": model_args["dropout"],
        "embd_pdrop": model_args["dropout"],
        "resid_pdrop": model_args["dropout"],
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
    }
    for name in (WEIGHTS, CONFIG):  # each appears only when it is whole
        temporary = folder / f".{name}.new"
        if name == WEIGHTS:
            save_file(tensors, temporary, metadata={"format": "pt"})
        else:
            temporary.write_text(json.dumps(config, indent=2) + "\n")
        temporary.replace(folder / name)


def _model_args(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise NotGPT2(f"{folder} has no {CONFIG}, and the number of heads cannot be seen in the weights.")
    try:
        config = json.loads(path.read_bytes())
        sizes = {ours: config[theirs] for ours, theirs in _OURS_TO_THEIRS.items()}
        kind, inner = config["model_type"], config.get("n_inner")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotGPT2(f"{path} is not the configuration of a GPT-2: {error}") from error
    if kind != "gpt2" or inner not in (None, 4 * sizes["n_embd"]):
        raise NotGPT2(f"{path} describes a {kind!r:.40} with an MLP of {inner}, not a GPT-2.")
    for key in SIZES:
        if type(sizes[key]) is not int or not 1 <= sizes[key] <= 10_000_000 or sizes["n_layer"] > 1000:
            raise NotGPT2(f"{path}: {_OURS_TO_THEIRS[key]} is {sizes[key]!r:.40}.")
    if sizes["n_embd"] % sizes["n_head"]:
        raise NotGPT2(f"{path}: the width {sizes['n_embd']} is not a multiple of the {sizes['n_head']} heads.")
    return {**sizes, "bias": True, "dropout": 0.0}
