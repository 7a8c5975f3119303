"""What the rules read: a run's curves and facts, wherever they come from. What is not known is None, never a guess."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.contract.learning import OptimConfig, ScheduleConfig
from app.contract.schedule import learning_rate

Floats = NDArray[np.float64]
T = TypeVar("T")
HUGE = 1e100
"""A value beyond is as good as infinite: its square nearly is."""


class Curve(NamedTuple):
    """One metric: steps ascending, values finite or not."""

    step: NDArray[np.int64]
    value: Floats

    def finite(self) -> "Curve":
        good = np.abs(self.value) < HUGE  # False for NaN
        return self if good.all() else Curve(self.step[good], self.value[good])

    def between(self, first: float, last: float) -> "Curve":
        # whole numbers: searching for a fraction would copy all steps
        start = np.searchsorted(self.step, math.ceil(first)) if math.isfinite(first) else 0
        end = np.searchsorted(self.step, math.floor(last), "right") if math.isfinite(last) else len(self.step)
        return Curve(self.step[start:end], self.value[start:end])

    def at(self, steps: NDArray[np.int64]) -> Floats:
        """Its values at these steps, NaN where it has none."""
        if not len(self.step):
            return np.full(len(steps), np.nan)
        place = np.minimum(np.searchsorted(self.step, steps), len(self.step) - 1)
        return np.where(self.step[place] == steps, self.value[place], np.nan)


NOTHING = Curve(np.empty(0, np.int64), np.empty(0))


class Relative(NamedTuple):
    """Another finished run on the same data with the same tokenizer."""

    parameters: int  #: counted as Observations.parameters
    tokens: int
    loss: float  #: final validation loss, nats per token


@dataclass(frozen=True)
class Observations:
    """A run as the rules see it. Losses in nats per token, counts in tokens, steps are finished updates."""

    curves: Mapping[str, Curve]  #: by the keys of app/contract/metrics.py; nanoGPT's "step" lines give eval/train_loss
    step: int  #: the last that was reported
    steps: int | None = None  #: planned
    ended: bool = False  #: nothing will follow: finished, stopped or failed
    failed: str | None = None  #: why, as app.contract.states.FailReason
    first_step: int = 0  #: a fork's; its curves begin there
    pretrained: bool | None = None  #: step 0 had weights that were trained before
    # how weights learn
    schedule: ScheduleConfig | None = None
    optim: OptimConfig | None = None
    tokens_per_step: int | None = None
    micro_batch: int | None = None  #: sequences
    accumulation: int | None = None
    dropout: float | None = None
    # the model
    block_size: int | None = None  #: T, tokens
    parameters: int | None = None  #: with a tied embedding once, without positions
    parameters_no_embedding: int | None = None
    n_layer: int | None = None
    n_head: int | None = None
    n_embd: int | None = None
    vocab_size: int | None = None  #: as the model has it, padded
    tied_head: bool | None = None
    zero_init: bool | None = None  #: an untied head starts at zero
    # the device
    dtype: str | None = None  #: float32, bfloat16 or float16
    device: str | None = None  #: its name
    devices: int = 1
    peak_flops: float | None = None  #: per s, dense, for dtype, of one device
    mfu_peak_flops: float | None = None  #: what the logged train/mfu was divided by; None: peak_flops (nanoGPT: 312e12)
    same_shape_mfu: tuple[float, ...] = ()  #: of earlier runs of this shape on this device
    # the data
    train_tokens: int | None = None  #: U, in the train split
    val_tokens: int | None = None
    duplicate_share: float | None = None  #: of the train tokens
    leak_share: float | None = None  #: of the validation's 32-token windows that occur in train
    unigram_entropy: float | None = None  #: nats per token
    bytes_per_token: float | None = None
    split_rule: str | None = None  #: hash, tail or given, as the manifest has it
    split_distance: float | None = None  #: nats, Jensen-Shannon, between the frequencies of tokens in train and val
    split_noise: float | None = None  #: the 99th percentile of that distance over random splits of this size
    # evaluation
    eval_every: int | None = None  #: steps
    eval_windows: int | None = None  #: sequences; nanoGPT's eval_iters times batch_size
    fixed_eval: bool | None = None  #: the same windows at every evaluation
    # what the log means
    train_loss_is: str = "batch mean"  #: or "last micro-batch" (nanoGPT's iter lines)
    train_loss_mode: str = "train"  #: or "eval"
    log_every: int | None = None  #: steps between two train/loss
    points: Mapping[str, int] = field(default_factory=dict)  #: how many a curve has in all, where only a part was read
    # what happened
    attempts: int | None = None
    resumed_at: tuple[int, ...] = ()  #: the steps resumes went on from
    replays_data: bool = False  #: a resume draws the same batches again (nanoGPT re-seeds)
    out_of_memory_at: tuple[int, ...] = ()  #: the micro-batch was halved there
    checkpoint_steps: tuple[int, ...] = ()  #: that can still be forked from
    non_finite_tensor: str | None = None  #: the first, where the worker named it
    # what is known besides
    relatives: tuple[Relative, ...] = ()  #: finished runs that a scaling law can be held against
    seed_sd: float | None = None  #: nats, of the final loss over seeds, where a sweep has measured it
    asked_difference: float | None = None  #: nats: the difference that a comparison with this run is about
    notes: Mapping[str, str] = field(default_factory=dict)  #: facts that were supplied or guessed, with how
    _once: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, work: "Callable[[Observations], T]") -> T:
        """What several rules need of the same curves is worked out once."""
        if work not in self._once:
            self._once[work] = work(self)
        found: T = self._once[work]
        return found

    def curve(self, key: str) -> Curve:
        return self.curves.get(key, NOTHING)

    def finite(self, key: str) -> Curve:
        """The curve without the values that are not finite."""
        if key not in self._once:
            self._once[key] = self.curve(key).finite()
        found: Curve = self._once[key]
        return found

    @property
    def tokens(self) -> int | None:
        """Seen so far."""
        return self.step * self.tokens_per_step if self.tokens_per_step else None

    @property
    def planned_tokens(self) -> int | None:
        return self.steps * self.tokens_per_step if self.steps and self.tokens_per_step else None

    @property
    def eval_tokens(self) -> int | None:
        """Of one evaluation."""
        return self.eval_windows * self.block_size if self.eval_windows and self.block_size else None

    @property
    def flops_per_token(self) -> float | None:
        """6N + 12·L·d·T (PaLM's appendix B; nanoGPT's estimate_mfu)."""
        if None in (self.parameters, self.n_layer, self.n_embd, self.block_size):
            return None
        return 6.0 * self.parameters + 12.0 * self.n_layer * self.n_embd * self.block_size  # type: ignore[operator]

    @property
    def epochs(self) -> float | None:
        return self.tokens / self.train_tokens if self.tokens is not None and self.train_tokens else None

    @property
    def warmup_steps(self) -> int:
        return self.schedule.warmup_steps if self.schedule else 0

    def lr(self, update: float) -> float | None:
        """Of the 0-based update: as the schedule says, else as it was logged."""
        rates = self.rates(np.array([update]))
        return None if rates is None else float(rates[0])

    def rates(self, updates: NDArray[Any]) -> Floats | None:
        """The same of many; steps are finished updates, so the rate of update u was logged at step u + 1."""
        if (s := self.schedule) is None:
            logged = self.finite("train/lr")
            return np.interp(updates + 1, logged.step, logged.value) if len(logged.step) else None
        end = s.decay_steps or s.steps
        return np.array([
            learning_rate(
                update, lr=s.lr, min_lr=s.min_lr, warmup_steps=s.warmup_steps, decay_steps=end, shape=s.shape, cooldown=s.cooldown
            )
            for update in updates.tolist()
        ])  # fmt: skip


def middle(values: Floats) -> float:
    """Median, of 20,000 evenly spread values where there are more: off by less than a hundredth of their spread."""
    return float(np.median(values[:: (len(values) // 20_000) | 1]))


def quantile_t(p: float, df: float) -> float:
    """Student's t; the normal's where `df` is infinite."""
    from scipy.special import ndtri, stdtrit  # a quarter of what scipy.stats takes: 15 MiB

    return float(ndtri(p) if math.isinf(df) else stdtrit(df, p))
