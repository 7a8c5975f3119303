"""What a run will cost and whether its λ can matter, before it starts. Pure: a config in, numbers and sentences out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from app import decay, memory
from app.contract.config import ModelConfig, RunConfig
from app.contract.dataset import Manifest
from app.memory import Fit, Memory

TOKENS_PER_PARAMETER = 20.0
"""About compute-optimal for one pass over the data (Hoffmann et al. 2022)."""
MANY_EPOCHS = 4.0
"""Up to about four passes, repeated tokens are worth almost as much as fresh ones (Muennighoff et al. 2305.16264)."""
GPT2_VOCAB = 50257


class Caution(NamedTuple):
    kind: str
    text: str


class Parameters(NamedTuple):
    total: int  #: with both embeddings
    without_embeddings: int  #: blocks and final norm
    decayed: int  #: in matrices and, if they are decayed, embeddings


@dataclass(frozen=True)
class Preflight:
    """Everything the panel beside the launch form shows. Times in s, rates per step; None where it cannot be known."""

    vocab_size: int
    vocab_known: bool  #: False: the dataset has none yet, GPT-2's was taken
    parameters: int
    parameters_without_embeddings: int
    parameters_decayed: int
    first_step: int  #: where a fork starts; what follows is about the steps after it
    steps: int
    tokens_per_step: int
    total_tokens: int
    tokens_per_parameter: float
    epochs: float | None
    total_decay: float  #: Λ
    init_keep: float  #: share of the weights it starts from that is left at the end
    effective_decay: float  #: lr·λ at the peak
    timescale_steps: float | None
    timescale_tokens: float | None
    timescale_epochs: float | None
    half_life_steps: float | None
    rms_equilibrium: float | None
    decay_verdict: decay.Verdict
    flops: float  #: of the whole training, without evaluations
    checkpoint_bytes: int  #: weights and both moments, float32
    checkpoints_bytes: int  #: the most that are kept at once
    memory: Memory  #: bytes by part at the peak of a step
    memory_bytes: int
    memory_device: str  #: the kind of device that `memory` is for
    memory_fits: tuple[Fit, ...]  #: on each device that may take the run; empty where none is known
    tok_per_s: float | None
    seconds: float | None
    warnings: tuple[Caution, ...]


def padded_vocab(vocab_size: int, pad: bool) -> int:
    """Rounded up to a multiple of 64, as the worker does for its matrix units."""
    return -(-vocab_size // 64) * 64 if pad else vocab_size


def count_parameters(model: ModelConfig, vocab_size: int, decay_embeddings: bool = True) -> Parameters:
    """Parameters of worker/model.py's GPT: a tied head counted once; `vocab_size` already padded."""
    width, layers = model.n_embd, model.n_layer
    matrices = _block_matrices(model)  # of each layer: qkv 3, proj 1, fc 4, proj 4
    norms = (2 * layers + 1) * width
    if model.bias:
        norms += layers * (3 + 1 + 4 + 1) * width + (2 * layers + 1) * width
    embeddings = (vocab_size + (model.block_size if model.positions == "learned" else 0)) * width
    head = 0 if model.tied_head else vocab_size * width  # a matrix, so it decays whatever embeddings do
    return Parameters(
        total=matrices + norms + embeddings + head,
        without_embeddings=matrices + norms,
        decayed=matrices + head + (embeddings if decay_embeddings else 0),
    )


def flops_per_token(model: ModelConfig, vocab_size: int) -> float:
    """6N + 12·L·d·T, N without the tables that are only looked up (PaLM's appendix B; nanoGPT's estimate_mfu)."""
    parameters = count_parameters(model, vocab_size).without_embeddings + vocab_size * model.n_embd
    return 6.0 * parameters + 12.0 * model.n_layer * model.n_embd * model.block_size


def shape_key(config: RunConfig, dtype: str) -> str:
    """What a measured speed belongs to: "L4 C128 T128 B12 float32"; on two devices "L4 C128 T128 B12x2 float32"."""
    model, devices = config.model, config.system.devices
    shared = f"x{devices}" if devices > 1 else ""
    return f"L{model.n_layer} C{model.n_embd} T{model.block_size} B{config.batch.micro_batch}{shared} {dtype}"


def measured_speed(config: RunConfig, speeds: Mapping[str, float] | None) -> float | None:
    """Tokens/s measured for this shape, in any precision while the run leaves that open."""
    dtype = config.system.dtype
    if dtype != "auto":
        return (speeds or {}).get(shape_key(config, dtype))
    start = shape_key(config, "")
    return max((speed for shape, speed in (speeds or {}).items() if shape.startswith(start)), default=None)


def preflight(
    config: RunConfig,
    manifest: Manifest | None,
    speeds: Mapping[str, float] | None,
    devices: Sequence[Mapping[str, Any]] = (),
    first_step: int = 0,
) -> Preflight:
    """`devices`: the entries (kind, name, memory_gib, free_gib) of the workers that may take the run.

    A fork starts at `first_step`: its tokens, time and decay are those of the steps that are left.
    """
    schedule, optim = config.schedule, config.optim
    weight_decay = decay.coupled(schedule, optim)
    raw_vocab = manifest.tokenizer.vocab_size if manifest else GPT2_VOCAB
    vocab_size = padded_vocab(raw_vocab, config.model.pad_vocab)
    parameters = count_parameters(config.model, vocab_size, config.optim.decay_embeddings)
    steps = schedule.steps - first_step
    tokens = config.tokens_per_step * steps
    train_tokens = manifest.train.tokens if manifest else None
    total = decay.total_decay(schedule, optim, first_step)
    timescale = decay.timescale_steps(schedule.lr, weight_decay)
    speed = measured_speed(config, speeds)
    muon = _block_matrices(config.model) if optim.optimizer == "muon" else 0
    fits = memory.fits(config, parameters.total, vocab_size, devices, muon_parameters=muon)
    kind = config.system.device
    if kind == "auto":
        kind = max(devices, key=lambda device: device.get("memory_gib") or 0.0)["kind"] if devices else "cuda"
    largest = max((device.get("memory_gib") or 0.0 for device in devices if device["kind"] == kind), default=0.0)
    arithmetic = memory.arithmetic_of(config, vocab_size, kind, largest)
    needed = memory.estimate(
        config.model, config.batch.micro_batch, parameters.total, vocab_size, arithmetic, muon_parameters=muon
    )
    # Weights and both of Adam's moments; Muon has one for the blocks' matrices.
    moments = 2 * parameters.total - muon
    checkpoint_bytes = 4 * (parameters.total + moments)
    kept = 3 + (
        config.checkpoint.keep_last if config.checkpoint.every else 0
    )  # start, best and end beside the last few
    return Preflight(
        vocab_size=vocab_size,
        vocab_known=manifest is not None,
        parameters=parameters.total,
        parameters_without_embeddings=parameters.without_embeddings,
        parameters_decayed=parameters.decayed,
        first_step=first_step,
        steps=steps,
        tokens_per_step=config.tokens_per_step,
        total_tokens=tokens,
        tokens_per_parameter=config.total_tokens / parameters.total,
        epochs=tokens / train_tokens if train_tokens else None,
        total_decay=total,
        init_keep=decay.init_keep(total),
        effective_decay=schedule.lr * weight_decay,
        timescale_steps=_finite(timescale),
        timescale_tokens=_finite(timescale * config.tokens_per_step),
        timescale_epochs=_finite(timescale * config.tokens_per_step / train_tokens) if train_tokens else None,
        half_life_steps=_finite(decay.half_life_steps(schedule.lr, weight_decay)),
        rms_equilibrium=_finite(decay.rms_equilibrium(schedule.lr, weight_decay)),
        decay_verdict=decay.judge(total, weight_decay),
        flops=flops_per_token(config.model, vocab_size) * tokens,
        checkpoint_bytes=checkpoint_bytes,
        checkpoints_bytes=kept * checkpoint_bytes,
        memory=needed,
        memory_bytes=needed.total,
        memory_device=kind,
        memory_fits=tuple(fits),
        tok_per_s=speed,
        seconds=tokens / speed if speed else None,
        warnings=(*_memory_warnings(config, fits), *_warnings(config, manifest, total, parameters, first_step)),
    )


def _block_matrices(model: ModelConfig) -> int:
    return model.n_layer * 12 * model.n_embd * model.n_embd


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _warnings(
    config: RunConfig, manifest: Manifest | None, total: float, parameters: Parameters, first_step: int
) -> list[Caution]:
    schedule, weight_decay = config.schedule, decay.coupled(config.schedule, config.optim)
    given = config.optim.weight_decay
    found: list[Caution] = []
    if config.optim.optimizer == "adam_l2" and given:
        found.append(
            Caution(
                "decay_l2",
                "With adam_l2, λ goes through the gradient and Adam's denominator: Λ and its timescale say nothing here. AdamW decays as they say.",
            )
        )
    if manifest is not None:
        found += _data_warnings(config, manifest)
    match decay.judge(total, weight_decay):
        case "inert" if not first_step:  # a fork's few steps come after all those in which λ has worked
            needed = given * decay.INFORMATIVE[0] / total if total else math.inf
            say = f"; λ ≥ {needed:.2g} would be visible" if math.isfinite(needed) else ""
            found.append(
                Caution(
                    "decay_inert",
                    f"λ = {given:g} cannot matter in this run: Λ = Σ lr·λ = {total:.2g}, {decay.init_keep(total):.0%} of the initial weights are left{say}.",
                )
            )
        case "over":
            found.append(
                Caution(
                    "decay_over",
                    f"λ = {given:g} is very strong here: Λ = {total:.3g}; weights are forgotten every {decay.timescale_steps(schedule.lr, weight_decay):,.0f} steps.",
                )
            )
        case _:
            pass
    if schedule.lr * weight_decay >= 1:
        found.append(
            Caution(
                "decay_step",
                f"lr·λ = {schedule.lr * weight_decay:.3g} wipes out or flips every decayed weight in one step; keep it far below 1.",
            )
        )
    if config.checkpoint.every == 0 and schedule.steps > 20_000:
        found.append(
            Caution("few_checkpoints", "Only start, best and end are kept: a crash goes back to the best one.")
        )
    per_parameter = config.total_tokens / parameters.total
    if per_parameter < 1:
        found.append(
            Caution(
                "few_tokens",
                f"{per_parameter:.2g} tokens per parameter; about {TOKENS_PER_PARAMETER:.0f} are compute-optimal, so a smaller model would learn more in this time.",
            )
        )
    return found  # fmt: skip


def _memory_warnings(config: RunConfig, fits: list[Fit]) -> list[Caution]:
    """Nothing as long as the run sits well on one device that may take it."""
    if not fits or any(fit.verdict == "fits" for fit in fits):
        return []
    best = min(fits, key=lambda fit: fit.total_gib / fit.free_gib)
    where = f"about {best.total_gib:.1f} GiB of {best.device}'s {best.free_gib:.1f} GiB"
    cuts = [offer for offer in best.offers if offer.micro_batch != config.batch.micro_batch]
    if cuts:
        way_out = f" Micro-batch {cuts[0].micro_batch} with accumulation {cuts[0].accumulation} is the same step."
    elif config.system.recompute:
        way_out = " Take a smaller model or a shorter context."
    else:
        way_out = " Recompute activations, or take a smaller model or a shorter context."
    if best.verdict == "tight":
        return [Caution("memory_tight", f"A step takes {where}: it may run out of memory.{way_out}")]
    return [Caution("memory_too_large", f"A step takes {where}: it does not fit.{way_out}")]


def _data_warnings(config: RunConfig, manifest: Manifest) -> list[Caution]:
    found: list[Caution] = []
    window = config.model.block_size + 1
    for split, tokens in (("training", manifest.train.tokens), ("validation", manifest.val.tokens)):
        if tokens < window:
            found.append(
                Caution(
                    "data_too_small", f"The {split} split has {tokens:,} tokens, fewer than one window of {window:,}."
                )
            )
    epochs = config.total_tokens / max(1, manifest.train.tokens)
    if epochs > MANY_EPOCHS:
        found.append(
            Caution(
                "many_epochs",
                f"{epochs:.1f} passes over the data; beyond about {MANY_EPOCHS:.0f}, repeated tokens teach less and over-fitting becomes likely.",
            )
        )
    windows = manifest.val.tokens // config.model.block_size
    if 0 < windows < config.eval.windows:
        found.append(
            Caution(
                "few_windows",
                f"The validation split has {windows:,} windows of this length; all of them are used instead of {config.eval.windows:,}.",
            )
        )
    return found  # fmt: skip
