"""What a run will cost and whether its λ can matter, before it starts. Pure: a config in, numbers and sentences out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from app import cautions, decay, decay_groups, decay_laws, decay_outlook, memory
from app.cautions import Caution
from app.contract.config import ModelConfig, RunConfig
from app.contract.dataset import Manifest
from app.diagnosis.scaling import BESIROGLU
from app.memory import Fit, Memory
from app.repetition import Repetition, repetition

GPT2_VOCAB = 50257


class Parameters(NamedTuple):
    total: int  #: with both embeddings
    without_positions: int  #: what scaling laws count: a tied embedding, no table of positions
    without_embeddings: int  #: blocks and final norm


@dataclass(frozen=True)
class Preflight:
    """Everything the panel beside the launch form shows. Times in s, rates per step; None where it cannot be known."""

    vocab_size: int
    vocab_known: bool  #: False: the dataset has none yet, GPT-2's was taken
    parameters: int
    parameters_without_positions: int
    parameters_without_embeddings: int
    parameters_decayed: int
    first_step: int  #: where a fork starts; what follows is about the steps after it
    steps: int
    tokens_per_step: int
    total_tokens: int
    tokens_per_parameter: float  #: of the whole run; parameters without the table of positions
    epochs: float | None  #: of the steps to come
    repetition: Repetition | None  #: of the whole run
    repetition_penalty: float | None  #: nats that repeated tokens cost against new ones, by a scaling law
    total_decay: float  #: Λ
    init_keep: float  #: share of the weights it starts from that is left at the end
    effective_decay: float  #: lr·λ at the peak
    timescale_steps: float | None
    timescale_tokens: float | None
    timescale_epochs: float | None
    half_life_steps: float | None
    rms_equilibrium: float | None  #: at the peak of lr; None where nothing decays, and for Muon's updates
    rotation_equilibrium: float | None  #: radians per step, likewise
    decay_verdict: decay.Verdict
    decayed: decay_groups.Decayed
    decay_outlook: decay_outlook.Outlook
    decay_priors: decay_laws.Priors | None
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


def count_parameters(model: ModelConfig, vocab_size: int) -> Parameters:
    """Parameters of worker/model.py's GPT: a tied head counted once; `vocab_size` already padded."""
    width, layers = model.n_embd, model.n_layer
    matrices = _block_matrices(model)  # of each layer: qkv 3, proj 1, fc 4, proj 4
    norms = (2 * layers + 1) * width
    if model.bias:
        norms += layers * (3 + 1 + 4 + 1) * width + (2 * layers + 1) * width
    positions = model.block_size * width if model.positions == "learned" else 0
    tables = vocab_size * width * (1 if model.tied_head else 2)
    return Parameters(
        total=matrices + norms + tables + positions,
        without_positions=matrices + norms + tables,
        without_embeddings=matrices + norms,
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
    most_devices: int | None = None,
) -> Preflight:
    """`devices`: the entries (kind, name, memory_gib, free_gib) of the workers that may take the run; `most_devices`: how
    many the largest of them has, None where it is not asked.

    A fork starts at `first_step`: its tokens, time and decay are those of the steps that are left.
    """
    schedule, optim = config.schedule, config.optim
    weight_decay = decay.coupled(schedule, optim)
    raw_vocab = manifest.tokenizer.vocab_size if manifest else GPT2_VOCAB
    vocab_size = padded_vocab(raw_vocab, config.model.pad_vocab)
    parameters = count_parameters(config.model, vocab_size)
    steps = schedule.steps - first_step
    tokens = config.tokens_per_step * steps
    train_tokens = manifest.train.tokens if manifest else None
    per_parameter = config.total_tokens / parameters.without_positions
    repeated = repetition(float(config.total_tokens), train_tokens) if train_tokens else None
    penalty = repetition_penalty(parameters.without_positions, repeated) if repeated else None
    decayed = decay_groups.table(config, vocab_size)
    total = decay.total_decay(schedule, optim, first_step)
    timescale = decay.timescale_steps(schedule.lr, weight_decay)
    speed = measured_speed(config, speeds)
    settles = decay_outlook.predictable(optim)
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
        parameters_without_positions=parameters.without_positions,
        parameters_without_embeddings=parameters.without_embeddings,
        parameters_decayed=decayed.parameters,
        first_step=first_step,
        steps=steps,
        tokens_per_step=config.tokens_per_step,
        total_tokens=tokens,
        tokens_per_parameter=per_parameter,
        epochs=tokens / train_tokens if train_tokens else None,
        repetition=repeated,
        repetition_penalty=penalty,
        total_decay=total,
        init_keep=decay.init_keep(total),
        effective_decay=schedule.lr * weight_decay,
        timescale_steps=_finite(timescale),
        timescale_tokens=_finite(timescale * config.tokens_per_step),
        timescale_epochs=_finite(timescale * config.tokens_per_step / train_tokens) if train_tokens else None,
        half_life_steps=_finite(decay.half_life_steps(schedule.lr, weight_decay)),
        rms_equilibrium=_finite(decay.rms_equilibrium(schedule.lr, weight_decay)) if settles else None,
        rotation_equilibrium=(
            decay.rotation_equilibrium(schedule.lr * weight_decay, optim.beta1) if settles and weight_decay else None
        ),
        decay_verdict=decay.judge(total, weight_decay),
        decayed=decayed,
        decay_outlook=decay_outlook.outlook(config, first_step),
        decay_priors=decay_laws.priors(config, parameters.without_positions, train_tokens),
        flops=flops_per_token(config.model, vocab_size) * tokens,
        checkpoint_bytes=checkpoint_bytes,
        checkpoints_bytes=kept * checkpoint_bytes,
        memory=needed,
        memory_bytes=needed.total,
        memory_device=kind,
        memory_fits=tuple(fits),
        tok_per_s=speed,
        seconds=tokens / speed if speed else None,
        warnings=(
            *cautions.of_devices(config, most_devices),
            *cautions.of_memory(config, fits),
            *(cautions.of_data(config, manifest, repeated, penalty) if manifest else ()),
            *cautions.of_decay(config, total, decayed, first_step),
            *cautions.of_length(config, per_parameter),
        ),
    )


def as_json(flight: Preflight) -> dict[str, Any]:
    """Objects all the way down: what REST and `plateau preflight --json` answer."""
    shown = asdict(flight)
    shown["repetition"] = flight.repetition._asdict() if flight.repetition else None
    shown["warnings"] = [warning._asdict() for warning in flight.warnings]
    return shown


def repetition_penalty(parameters: int, repeated: Repetition) -> float:
    """L(N, D′) − L(N, D) in nats: what it costs that the run learns as from D′ new tokens only (2305.16264, 2404.10102)."""
    law = BESIROGLU
    return max(0.0, law.loss(parameters, repeated.worth) - law.loss(parameters, repeated.tokens))


def _block_matrices(model: ModelConfig) -> int:
    return model.n_layer * 12 * model.n_embd * model.n_embd


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
