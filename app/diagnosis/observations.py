"""What the rules read: a run's curves and facts, wherever they come from. What is not known is None, never a guess."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.contract.learning import OptimConfig, ScheduleConfig
from app.contract.schedule import learning_rate

Floats = NDArray[np.float64]


class Curve(NamedTuple):
    """One metric: steps ascending, values finite or not."""

    step: NDArray[np.int64]
    value: Floats

    def finite(self) -> "Curve":
        good = np.isfinite(self.value)
        return Curve(self.step[good], self.value[good])

    def between(self, first: float, last: float) -> "Curve":
        inside = (self.step >= first) & (self.step <= last)
        return Curve(self.step[inside], self.value[inside])

    def at(self, steps: NDArray[np.int64]) -> Floats:
        """Its values at these steps, NaN where it has none."""
        if not len(self.step):
            return np.full(len(steps), np.nan)
        place = np.minimum(np.searchsorted(self.step, steps), len(self.step) - 1)
        return np.where(self.step[place] == steps, self.value[place], np.nan)


NOTHING = Curve(np.empty(0, np.int64), np.empty(0))


@dataclass(frozen=True)
class Observations:
    """A run as the rules see it. Losses in nats per token, counts in tokens, steps are finished updates."""

    curves: Mapping[str, Curve]
    step: int  #: the last that was reported
    steps: int | None = None  #: planned
    ended: bool = False
    schedule: ScheduleConfig | None = None
    optim: OptimConfig | None = None
    tokens_per_step: int | None = None
    micro_batch: int | None = None  #: sequences
    accumulation: int | None = None
    block_size: int | None = None  #: T, tokens
    parameters: int | None = None  #: with a tied embedding once, without positions
    parameters_no_embedding: int | None = None
    n_layer: int | None = None
    n_embd: int | None = None
    vocab_size: int | None = None  #: as the model has it, padded
    dropout: float | None = None
    dtype: str | None = None
    device: str | None = None  #: its name
    peak_flops: float | None = None  #: per s, dense, for dtype
    train_tokens: int | None = None  #: U, in the train split
    val_tokens: int | None = None
    duplicate_share: float | None = None  #: of the train tokens
    leak_share: float | None = None  #: of the validation's 32-token windows that occur in train
    unigram_entropy: float | None = None  #: nats per token
    eval_windows: int | None = None
    fixed_eval: bool | None = None  #: the same windows at every evaluation
    train_loss_is: str = "batch mean"  #: or "last micro-batch" (nanoGPT's iter lines)
    train_loss_mode: str = "train"  #: or "eval"
    resumed_at: tuple[int, ...] = ()
    replays_data: bool = False  #: a resume draws the same batches again (nanoGPT re-seeds)
    same_shape_mfu: tuple[float, ...] = ()  #: of earlier runs of this shape on this device
    notes: Mapping[str, str] = field(default_factory=dict)  #: facts that were supplied or guessed, with how

    def curve(self, key: str) -> Curve:
        return self.curves.get(key, NOTHING)

    @property
    def tokens(self) -> int | None:
        """Seen so far."""
        return self.step * self.tokens_per_step if self.tokens_per_step else None

    @property
    def epochs(self) -> float | None:
        return self.tokens / self.train_tokens if self.tokens is not None and self.train_tokens else None

    @property
    def warmup_steps(self) -> int:
        return self.schedule.warmup_steps if self.schedule else 0

    def lr(self, update: float) -> float | None:
        """Of the 0-based update: as the schedule says, else as it was logged."""
        if s := self.schedule:
            return learning_rate(
                update, lr=s.lr, min_lr=s.min_lr, warmup_steps=s.warmup_steps, decay_steps=s.decay_steps or s.steps,
                shape=s.shape, cooldown=s.cooldown,
            )  # fmt: skip
        logged = self.curve("train/lr").finite()
        return float(np.interp(update + 1, logged.step, logged.value)) if len(logged.step) else None

    def lrs(self, steps: NDArray[np.int64]) -> Floats | None:
        """The learning rates of the updates that led to these steps."""
        rates = [self.lr(max(0, int(step) - 1)) for step in steps]
        return None if any(rate is None for rate in rates) else np.array(rates, float)


def quantile_t(p: float, df: float) -> float:
    """Student's t; the normal's where `df` is infinite."""
    from scipy import stats

    return float(stats.norm.ppf(p) if math.isinf(df) else stats.t.ppf(p, df))
