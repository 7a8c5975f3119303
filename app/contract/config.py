"""RunConfig: everything that decides what a training run computes.

Every field carries its title, unit, bounds, help and default; the form, the API docs, the command
line and the worker all read them from here. The order of fields within a section matters: a check
that involves two fields stands on the later one, so that its message lands at that field.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ValidationInfo


def setting(default: Any, title: str, help: str, *, unit: str = "", usual: str = "", **bounds: Any) -> Any:
    """A pydantic Field with the extras a form needs: `unit` stands beside the input, `usual` below it."""
    return Field(default, title=title, description=help, json_schema_extra={"unit": unit, "usual": usual}, **bounds)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True, validate_default=True)


def refuse(kind: str, message: str, **values: Any) -> PydanticCustomError:
    """A validation error whose text is a whole sentence, without pydantic's "Value error," in front."""
    return PydanticCustomError(kind, message, values)


class ModelConfig(Section):
    """The network: GPT-2's architecture (pre-LN, GELU, tied embeddings)."""

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


class DataConfig(Section):
    """What the run reads."""

    dataset: str = setting("builtin", "Dataset", "A dataset's id (d-0001) or name.", min_length=1, max_length=200)
    sampler: Literal["shuffled", "random"] = setting(
        "shuffled", "Sampler",
        "shuffled: every window once per epoch, in an order fixed by the seed. random: windows drawn with replacement, as nanoGPT does.",
    )  # fmt: skip


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


class ScheduleConfig(Section):
    """How long, and the learning rate over that time: linear warm-up, then cosine to the floor."""

    steps: int = setting(1000, "Steps", "Optimiser steps in the whole run.", unit="steps", ge=1, le=100_000_000)
    lr: float = setting(
        1e-3, "Learning rate, peak", "The learning rate at the end of the warm-up.", usual="3e-4 to 1.8e-3", gt=0, le=10
    )
    min_lr: float = setting(
        1e-4, "Learning rate, floor", "Where the cosine ends; a tenth of the peak, or 0, is common.", ge=0, le=10
    )
    warmup_steps: int = setting(100, "Warm-up", "Steps of linear rise to the peak.", unit="steps", ge=0, le=100_000_000)
    decay_steps: int | None = setting(
        None,
        "Decay ends at",
        "Step at which the floor is reached; empty means the last step.",
        unit="steps",
        ge=1,
        le=100_000_000,
    )

    @field_validator("min_lr")
    @classmethod
    def _floor_below_peak(cls, min_lr: float, info: ValidationInfo) -> float:
        lr = info.data.get("lr")
        if lr is not None and min_lr > lr:
            raise refuse(
                "floor_above_peak", "The floor {min_lr} is above the peak {lr}; give a floor between 0 and {lr}.",
                min_lr=min_lr, lr=lr,
            )  # fmt: skip
        return min_lr

    @field_validator("warmup_steps")
    @classmethod
    def _warmup_within_run(cls, warmup_steps: int, info: ValidationInfo) -> int:
        steps = info.data.get("steps")
        if steps is not None and warmup_steps > steps:
            raise refuse(
                "warmup_too_long", "The warm-up of {warmup_steps} steps is longer than the run of {steps}; 1 to 5 % of the run is usual.",
                warmup_steps=warmup_steps, steps=steps,
            )  # fmt: skip
        return warmup_steps

    @field_validator("decay_steps")
    @classmethod
    def _decay_after_warmup(cls, decay_steps: int | None, info: ValidationInfo) -> int | None:
        warmup = info.data.get("warmup_steps")
        if decay_steps is not None and warmup is not None and decay_steps < warmup:
            raise refuse(
                "decay_before_warmup", "The decay ends at step {decay_steps}, before the warm-up does (step {warmup}).",
                decay_steps=decay_steps, warmup=warmup,
            )  # fmt: skip
        return decay_steps


class OptimConfig(Section):
    """AdamW with decoupled weight decay: each step multiplies decayed weights by 1 − lr·λ."""

    weight_decay: float = setting(
        0.1,
        "Weight decay λ",
        "Decoupled decay; each step shrinks decayed weights by lr·λ.",
        usual="0.01 to 0.3",
        ge=0,
        le=1000,
    )
    decay_embeddings: bool = setting(
        True,
        "Decay embeddings",
        "Matrices always decay; biases, norms and other 1-D tensors never do. Tied embeddings are also the output head.",
    )
    beta1: float = setting(0.9, "β₁", "Decay rate of the gradient average.", usual="0.9", ge=0, lt=1)
    beta2: float = setting(
        0.95,
        "β₂",
        "Decay rate of the squared-gradient average; its horizon is 1/(1−β₂) steps.",
        usual="0.95 to 0.99",
        ge=0,
        lt=1,
    )
    eps: float = setting(1e-8, "ε", "Added to Adam's denominator.", usual="1e-8", gt=0, le=1)
    clip: float = setting(
        1.0, "Gradient clip", "Largest gradient norm; 0 turns clipping off.", unit="norm", usual="1.0", ge=0, le=1e6
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
    dtype: Literal["auto", "float32", "bfloat16"] = setting(
        "auto", "Precision", "auto: bfloat16 autocast where the device gains from it (CUDA with bf16), else float32."
    )
    compile: Literal["auto", "on", "off"] = setting(
        "auto", "Compile", "torch.compile; auto: on for CUDA. Compiling takes up to a minute before the first step."
    )
    threads: int = setting(0, "CPU threads", "0 uses all cores the worker may use.", unit="threads", ge=0, le=1024)


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
