"""GPT-2 in Hugging Face's layout: every tensor arrives where it belongs, the right way round."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from worker import gpt2_weights
from worker.model import GPT

ARGS = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 8, "vocab_size": 11, "bias": True, "dropout": 0.0}
CONFIG = {"model_type": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 16, "n_positions": 8, "vocab_size": 11}


def model(**changes: Any) -> GPT:
    torch.manual_seed(0)
    made = GPT(**{**ARGS, **changes})
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()  # biases and norms too, which start at 0 and 1
    return made


def theirs(gpt: GPT) -> dict[str, torch.Tensor]:
    """Its weights in the layout of the published model.safetensors: no prefix, Conv1D, the mask as a tensor."""
    conv = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    named = {name.removeprefix("transformer."): tensor.detach() for name, tensor in gpt.named_parameters()}
    named = {name: (t.t() if name.endswith(conv) else t).contiguous() for name, t in named.items()}
    return named | {"h.0.attn.bias": torch.ones(1, 1, 8, 8).tril()}


def write(folder: Path, tensors: dict[str, torch.Tensor], **config: Any) -> Path:
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    return folder


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_published_weights_are_loaded(tmp_path: Path, prefix: str) -> None:
    gpt = model()
    tensors = {prefix + name: tensor for name, tensor in theirs(gpt).items()}
    if prefix:
        tensors["lm_head.weight"] = gpt.lm_head.weight.detach().clone()
    loaded = gpt2_weights.load(write(tmp_path, tensors))
    assert loaded.model_args == ARGS
    assert list(loaded.weights) == [name for name, _ in gpt.named_parameters()]
    assert all(torch.equal(loaded.weights[name], parameter) for name, parameter in gpt.named_parameters())


def test_what_is_saved_computes_what_the_model_computes(tmp_path: Path) -> None:
    gpt = model()
    gpt2_weights.save(tmp_path, ARGS, dict(gpt.named_parameters()))
    w = load_file(tmp_path / "model.safetensors")
    config = json.loads((tmp_path / "config.json").read_bytes())
    assert config["activation_function"] == "gelu"
    assert (config["model_type"], config["n_positions"], config["tie_word_embeddings"]) == ("gpt2", 8, True)
    assert w["h.0.attn.c_attn.weight"].shape == (16, 48), "(in, out)"

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x, (16,), w[f"{name}.weight"], w[f"{name}.bias"], config["layer_norm_epsilon"])

    def conv(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ w[f"{name}.weight"] + w[f"{name}.bias"]  # Conv1D

    idx = torch.randint(11, (2, 8))
    x = w["wte.weight"][idx] + w["wpe.weight"]
    for layer in ("h.0", "h.1"):
        q, k, v = (
            t.view(2, 8, 2, 8).transpose(1, 2)
            for t in conv(norm(x, f"{layer}.ln_1"), f"{layer}.attn.c_attn").split(16, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(2, 8, 16)
        x = x + conv(y, f"{layer}.attn.c_proj")
        x = x + conv(F.gelu(conv(norm(x, f"{layer}.ln_2"), f"{layer}.mlp.c_fc")), f"{layer}.mlp.c_proj")
    expected = norm(x, "ln_f") @ w["wte.weight"].t()
    torch.testing.assert_close(gpt(idx, idx)[0], expected, rtol=1e-4, atol=1e-4)


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    gpt = model()
    gpt2_weights.save(tmp_path, ARGS, dict(gpt.named_parameters()))
    loaded = gpt2_weights.load(tmp_path)
    assert loaded.model_args == ARGS
    assert all(torch.equal(loaded.weights[name], parameter) for name, parameter in gpt.named_parameters())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_missing_biases_become_zeros(tmp_path: Path) -> None:
    plain = model(bias=False)
    gpt2_weights.save(tmp_path, ARGS | {"bias": False}, dict(plain.named_parameters()))
    loaded = gpt2_weights.load(tmp_path)
    filled = GPT(**ARGS)
    with torch.no_grad():
        for name, parameter in filled.named_parameters():
            parameter.copy_(loaded.weights[name])
    idx = torch.arange(8)[None]
    torch.testing.assert_close(filled(idx, idx)[0], plain(idx, idx)[0])


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (lambda t, c: t.pop("ln_f.weight"), r"ln_f\.weight should be \(16,\) and is missing"),
        (lambda t, c: t.update({"wte.weight": torch.zeros(12, 16)}), r"wte\.weight should be \(11, 16\) and is \(12, 16\)"),
        (lambda t, c: t.update({"h.0.attn.c_attn.weight": torch.zeros(48, 16)}), r"should be \(16, 48\) and is \(48, 16\)"),
        (lambda t, c: t.update({"score.weight": torch.zeros(2)}), "score.weight is no tensor of GPT-2"),
        (lambda t, c: t.update({"lm_head.weight": torch.zeros(11, 16)}), "not tied"),
        (lambda t, c: c.update(model_type="llama"), "'llama'"),
        (lambda t, c: c.update(n_head=0), "n_head is 0"),
        (lambda t, c: c.update(n_head=3), "not a multiple of the 3 heads"),
        (lambda t, c: c.update(n_inner=99), "an MLP of 99"),
    ],
)  # fmt: skip
def test_another_model_is_refused_by_name(tmp_path: Path, break_it: Any, told: str) -> None:
    tensors, config = theirs(model()), dict(CONFIG)
    break_it(tensors, config)
    with pytest.raises(gpt2_weights.NotGPT2, match=told):
        gpt2_weights.load(write(tmp_path, tensors, **config))


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(gpt2_weights.NotGPT2, match=r"has no model\.safetensors"):
        gpt2_weights.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(gpt2_weights.NotGPT2, match="damaged or not in the safetensors format"):
        gpt2_weights.load(tmp_path)
    save_file(theirs(model()), tmp_path / "model.safetensors")
    with pytest.raises(gpt2_weights.NotGPT2, match=r"has no config.json, and the number of heads"):
        gpt2_weights.load(tmp_path)
