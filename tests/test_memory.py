"""The memory estimate against published totals (GPT-2 on 12, 24 and 80 GB cards), against resident memory measured
on a CPU, and against the bytes that autograd really keeps."""

import contextlib
import importlib.util

import pytest

from app import memory, preflight
from app.contract.config import ModelConfig, RunConfig
from app.contract.presets import PRESETS
from app.memory import GIB, Arithmetic, Offer

EAGER, COMPILED = Arithmetic(compiled=False), Arithmetic()
CHUNKED = COMPILED._replace(chunked=True)
RECOMPUTED = CHUNKED._replace(recompute=True)
SMALL = ModelConfig(n_layer=12, n_head=12, n_embd=768, block_size=1024)
MEDIUM = ModelConfig(n_layer=24, n_head=16, n_embd=1024, block_size=1024)
CHARACTERS = ModelConfig(n_layer=6, n_head=6, n_embd=384, block_size=256)
VOCAB = 50_304


def total_gib(model: ModelConfig, micro_batch: int, arithmetic: Arithmetic, vocab_size: int = VOCAB) -> float:
    parameters = preflight.count_parameters(model, vocab_size).total
    return memory.estimate(model, micro_batch, parameters, vocab_size, arithmetic).total / GIB


# The design's table of GiB on the device, checked there against reports: GPT-2 124M at B16 does not fit a 12 GB card
# and B8 does; a 24 GB card takes B16; the largest that fits a 12 GB card with 0.5 GiB for the desktop.
@pytest.mark.parametrize(
    ("model", "arithmetic", "batches", "gib"),
    [
        (SMALL, EAGER, (4, 8, 12, 16, 32, 64), (6.8, 10.7, 14.7, 18.6, 34.3, 65.8)),
        (SMALL, COMPILED, (4, 8, 12, 16, 32, 64), (5.1, 7.4, 9.7, 11.95, 21.1, 39.3)),
        (SMALL, CHUNKED, (4, 8, 12, 16, 32, 64), (4.5, 6.0, 7.4, 8.8, 14.6, 26.2)),
        (SMALL, RECOMPUTED, (4, 8, 12, 16, 32, 64), (3.4, 3.7, 4.1, 4.4, 5.8, 8.5)),
        (MEDIUM, EAGER, (1, 2, 4, 8), (8.6, 10.1, 13.3, 19.5)),
        (MEDIUM, COMPILED, (1, 2, 4, 8), (8.2, 9.3, 11.6, 16.2)),
        (MEDIUM, CHUNKED, (1, 2, 4, 8), (8.2, 9.1, 11.0, 14.7)),
        (MEDIUM, RECOMPUTED, (1, 2, 4, 8), (7.4, 7.6, 7.9, 8.5)),
    ],
)
def test_the_table_of_gpt2_on_a_card(model, arithmetic, batches, gib):
    assert [total_gib(model, batch, arithmetic) for batch in batches] == pytest.approx(gib, abs=0.051)


@pytest.mark.parametrize(("model", "largest"), [(SMALL, (8, 15, 23)), (MEDIUM, (2, 3, 4))])
def test_the_largest_micro_batch_on_a_12_gb_card(model, largest):
    parameters = preflight.count_parameters(model, VOCAB).total
    found = [
        memory.largest_micro_batch(model, 11.5, parameters, VOCAB, arithmetic)
        for arithmetic in (EAGER, COMPILED, CHUNKED)
    ]
    assert tuple(found) == largest
    assert memory.largest_micro_batch(model, 1.0, parameters, VOCAB) == 0


def test_nanochats_d12_on_an_80_gb_card():
    """Its log says 34 GB for B32 T2048 V32768; the estimate may be up to a tenth above."""
    model = ModelConfig(n_layer=12, n_head=6, n_embd=768, block_size=2048)
    parameters = preflight.count_parameters(model, 32_768).without_embeddings + 2 * 32_768 * 768  # an untied head
    assert 34.0 <= memory.estimate(model, 32, parameters, 32_768).total / GIB <= 34.0 * 1.1


@pytest.mark.parametrize(
    ("vocab_size", "dtype", "chunked", "mib"),
    [
        (65, "float32", False, 888),
        (65, "bfloat16", False, 751),
        (VOCAB, "float32", False, 2259),
        (VOCAB, "float32", True, 1252),
        (VOCAB, "bfloat16", False, 2185),
    ],
)
def test_resident_memory_measured_on_a_cpu(vocab_size, dtype, chunked, mib):
    """Peak resident memory of bench/side.py, three steps of 6 layers, 384 wide, 256 tokens, B8; torch 2.13, glibc 2.36."""
    arithmetic = Arithmetic("cpu", dtype, compiled=False, chunked=chunked)
    assert total_gib(CHARACTERS, 8, arithmetic, vocab_size) * 1024 == pytest.approx(mib, rel=0.1)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed (worker extra)")
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("recompute", "switches"),
    [
        (False, {}),
        (True, {}),
        (False, {"qk_norm": True, "positions": "rope", "activation": "relu2", "softcap": 15.0}),
        (False, {"positions": "rope"}),
    ],
)
def test_activations_are_the_bytes_that_autograd_keeps(dropout, dtype, recompute, switches):
    import torch

    from worker.model import GPT

    # No two of: batch·context, vocabulary and the sides of the matrices are equal, so a shape says what a tensor is.
    shape = ModelConfig(n_layer=4, n_head=4, n_embd=128, block_size=128, dropout=dropout, **switches)
    batch, vocab_size = 5, 1000
    model = GPT(vocab_size, 128, 4, 4, 128, dropout, **switches)
    model.transformer.recompute = recompute
    model.attend(blocked=True)
    matrices = {tuple(t.shape) for p in model.parameters() if p.dim() == 2 for t in (p, p.t())}
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own and tuple(tensor.shape) not in matrices:
            kept[tensor.untyped_storage().data_ptr()] = tensor  # alive, so that no address is used twice
        return tensor

    tokens = torch.randint(vocab_size, (batch, 128))
    autocast = torch.autocast("cpu", torch.bfloat16) if dtype == "bfloat16" else contextlib.nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), autocast:
        model(tokens, tokens)
    activations = [tensor for tensor in kept.values() if vocab_size not in tensor.shape]
    counted = sum(tensor.untyped_storage().nbytes() for tensor in activations) / tokens.numel()

    arithmetic = Arithmetic("cpu", dtype, compiled=False, recompute=recompute)
    expected = memory.activation_bytes_per_token(shape, arithmetic)
    if recompute:  # the hooks see the forward pass, when no block has been computed again yet
        expected -= memory.activation_bytes_per_token(shape.model_copy(update={"n_layer": 1}), arithmetic)
        expected += (4 + 8 + (4 if dropout else 0)) * shape.n_embd  # what those two terms have in common
    assert counted == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_attention_within_documents_keeps_one_mask_for_all_layers(dtype):
    import torch

    from worker.model import GPT

    shape = ModelConfig(n_layer=4, n_head=4, n_embd=128, block_size=128)
    model = GPT(1000, 128, 4, 4, 128)
    tokens = torch.randint(1000, (5, 128))
    kept: list[dict[int, torch.Tensor]] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[-1][tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    autocast = torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16")
    for eot in (None, 0):
        model.transformer.eot = eot
        kept.append({})
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), autocast:
            model(tokens, tokens)
    plain, masked = (sum(t.untyped_storage().nbytes() for t in one.values()) / tokens.numel() for one in kept)
    arithmetic = Arithmetic("cuda", dtype)
    expected = [
        memory.activation_bytes_per_token(shape, arithmetic._replace(within_documents=within))
        for within in (False, True)
    ]
    assert masked - plain == pytest.approx(expected[1] - expected[0], abs=16), "and the positions' numbers"


def test_offers_keep_the_tokens_of_a_step():
    assert memory.offers(12, 40, 15) == [Offer(15, 32), Offer(12, 40), Offer(10, 48)]
    assert memory.offers(7, 1, 6) == [Offer(1, 7)]
    assert memory.offers(8, 1, 0) == []


def test_a_run_is_judged_by_the_free_memory_of_each_device_that_may_take_it():
    config = PRESETS["gpt2-124m"].config
    parameters = preflight.count_parameters(config.model, VOCAB).total
    cards = [
        {"kind": "cuda", "name": "small", "memory_gib": 6.0},
        {"kind": "cuda", "name": "shared", "memory_gib": 24.0, "free_gib": 10.0},
        {"kind": "cuda", "name": "large", "memory_gib": 80.0},
        {"kind": "cpu", "name": "processor", "memory_gib": 64.0},
        {"kind": "cuda", "name": "unknown", "memory_gib": None},
    ]
    found = {fit.device: fit for fit in memory.fits(config, parameters, VOCAB, cards)}
    assert {name: fit.verdict for name, fit in found.items()} == {
        "small": "too_large", "shared": "tight", "large": "fits", "processor": "fits",
    }  # fmt: skip
    assert found["shared"].total_gib == pytest.approx(9.7, rel=0.01)
    assert sum(found["shared"].parts_gib.values()) == pytest.approx(found["shared"].total_gib)
    assert found["small"].largest_micro_batch == 8, "its logits are taken in chunks"
    assert found["small"].offers[0] == Offer(6, 80)
    only_cpu = RunConfig.model_validate({"system": {"device": "cpu"}})
    assert [fit.device for fit in memory.fits(only_cpu, parameters, VOCAB, cards)] == ["processor"]


def test_recomputation_and_muon_take_less():
    parameters = preflight.count_parameters(SMALL, VOCAB).total
    plain = memory.estimate(SMALL, 8, parameters, VOCAB)
    lean = memory.estimate(SMALL, 8, parameters, VOCAB, COMPILED._replace(recompute=True), muon_parameters=1000)
    assert lean.activations < plain.activations / 4
    assert plain.moments - lean.moments == 4000
