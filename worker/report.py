"""From a step's scalars to the journal: every step is written, and no step waits for it.

Standard library only. A step's values are written as soon as the device has delivered them, which
is looked at after every micro-batch; at most one finished step waits while the next is under way.
"""

import math
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

KEPT_NORMS = 20
"""Gradient norms told when a run stops for something not finite."""


class Sink(Protocol):
    """What the engine writes to: worker.journal's Journal or NullJournal."""

    @property
    def full(self) -> bool: ...
    def points(self, step: int, values: Mapping[str, float]) -> None: ...
    def log(self, text: str, level: str = "info") -> None: ...
    def event(self, kind: str, step: int | None = None, /, text: str = "", **data: Any) -> None: ...
    def telemetry(self, **values: Any) -> None: ...


class Reading(Protocol):
    """One step's scalars: worker.loop.Scalars."""

    def ready(self) -> bool: ...
    def read(self) -> tuple[float, float, float]: ...


class NonFinite(ArithmeticError):
    """The loss, the gradient norm or a weight is not finite."""

    def __init__(self, text: str, grad_norms: Mapping[int, float]) -> None:
        super().__init__(text)
        self.grad_norms = dict(grad_norms)  #: step → norm of the last steps, the cause's trace


class StepReport:
    """Writes each step's points and keeps the totals behind the other x-axes."""

    def __init__(
        self,
        journal: Sink,
        *,
        tokens_per_step: int,
        flops_per_token: int,
        peak_flops: float | None = None,
        wall_s: float = 0.0,
        step: int = 0,
        tokens: int = 0,
    ) -> None:
        """`wall_s` and `tokens` have been trained up to `step`."""
        self.journal = journal
        self._step, self._tokens = step, tokens
        self.tokens_per_step = tokens_per_step
        self.flops_per_token = flops_per_token
        self.peak_flops = peak_flops  # of the device at the run's precision; None: no MFU is shown
        self.loss = math.nan  # of the newest step written, as tok_per_s
        self.tok_per_s = 0.0
        self.grad_norms: dict[int, float] = {}  # step → norm of the last KEPT_NORMS steps written
        self._pending: deque[tuple[int, float, float | None, Reading]] = deque()  # oldest first
        self._zero = time.perf_counter() - wall_s

    @property
    def wall_s(self) -> float:
        """Training wall time since the run's first step: evaluations and checkpoints count, pauses do not."""
        return time.perf_counter() - self._zero

    def paused(self, seconds: float) -> None:
        self._zero += seconds

    def tokens(self, step: int) -> int:
        """Trained on up to `step`; a fork's steps may be of another size than those before it."""
        return self._tokens + (step - self._step) * self.tokens_per_step

    def axes(self, step: int) -> dict[str, float]:
        """The values of the other x-axes at `step`."""
        tokens = self.tokens(step)
        return {"x/tokens": tokens, "x/wall_s": self.wall_s, "x/flops": float(tokens * self.flops_per_token)}

    def add(self, step: int, lr: float, scalars: Reading, decay: float | None = None) -> None:
        """`step` is under way: write it if it is done, and wait for the one before it. `decay` is the share it takes off.

        That wait costs the device nothing: the kernels of `step` are already in its queue.
        """
        self._pending.append((step, lr, decay, scalars))
        while len(self._pending) > 1:
            self._write()
        self.poll()

    def poll(self) -> None:
        while self._pending and self._pending[0][3].ready():
            self._write()

    def settle(self) -> None:
        """Wait for every step under way: before an evaluation, a checkpoint or the end."""
        while self._pending:
            self._write()

    def _write(self) -> None:
        step, lr, decay, scalars = self._pending.popleft()
        self.loss, grad_norm, step_ms = scalars.read()
        self.grad_norms[step] = grad_norm
        self.grad_norms.pop(step - KEPT_NORMS, None)
        self.tok_per_s = self.tokens_per_step / step_ms * 1e3
        values = {
            "train/loss": self.loss,
            "train/lr": lr,
            "train/grad_norm": grad_norm,
            "train/tok_per_s": self.tok_per_s,
            "train/step_ms": step_ms,
            **self.axes(step),
        }
        if decay is not None:
            values["decay/effective"] = decay
        if self.peak_flops:
            values["train/mfu"] = self.tok_per_s * self.flops_per_token / self.peak_flops
        if squares := getattr(scalars, "grad_squares", None):
            values["noise/grad_sq_micro"], values["noise/grad_sq_batch"] = squares
        scaling: tuple[float, bool] | None = getattr(
            scalars, "scaling", None
        )  # float16: the loss scale, skipped or not
        skipped = scaling is not None and scaling[1]
        if scaling is not None:
            values |= {"train/loss_scale": scaling[0], "train/skipped": float(skipped)}
            if skipped and decay is not None:
                values["decay/effective"] = 0.0  # no update, no decay
        self.journal.points(step, values)
        # Written first, then refused: a run that diverged has to show it.
        if not math.isfinite(self.loss):
            raise NonFinite(f"The loss became {self.loss} at step {step}.", self.grad_norms)
        # An overflow at a high scale is what the scale is lowered for; at a scale below 1 there is no way down.
        if not math.isfinite(grad_norm) and not (skipped and scaling is not None and scaling[0] >= 1):
            raise NonFinite(f"The gradient norm became {grad_norm} at step {step}.", self.grad_norms)
