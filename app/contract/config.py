"""RunConfig: everything that decides what a training run computes.

Every field carries its title, unit, bounds, help and default; the form, the API docs, the command
line and the worker all read them from here. The order of fields within a section matters: a check
that involves two fields stands on the later one, so that its message lands at that field.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_core.core_schema import ValidationInfo

from app.contract import decayed
from app.contract.learning import OptimConfig, ScheduleConfig
from app.contract.setting import Section, refuse, setting
from app.contract.tensors import tensors

__all__ = [
    "BatchConfig", "CheckpointConfig", "DataConfig", "EvalConfig", "ModelConfig", "OptimConfig", "RunConfig",
    "ScheduleConfig", "SystemConfig",
]  # fmt: skip


class ModelConfig(Section):
    """The network: GPT-2's architecture (pre-LN, GELU, learned positions, tied head) unless a switch below says otherwise."""

    n_layer: int = setting(4, "Layers", "Transformer blocks, one after the other.", ge=1, le=128)
    n_head: int = setting(4, "Heads", "Attention heads per layer; must divide the width.", ge=1, le=128)
    n_embd: int = setting(
        128, "Width", "Size of the residual stream (n_embd).", unit="channels", usual="a multiple of 64", ge=8, le=16384
    )
    block_size: int = setting(
        128, "Context", "Tokens the model sees at once (block_size, T).", unit="tokens", ge=8, le=131072
    )
    dropout: float = setting(
        0.0, "Dropout", "Share of activations dropped in training. For one pass over fresh data 0 is best.",
        usual="0 to 0.2", ge=0, le=0.9,
    )  # fmt: skip
    bias: bool = setting(
        False, "Biases", "Biases in linear layers and layer norms, as GPT-2 has; without is a little faster."
    )
    pad_vocab: bool = setting(
        True, "Pad vocabulary", "Round the vocabulary up to a multiple of 64, which matrix units prefer."
    )
    activation: Literal["gelu", "relu2"] = setting(
        "gelu", "Activation", "gelu: GPT-2's. relu2: ReLU squared, cheaper and at least as good."
    )
    positions: Literal["learned", "rope"] = setting(
        "learned", "Positions",
        "learned: one embedding for each position, GPT-2's. rope: queries and keys are rotated by their position; no parameters.",
    )  # fmt: skip
    qk_norm: bool = setting(
        False,
        "QK norm",
        "Normalise queries and keys to RMS 1, so that attention scores stay bounded at high learning rates.",
    )
    zero_init: bool = setting(
        False, "Zero-initialised projections",
        "Output projections of attention and MLP, and an untied head, start at zero: every block begins as the identity.",
    )  # fmt: skip
    tied_head: bool = setting(
        True,
        "Tied head",
        "The output head is the token embedding, as in GPT-2. Untied, the head has weights of its own.",
    )
    softcap: float = setting(
        0.0, "Logit soft cap", "Logits become cap·tanh(logits/cap), which bounds them; 0 turns it off.",
        unit="nats", usual="15 to 30", ge=0, le=1000,
    )  # fmt: skip

    @field_validator("n_embd")
    @classmethod
    def _heads_divide_width(cls, n_embd: int, info: ValidationInfo) -> int:
        n_head = info.data.get("n_head")
        if n_head and n_embd % n_head:
            raise refuse(
                "heads_divide_width", "The width {n_embd} is not a multiple of the {n_head} heads; try {near}.",
                n_embd=n_embd, n_head=n_head, near=max(1, round(n_embd / n_head)) * n_head,
            )  # fmt: skip
        return n_embd

    @field_validator("positions")
    @classmethod
    def _pairs_of_channels(cls, positions: str, info: ValidationInfo) -> str:
        n_head, n_embd = info.data.get("n_head"), info.data.get("n_embd")
        if positions == "rope" and n_head and n_embd and n_embd // n_head % 2:
            raise refuse(
                "rope_turns_pairs", "Rotary positions turn pairs of channels, and {size} channels per head are odd; change width or heads.",
                size=n_embd // n_head,
            )  # fmt: skip
        return positions


class DataConfig(Section):
    """What the run reads."""

    dataset: str = setting("builtin", "Dataset", "A dataset's id (d-0001) or name.", min_length=1, max_length=200)
    sampler: Literal["shuffled", "sequential", "random", "nanogpt"] = setting(
        "shuffled", "Sampler",
        "shuffled: every window once per epoch, in an order fixed by the seed. sequential: every window once per epoch, in the order of the files. random: windows drawn with replacement, as nanoGPT does. nanogpt: for comparing with a run of nanoGPT itself: the very windows it draws with seed 1337, new ones at each evaluation.",
    )  # fmt: skip
    boundaries: Literal["ignore", "respect"] = setting(
        "ignore", "Document boundaries",
        "ignore: a window is the next tokens, wherever documents begin, and attention sees all of them. respect: windows begin where documents do, attention and positions begin anew with each document, and every document that fits into the context is whole in some window; what the end of a window cuts off is read again. Needs end-of-text between documents.",
    )  # fmt: skip

    @field_validator("boundaries")
    @classmethod
    def _windows_of_its_own(cls, boundaries: str, info: ValidationInfo) -> str:
        if boundaries == "respect" and info.data.get("sampler") == "nanogpt":
            raise refuse(
                "nanogpt_ignores_documents", "nanoGPT's windows begin anywhere in the text; with the sampler nanogpt, document boundaries have to be ignored."
            )  # fmt: skip
        return boundaries


class BatchConfig(Section):
    """How many tokens one step sees."""

    micro_batch: int = setting(
        16, "Micro-batch", "Sequences in one forward and backward pass.", unit="sequences", ge=1, le=4096
    )
    accumulation: int = setting(
        1,
        "Accumulation",
        "Micro-batches whose gradients are added up before each step.",
        unit="micro-batches",
        ge=1,
        le=65536,
    )


class EvalConfig(Section):
    """Evaluation in eval mode on fixed windows, the same number from train and val."""

    every: int = setting(
        250,
        "Evaluate every",
        "Steps between evaluations; step 0 and the last step are always evaluated.",
        unit="steps",
        ge=1,
        le=100_000_000,
    )
    windows: int = setting(
        200,
        "Windows",
        "Fixed windows from each split; the standard error falls with their square root.",
        unit="windows",
        ge=2,
        le=1_000_000,
    )
    sample_every: int = setting(
        0, "Sample every", "Steps between texts that the run writes while it trains; 0: none. Training waits for each.",
        unit="steps", ge=0, le=100_000_000,
    )  # fmt: skip
    sample_prompt: str = setting(
        "", "Sample prompt", "What such a text begins with; empty: the start of a document.", max_length=2000
    )
    sample_tokens: int = setting(
        100, "Sample tokens", "Tokens of such a text, at temperature 0.8 and with the run's seed.", unit="tokens", ge=1, le=1000
    )  # fmt: skip


class CheckpointConfig(Section):
    """When the run's state is kept. Start, best and end are always kept."""

    every: int = setting(
        0,
        "Checkpoint every",
        "Steps between checkpoints; 0 keeps start, best and end only.",
        unit="steps",
        ge=0,
        le=100_000_000,
    )
    keep_last: int = setting(
        2, "Keep last", "Interval checkpoints kept; older ones are deleted.", unit="checkpoints", ge=1, le=1000
    )


class SystemConfig(Section):
    """Where and in which arithmetic."""

    seed: int = setting(1337, "Seed", "Fixes the initial weights, the order of data and dropout.", ge=0, le=2**31 - 1)
    device: Literal["auto", "cpu", "cuda", "mps"] = setting("auto", "Device", "auto takes the worker's own device.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        "auto", "Precision",
        "auto: bfloat16 autocast where the device gains from it (CUDA with bf16), else float32. float16 scales the loss and skips steps that overflow; for GPUs without bfloat16.",
    )  # fmt: skip
    tf32: bool = setting(
        False, "TF32", "On CUDA, float32 products may round their factors to 10 bits: about three times as fast."
    )
    compile: Literal["auto", "on", "off"] = setting(
        "auto", "Compile", "torch.compile; auto: on for CUDA. Compiling takes up to a minute before the first step."
    )
    recompute: bool = setting(
        False, "Recompute activations",
        "Keep each block's input only and compute the rest again in the backward pass: the same losses with less memory, about a third slower.",
    )  # fmt: skip
    chunked_loss: Literal["auto", "on", "off"] = setting(
        "auto", "Loss in chunks",
        "on: logits (tokens × vocabulary) exist for at most 1,024 tokens at a time, which saves memory; a CPU with a large vocabulary gets faster, a GPU a little slower. auto: on a CPU from 32 MiB of logits, on a GPU only where they would take more than 1 GiB and a tenth of its memory.",
    )  # fmt: skip
    threads: int = setting(0, "CPU threads", "0 uses all cores the worker may use.", unit="threads", ge=0, le=1024)
    devices: int = setting(
        1, "Devices", "Devices of one worker that share each step's micro-batches; the losses are those of one device. Must divide the accumulation.",
        unit="devices", usual="1 to 8", ge=1, le=64,
    )  # fmt: skip


class RunConfig(Section):
    """All of a run's configuration. An unknown field is refused, never ignored."""

    model: Annotated[ModelConfig, Field(title="Model")] = ModelConfig()
    data: Annotated[DataConfig, Field(title="Data")] = DataConfig()
    batch: Annotated[BatchConfig, Field(title="Batch")] = BatchConfig()
    schedule: Annotated[ScheduleConfig, Field(title="Schedule")] = ScheduleConfig()
    optim: Annotated[OptimConfig, Field(title="Optimiser")] = OptimConfig()
    eval: Annotated[EvalConfig, Field(title="Evaluation")] = EvalConfig()
    checkpoint: Annotated[CheckpointConfig, Field(title="Checkpoints")] = CheckpointConfig()
    system: Annotated[SystemConfig, Field(title="System")] = SystemConfig()

    @field_validator("optim")
    @classmethod
    def _pattern_finds_tensors(cls, optim: OptimConfig, info: ValidationInfo) -> OptimConfig:
        model = info.data.get("model")
        if model is None or optim.decayed != "pattern":
            return optim
        decays = decayed.chosen(optim.decayed, optim.decay_pattern)
        known = tensors(model, vocab_size=1)
        if not any(decays(one.name, len(one.shape)) for one in known):
            raise refuse(
                "pattern_finds_nothing", "“{pattern}” (optim.decay_pattern) matches none of this network's {count} tensors; their names look like {example}.",
                pattern=optim.decay_pattern[:60], count=len(known),
                example=", ".join(one.name for one in known if ".h.0." in one.name)[:200], at="decay_pattern",
            )  # fmt: skip
        return optim

    @field_validator("system")
    @classmethod
    def _devices_share_the_batch(cls, system: SystemConfig, info: ValidationInfo) -> SystemConfig:
        batch = info.data.get("batch")
        if batch is not None and batch.accumulation % system.devices:
            raise refuse(
                "devices_share_the_batch", "The accumulation (batch.accumulation) of {accumulation} micro-batches cannot be shared equally by {devices} devices (system.devices); try {near}.",
                accumulation=batch.accumulation, devices=system.devices,
                near=-(-batch.accumulation // system.devices) * system.devices, at="devices",
            )  # fmt: skip
        return system

    @property
    def tokens_per_step(self) -> int:
        return self.batch.micro_batch * self.batch.accumulation * self.model.block_size

    @property
    def total_tokens(self) -> int:
        return self.tokens_per_step * self.schedule.steps

    def flat(self) -> dict[str, Any]:
        """{"schedule.lr": 0.001, …} in the order of the form."""
        return {
            f"{section}.{key}": value for section, fields in self.model_dump().items() for key, value in fields.items()
        }
