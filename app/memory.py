"""What a run's training step holds in memory, part by part, before it starts. Pure: shapes in, bytes out.

Per micro-batch of B sequences of T tokens, L layers, width C, H heads, vocabulary V, N parameters; fp32 master
weights, flash attention. Bytes per token and layer are the tensors that autograd keeps for the backward pass:
counted with saved-tensor hooks on this very network (tests/test_memory.py counts again), and the totals agree
with what was published for GPT-2 124M on 12, 24 and 80 GB cards.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

from app.contract.arithmetic import (
    ATTENTION_LONGEST,
    ATTENTION_ROWS,
    ATTENTION_SHORTEST,
    LOSS_BLOCK_ROWS,
    loss_in_chunks,
    loss_rows,
)
from app.contract.config import ModelConfig, RunConfig

GIB = 2**30
TIGHT = 0.92
"""Above this share of the free memory an estimate that is a few percent low would not fit."""
LARGEST_MICRO_BATCH = 4096
OFFERS = 3

Verdict = Literal["fits", "tight", "too_large"]


class Arithmetic(NamedTuple):
    """What decides the bytes of a step besides its shape."""

    device: str = "cuda"  #: cuda, mps or cpu
    dtype: str = "bfloat16"  #: float32, or the type of autocast over float32 weights
    compiled: bool = True
    recompute: bool = False  #: a block's activations are computed again in the backward pass
    chunked: bool = False  #: the logits of all tokens never exist at once
    within_documents: bool = False  #: attention adds a mask, context by context, that all layers share


@dataclass(frozen=True)
class Memory:
    """Bytes of each part, and of all on the device."""

    weights: int
    gradients: int
    moments: int
    autocast_copies: int
    activations: int
    logits: int
    in_flight: int  #: gradients on their way through one block
    overhead: int  #: context, workspaces and fragmentation; on a CPU the interpreter and its libraries

    @property
    def total(self) -> int:
        return sum(self.parts().values())

    def parts(self) -> dict[str, int]:
        """In the order in which they are shown."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def estimate(
    model: ModelConfig,
    micro_batch: int,
    parameters: int,
    vocab_size: int,
    arithmetic: Arithmetic = Arithmetic(),
    *,
    muon_parameters: int = 0,
) -> Memory:
    """The peak of one training step; `parameters` and `vocab_size` as the worker builds them (padded).

    Weights, gradients and both Adam moments are 4 bytes a parameter each (Muon keeps one moment of its matrices);
    autocast and torch.compile hold a 2-byte copy of the weights beside them.
    """
    a, half = arithmetic, arithmetic.dtype != "float32"
    if a.device == "cpu":
        return _estimate_cpu(model, micro_batch * model.block_size, parameters, vocab_size, a, muon_parameters)
    tokens = micro_batch * model.block_size
    held = {
        "weights": 4 * parameters,
        "gradients": 4 * parameters,
        "moments": 8 * parameters - 4 * muon_parameters,
        "autocast_copies": 2 * parameters if half else 0,
        "activations": tokens * activation_bytes_per_token(model, a),
        "logits": vocab_size * logit_bytes(model, a, tokens),
        "in_flight": tokens * 16 * model.n_embd,
    }
    return Memory(**held, overhead=_overhead(sum(held.values()), a.device))


def _estimate_cpu(
    model: ModelConfig, tokens: int, parameters: int, vocab_size: int, a: Arithmetic, muon_parameters: int
) -> Memory:
    """The largest of a step's five moments. A CPU's allocator has neither pools nor a margin of its own, so that a sum of
    what never exists together would be up to 80 % too much (recomputation, large vocabularies)."""
    half = a.dtype != "float32"
    table = 4 * vocab_size * model.n_embd
    copies = 2 * parameters if half else 0
    layer = tokens * layer_bytes_per_token(model, a)
    kept = tokens * activation_bytes_per_token(model, a)
    in_flight = tokens * (8 if half else 12) * model.n_embd
    logits = vocab_size * logit_bytes(model, a, tokens)
    if a.chunked:  # computed with the loss: the head's gradient, and a chunk's share of it before it is added
        logits += table + (table // 2 if half else 0)
    forward = kept - (layer if a.recompute else 0)
    moments: tuple[dict[str, int], ...] = (
        {"activations": forward, "autocast_copies": copies, "logits": logits},
        # Backward through the last block: nothing is freed yet, and the head's gradient exists.
        {
            "activations": kept,
            "autocast_copies": 0 if a.recompute else copies,
            "gradients": table,
            "in_flight": in_flight,
        },
        # Through the first: every other's gradients exist, and what it kept or has computed again.
        {"gradients": max(0, 4 * (parameters - 12 * model.n_embd**2)), "activations": layer, "in_flight": in_flight},
        # Its end: a tied table has its gradient as a head, its gradient as an embedding, and their sum.
        {"gradients": 4 * parameters, "in_flight": max(in_flight, 2 * table if model.tied_head else 0)},
        # The update: Newton-Schulz rounds hold seven times the matrices of one shape, a third of them all.
        {"gradients": 4 * parameters, "in_flight": 28 * muon_parameters // 3},
    )
    peak = max(moments, key=lambda parts: sum(parts.values()))
    nothing = dict.fromkeys(("gradients", "autocast_copies", "activations", "logits", "in_flight"), 0)
    held = {"weights": 4 * parameters, "moments": 8 * parameters - 4 * muon_parameters, **nothing, **peak}
    return Memory(**held, overhead=_overhead(sum(held.values()) - held["logits"], "cpu"))


def activation_bytes_per_token(model: ModelConfig, arithmetic: Arithmetic) -> int:
    """What the backward pass needs of the blocks, for each token.

    In bf16 a layer keeps 36·C: the residual stream twice in fp32 (4 + 4), and in 2 bytes each both norms' outputs
    (2 + 2), q, k, v (6), attention's output (2), the MLP's hidden layer before and after GELU (8 + 8); in fp32 all of
    it takes 4 bytes: 64·C. Beside it the log-sum-exp of each head (4·H) and the norms' statistics (16). torch.compile
    saves the same. 8·C: the final norm and its input, and the embedding's dropout mask. With recomputation a block keeps its input (4·C), and one block
    at a time exists as a whole.
    """
    layer = layer_bytes_per_token(model, arithmetic)
    tail = (8 + (_mask_bytes(arithmetic) if model.dropout else 0)) * model.n_embd
    if arithmetic.within_documents:
        tail += model.block_size * (4 if arithmetic.dtype == "float32" else 2)
    if arithmetic.recompute:
        return model.n_layer * 4 * model.n_embd + layer + tail
    return model.n_layer * layer + tail


def layer_bytes_per_token(model: ModelConfig, arithmetic: Arithmetic) -> int:
    half = arithmetic.dtype != "float32"
    channels = (36 if half else 64) + _query_key_bytes(model, half)
    scores = _probability_bytes(model, arithmetic) or 4 * model.n_head
    return channels * model.n_embd + scores + 16 + _dropout_bytes(model, arithmetic)


def _probability_bytes(model: ModelConfig, arithmetic: Arithmetic) -> int:
    """Of worker.attention, which keeps each query's probabilities up to the end of its block; 0 elsewhere."""
    T = model.block_size
    dtype = "float32" if arithmetic.dtype == "float32" else "bfloat16"
    if arithmetic.device != "cpu" or model.dropout:
        return 0
    if dtype == "float32" and (arithmetic.compiled or arithmetic.chunked):
        return 0
    if not ATTENTION_SHORTEST[dtype] <= T <= ATTENTION_LONGEST:
        return 0
    rows = ATTENTION_ROWS[dtype]
    ends = [min(first + rows, T) for first in range(0, T, rows)]
    pairs = sum((end - first) * end for first, end in zip([0, *ends], ends, strict=False))
    return (4 if dtype == "float32" else 2) * model.n_head * pairs // T


def _query_key_bytes(model: ModelConfig, half: bool) -> int:
    """Of queries and keys that are normalised or turned: a second copy of each, and the norm's fp32 in between. Counted
    in the same way; the squared ReLU keeps as much as GELU."""
    if model.qk_norm:
        return 14 if half else 12
    if model.positions == "rope":
        return 6 if half else 12
    return 0


def _dropout_bytes(model: ModelConfig, arithmetic: Arithmetic) -> int:
    """Per token and layer. Accelerators keep a byte for each of the two branches' elements and draw attention's mask again
    from its seed. A CPU keeps the masks in the type of what they mask, and its attention, which has no flash kernel
    with dropout, the probabilities before and after and their mask, in fp32 either way: quadratic in the context.
    """
    if not model.dropout:
        return 0
    quadratic = 0
    if arithmetic.device == "cpu":
        quadratic = (12 if arithmetic.dtype == "float32" else 14) * model.n_head * model.block_size
    return 2 * _mask_bytes(arithmetic) * model.n_embd + quadratic


def _mask_bytes(arithmetic: Arithmetic) -> int:
    if arithmetic.device != "cpu":
        return 1
    return 4 if arithmetic.dtype == "float32" else 2


def logit_bytes(model: ModelConfig, arithmetic: Arithmetic, tokens: int) -> int:
    """Bytes per vocabulary entry at the peak, in the loss's backward pass.

    Eager bf16: logits 2, log-softmax 4, its gradient 4, that gradient cast 2. Eager fp32: 4 of each; on a CPU, where
    nothing waits for the device, the logits are gone by then. Compiled: the logits and their gradient, all else being
    fused. In chunks: a chunk's logits, turned into their gradient in place, and a block's in float32 with their softmax.
    A soft cap keeps the tanh as well.
    """
    a, half = arithmetic, arithmetic.dtype != "float32"
    if a.chunked:
        rows = min(tokens, loss_rows(a.device, a.dtype))
        return rows * (2 if half else 4) + min(rows, LOSS_BLOCK_ROWS[a.device]) * (8 + (8 if model.softcap else 0))
    capped = 4 if model.softcap else 0
    if a.compiled:
        return tokens * ((4 if half else 8) + capped // (2 if half else 1))
    return tokens * ((12 if half or a.device == "cpu" else 16) + capped)


def _overhead(held: int, device: str) -> int:
    """Of an accelerator: 8 % that the allocator reserves beyond what it hands out, and 0.6 GiB for the context and
    the workspaces of the matrix library. A CPU's process starts with a third of a GiB, and between the blocks that it
    holds lie holes of 15 %; the logits' own pages go back to the system."""
    if device == "cpu":
        return int(0.15 * held + 0.32 * GIB)
    return int(0.08 * held + 0.6 * GIB)


def largest_micro_batch(
    model: ModelConfig,
    free_gib: float,
    parameters: int,
    vocab_size: int,
    arithmetic: Arithmetic = Arithmetic(),
    *,
    muon_parameters: int = 0,
) -> int:
    """The most sequences that fit into so much free memory; 0 where not even one does."""
    low, high = 0, LARGEST_MICRO_BATCH
    while low < high:
        middle = (low + high + 1) // 2
        memory = estimate(model, middle, parameters, vocab_size, arithmetic, muon_parameters=muon_parameters)
        if memory.total <= free_gib * GIB:
            low = middle
        else:
            high = middle - 1
    return low


def judge(total: int, free_gib: float) -> Verdict:
    if total > free_gib * GIB:
        return "too_large"
    return "tight" if total > TIGHT * free_gib * GIB else "fits"


@dataclass(frozen=True)
class Offer:
    """The same tokens per step, cut differently."""

    micro_batch: int
    accumulation: int


def offers(micro_batch: int, accumulation: int, most: int) -> list[Offer]:
    """The largest micro-batches up to `most` that keep the sequences of a step, best first."""
    sequences = micro_batch * accumulation
    small = {d for d in range(1, math.isqrt(sequences) + 1) if sequences % d == 0}
    fitting = sorted((d for d in small | {sequences // d for d in small} if d <= most), reverse=True)
    return [Offer(d, sequences // d) for d in fitting[:OFFERS]]


@dataclass(frozen=True)
class Fit:
    """A run on one device."""

    device: str  #: its name
    free_gib: float
    total_gib: float  #: what the run takes there
    parts_gib: dict[str, float]
    verdict: Verdict
    largest_micro_batch: int
    offers: tuple[Offer, ...]  #: none where it fits


def arithmetic_of(config: RunConfig, vocab_size: int, device: str, memory_gib: float = 0.0) -> Arithmetic:
    """`auto` resolved as a worker with such a device resolves it (worker/devices.py), a bf16 card taken for granted."""
    system = config.system
    dtype = system.dtype if system.dtype != "auto" else "bfloat16" if device == "cuda" else "float32"
    compiled = device == "cuda" if system.compile == "auto" else system.compile == "on"
    tokens = config.batch.micro_batch * config.model.block_size
    pays = loss_in_chunks(device, dtype, tokens * vocab_size, compiled=compiled, memory_bytes=memory_gib * GIB)
    chunked = pays if system.chunked_loss == "auto" else system.chunked_loss == "on"
    respects = config.data.boundaries == "respect"
    return Arithmetic(device, dtype, compiled, system.recompute, chunked, respects)


def fits(
    config: RunConfig,
    parameters: int,
    vocab_size: int,
    devices: Sequence[Mapping[str, Any]],
    *,
    muon_parameters: int = 0,
) -> list[Fit]:
    """How the run sits on each device that may take it: workers' device entries (kind, name, memory_gib and, where
    known, free_gib). Devices of another kind than the run asks for, and those of unknown memory, are left out."""
    found, batch = [], config.batch
    for device in devices:
        free_gib = device.get("free_gib") or device.get("memory_gib")
        if not free_gib or config.system.device not in ("auto", device["kind"]):
            continue
        arithmetic = arithmetic_of(config, vocab_size, device["kind"], device.get("memory_gib") or free_gib)
        size = partial(largest_micro_batch, parameters=parameters, vocab_size=vocab_size, arithmetic=arithmetic)
        memory = estimate(
            config.model, batch.micro_batch, parameters, vocab_size, arithmetic, muon_parameters=muon_parameters
        )
        verdict = judge(memory.total, free_gib)
        comfortable = size(config.model, TIGHT * free_gib, muon_parameters=muon_parameters)
        found.append(
            Fit(
                device=str(device["name"]),
                free_gib=float(free_gib),
                total_gib=memory.total / GIB,
                parts_gib={name: part / GIB for name, part in memory.parts().items()},
                verdict=verdict,
                largest_micro_batch=size(config.model, free_gib, muon_parameters=muon_parameters),
                offers=tuple(offers(batch.micro_batch, batch.accumulation, comfortable)) if verdict != "fits" else (),
            )
        )
    return found
