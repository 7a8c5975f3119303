"""The sections of RunConfig that say how weights learn: the learning rate over the run, the optimiser and its weight decay."""

from typing import Any, Literal

from pydantic import field_validator, model_validator
from pydantic_core.core_schema import ValidationInfo

from app.contract import decayed
from app.contract.setting import Section, refuse, setting


class ScheduleConfig(Section):
    """How long, and the learning rate over that time: linear warm-up, then down to the floor in the chosen shape."""

    steps: int = setting(1000, "Steps", "Optimiser steps in the whole run.", unit="steps", ge=1, le=100_000_000)
    lr: float = setting(
        1e-3, "Learning rate, peak", "The learning rate at the end of the warm-up.", usual="3e-4 to 1.8e-3", gt=0, le=10
    )
    min_lr: float = setting(
        1e-4, "Learning rate, floor", "Where the learning rate ends; a tenth of the peak, or 0, is common.", ge=0, le=10
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
    shape: Literal["cosine", "linear", "wsd", "constant"] = setting(
        "cosine", "Learning rate shape",
        "After the warm-up: cosine or linear to the floor; wsd stays at the peak and falls linearly at the end; constant stays.",
    )  # fmt: skip
    cooldown: float = setting(
        0.2, "Cool-down", "wsd only: the last part of the run, in which the learning rate falls to the floor.",
        unit="share of the run", usual="0.1 to 0.4", ge=0, le=1,
    )  # fmt: skip

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
    """AdamW with decoupled weight decay, each step multiplying decayed weights by 1 − lr·λ, and its variants."""

    optimizer: Literal["adamw", "muon", "adam_l2"] = setting(
        "adamw", "Optimiser",
        "adamw: decoupled decay. muon: orthogonalised momentum for the blocks' matrices, AdamW for the rest. adam_l2: λ·w added to the gradient, for comparison only.",
    )  # fmt: skip
    weight_decay: float = setting(
        0.1,
        "Weight decay λ",
        "Decoupled decay; each step shrinks decayed weights by lr·λ.",
        usual="0.01 to 0.3",
        ge=0,
        le=1000,
    )
    decayed: Literal["weights", "matrices", "all", "pattern"] = setting(
        "weights", "Decayed tensors",
        "weights: matrices and embeddings, as nanoGPT and llm.c do. matrices: embeddings are spared, as OLMo-2 spares them; a tied head is the token embedding. all: norms and biases too. pattern: those whose names match.",
    )  # fmt: skip
    decay_pattern: str = setting(
        "", "Name pattern",
        "For decayed = pattern: names of tensors, * standing for any text; several in a row, the last that fits decides; ! takes tensors out again.",
        usual="transformer.h.*.weight !*.ln_*", max_length=1000,
    )  # fmt: skip
    decay_coupling: Literal["lr", "independent"] = setting(
        "lr", "Decay coupled to",
        "lr: a step takes off lr·λ, as PyTorch does. independent: it takes off λ itself whatever lr is; 1e-4 is then much like λ = 0.1 at lr 1e-3.",
    )  # fmt: skip
    decay_schedule: Literal["constant", "linear", "cosine"] = setting(
        "constant", "Decay schedule", "λ over the run: constant, or to zero where the learning rate reaches its floor."
    )
    adamc: bool = setting(
        False, "AdamC correction",
        "The blocks' matrices decay by λ·lr²/peak instead of lr·λ: their gradient norms no longer grow as lr falls.",
    )  # fmt: skip
    cautious: bool = setting(
        False, "Cautious decay", "Decay a weight only where the update also moves it towards zero."
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
    muon_momentum: float = setting(
        0.95, "Muon momentum", "Decay rate of Muon's gradient average (Nesterov).", usual="0.95", ge=0, lt=1
    )
    muon_scale: float = setting(
        0.2, "Muon scale", "RMS of a Muon update in units of lr; 0.2 is AdamW's own, so that lr and λ mean the same for both.",
        unit="lr", usual="0.2 to 1", gt=0, le=100,
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _as_it_was_called(cls, values: Any) -> Any:
        """Stored configurations may still have decay_embeddings, the switch between the first two rules."""
        if not isinstance(values, dict) or type(values.get("decay_embeddings")) is not bool:
            return values
        rest = {key: value for key, value in values.items() if key != "decay_embeddings"}
        if rest.get("decayed", "weights") in ("weights", "matrices"):
            rest["decayed"] = "weights" if values["decay_embeddings"] else "matrices"
        return rest

    @field_validator("decay_pattern")
    @classmethod
    def _pattern_can_be_read(cls, pattern: str, info: ValidationInfo) -> str:
        if info.data.get("decayed") == "pattern" and not decayed.words(pattern):
            raise refuse(
                "pattern_missing",
                "Say which tensors decay, as transformer.h.*.weight; or choose another rule than pattern.",
            )
        if wrong := decayed.unreadable(pattern):
            raise refuse(
                "pattern_unreadable", "“{word}” is no pattern: a name's letters, digits, dots and underscores, * for any text, ! in front to take tensors out.",
                word=wrong[:60],
            )  # fmt: skip
        if len(decayed.words(pattern)) > decayed.MOST_PATTERNS:
            raise refuse("patterns_too_many", "At most {most} patterns.", most=decayed.MOST_PATTERNS)
        return pattern

    @field_validator("decay_coupling")
    @classmethod
    def _independent_is_a_share(cls, coupling: str, info: ValidationInfo) -> str:
        weight_decay = info.data.get("weight_decay", 0.0)
        if coupling == "independent":
            _only_decoupled("decay_coupling", info)
            if weight_decay >= 1:
                raise refuse(
                    "decay_wipes_out", "Independent decay takes the share λ off each step, and {weight_decay} leaves nothing; 1e-5 to 1e-3 is usual.",
                    weight_decay=weight_decay,
                )  # fmt: skip
        return coupling

    @field_validator("adamc")
    @classmethod
    def _corrects_coupled_decay(cls, adamc: bool, info: ValidationInfo) -> bool:
        if adamc:
            _only_decoupled("adamc", info)
            if info.data.get("decay_coupling") == "independent":
                raise refuse("adamc_is_coupled", "The AdamC correction is for decay that is coupled to lr.")
        return adamc

    @field_validator("cautious")
    @classmethod
    def _masks_decoupled_decay(cls, cautious: bool, info: ValidationInfo) -> bool:
        if cautious:
            _only_decoupled("cautious", info)
        return cautious


def _only_decoupled(field: str, info: ValidationInfo) -> None:
    if info.data.get("optimizer") == "adam_l2":
        raise refuse(
            "decoupled_only", "With adam_l2, λ goes through the gradient; {field} is for decoupled decay.", field=field
        )
