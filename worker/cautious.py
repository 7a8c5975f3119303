"""Cautious weight decay (2510.12402): a weight decays only where the update moves it towards zero too.

    w ← w − u − a·1[u·w ≥ 0]·w        with u = lr·m̂/(√v̂+ε) for AdamW

Where the update would grow a weight, decay stays out of its way; without an update it decays as ever.
"""

from typing import Any

import torch
from torch import Tensor, nn


class Caution:
    """Decays under the mask, and counts what the mask let through while it is `watching`."""

    def __init__(self) -> None:
        self.watching = False
        self.reached: dict[nn.Parameter, tuple[Tensor, Tensor]] = {}  # of the newest update: (weights, Σ their squares)

    def shrink(self, parameter: nn.Parameter, before: Tensor, direction: Tensor, a: float) -> None:
        """Take the share a off the weights of `before` whose sign is that of `direction`, the way of u."""
        kept = before * (direction * before >= 0)
        parameter.sub_(kept, alpha=a)
        if self.watching:
            self.reached[parameter] = (torch.count_nonzero(kept), kept.float().square().sum())


class CautiousAdamW(torch.optim.AdamW):
    """AdamW with the mask; while it steps it holds a second copy of the decayed weights."""

    def __init__(self, groups: list[dict], **settings: Any) -> None:
        super().__init__(groups, **settings)
        self.caution = Caution()
        # A fused kernel skips an overflowed float16 step by itself and this class would decay all the same:
        # the scaler has to look first and not call step() at all.
        self._step_supports_amp_scaling = False

    @torch.no_grad()
    def step(self, closure=None):
        decayed = []
        for group in self.param_groups:
            if group["weight_decay"]:
                present = [p for p in group["params"] if p.grad is not None]
                decayed.append((group, group["weight_decay"], present, [p.clone() for p in present]))
                group["weight_decay"] = 0.0
        loss = super().step(closure)
        for group, weight_decay, parameters, before in decayed:
            group["weight_decay"] = weight_decay
            for parameter, old in zip(parameters, before, strict=True):
                # m̂ has the sign of u: the denominator is positive
                self.caution.shrink(parameter, old, self.state[parameter]["exp_avg"], group["lr"] * weight_decay)
        return loss
