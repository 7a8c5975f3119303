"""Three published rules for choosing λ, side by side: prior centres for a sweep's grid, never a verdict. Pure.

They disagree by factors of ten on small runs, and measurements disagree with all of them: at 163M parameters 0.01 beat
0.1 beat the rule's 0.337 (Giles Thomas), and in four-layer CPU runs λ = 0 was best where the second rule says about 1.
"""

import math
from dataclasses import dataclass

from app.contract.config import RunConfig

REFERENCE_DECAY = 0.28
REFERENCE_BATCH = 2**19
REFERENCE_TOKENS = 1.3e9
"""nanochat's d12: 12 tokens for each of its 110M parameters in matrices and head (base_train.py; tuned for Muon)."""
FEWEST_PARAMETERS, MOST_PARAMETERS = 111e6, 3.3e9
"""The sizes that the second rule was fitted on."""


@dataclass(frozen=True)
class Law:
    key: str  #: wang | power_lines | nanochat
    name: str
    weight_decay: float | None  #: what it says; None where it says nothing about such a run
    low: float | None
    high: float | None
    within: bool  #: the run is of the kind that the rule was made for
    formula: str
    source: str
    note: str


@dataclass(frozen=True)
class Priors:
    """All three, and how far they are apart."""

    laws: tuple[Law, ...]
    disagreement: float | None  #: the largest over the smallest; None where fewer than two say anything
    grid: tuple[float, ...]  #: 0 and half decades around them: what a sweep should begin with


def priors(config: RunConfig, parameters: int, train_tokens: int | None) -> Priors | None:
    """All λ are coupled ones, a = lr·λ; None where λ goes through the gradient. `parameters`: with a tied embedding,
    without the table of positions."""
    if config.optim.optimizer == "adam_l2":
        return None
    laws = (
        _wang(config, train_tokens), _power_lines(config, parameters, train_tokens), _nanochat(config),
    )  # fmt: skip
    said = [law.weight_decay for law in laws if law.weight_decay]
    apart = max(said) / min(said) if len(said) > 1 else None
    return Priors(laws, apart, _grid(said))


def _wang(config: RunConfig, train_tokens: int | None) -> Law:
    """τ between one epoch and all of them: λ = B/(lr·U·τ_epoch)."""
    low = high = centre = None
    note = "needs the dataset's size"
    if train_tokens:
        epochs = config.total_tokens / train_tokens
        note = "speaks of several epochs; this run has less than one"
        if epochs >= 1:
            high = config.tokens_per_step / (config.schedule.lr * train_tokens)
            low = high / epochs
            centre = math.sqrt(low * high)
            note = "a timescale between one epoch and the whole run; the middle of the two"
    return Law(
        "wang", "Timescale in epochs", centre, low, high, centre is not None,
        "B/(lr·U·τ_epoch)", "Wang & Aitchison 2405.13698", note,
    )  # fmt: skip


def _power_lines(config: RunConfig, parameters: int, train_tokens: int | None) -> Law:
    """τ as a share of the run falls with tokens per parameter: 1.084·(D/N)^−0.527; λ = B/(lr·τ·D)."""
    share = power_lines_timescale(config.total_tokens / parameters)
    value = 1.0 / (config.schedule.lr * share * config.schedule.steps)
    size = FEWEST_PARAMETERS <= parameters <= MOST_PARAMETERS
    once = train_tokens is None or config.total_tokens <= train_tokens
    note = "fitted on 111M to 3.3B parameters, one pass over the data, learning rates scaled by width (μP)"
    return Law(
        "power_lines", "Power Lines", value, None, None, size and once,
        "B/(lr·τ·D), τ = 1.084·(D/N)^−0.527", "Bergsma et al. 2505.13738, constants from memory", note,
    )  # fmt: skip


def power_lines_timescale(tokens_per_parameter: float) -> float:
    """The best timescale as a share of the run."""
    return 1.084 * math.pow(tokens_per_parameter, -0.527)


def _nanochat(config: RunConfig) -> Law:
    """λ_ref·√(B/B_ref)·D_ref/D."""
    value = (
        REFERENCE_DECAY * math.sqrt(config.tokens_per_step / REFERENCE_BATCH) * REFERENCE_TOKENS / config.total_tokens
    )
    return Law(
        "nanochat", "nanochat's scaling", value, None, None, config.optim.optimizer == "muon",
        "0.28·√(B/524,288)·1.3e9/D", "nanochat scripts/base_train.py",
        "for Muon, decay falling to 0, and a learning rate that grows with √B",
    )  # fmt: skip


def _grid(said: list[float]) -> tuple[float, ...]:
    """0, and 1 and 3 of each decade from half a decade below the smallest to half a decade above the largest; at most 9."""
    within = [value for value in said if 1e-4 <= value <= 100]
    low, high = (min(within), max(within)) if within else (0.1, 0.1)
    steps = range(math.floor(2 * math.log10(low)) - 1, math.ceil(2 * math.log10(high)) + 2)
    values = [float(f"{10 ** (step / 2):.0e}") for step in steps]
    values = [value for value in values if 1e-4 <= value <= 100]
    middle = max(0, (len(values) - 8) // 2)
    return (0.0, *values[middle : middle + 8])
