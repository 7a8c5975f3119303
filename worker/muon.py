"""Muon: momentum whose matrix is orthogonalised before each update (Jordan et al. 2024); for the blocks' matrices only.

    M ← μM + (1−μ)G,   N = (1−μ)G + μM (Nesterov),   w ← (1−a)·w − lr·s·√max(rows, columns)·O(N)

O sends every singular value near 1, so all directions of a matrix move alike. O's RMS is 1/√max(rows, columns):
the factor (Moonlight, 2502.16982) makes the update's RMS s·lr. AdamW's is about 0.2·lr, hence s = 0.2 lets both
share one lr and one λ. Embeddings, head, norms and biases are AdamW's.
"""

import math

import torch
from torch import Tensor

from worker.cautious import CautiousAdamW

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic a·x + b·x³ + c·x⁵, whose slope at 0 is as large as can be: 5 rounds bring [0.003, 1] into [0.68, 1.14]."""
ROUNDS = 5
QUERY_KEY_VALUE = "c_attn.weight"


def orthogonal(x: Tensor) -> Tensor:
    """U·p(S)·Vᵀ of each matrix (…, rows, columns) = U·S·Vᵀ by Newton–Schulz rounds, p(S) near 1; products only, no SVD."""
    a, b, c = COEFFICIENTS
    wide = x.shape[-2] <= x.shape[-1]
    x = x if wide else x.mT  # the smaller Gram matrix
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)  # now no singular value is above 1
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.mT


class Muon(torch.optim.Optimizer):
    """Muon for the groups of `matrices`, and `rest` for the others: one optimiser to whoever sets rates and saves moments."""

    def __init__(self, matrices: list[dict], rest: torch.optim.AdamW, *, momentum: float, scale: float) -> None:
        super().__init__(matrices, {"lr": 0.0, "weight_decay": 0.0, "muon": True})
        self.rest = rest
        self.momentum = momentum
        self.scale = scale
        self.caution = rest.caution if isinstance(rest, CautiousAdamW) else None
        self.state = rest.state  # keyed by tensor, so one table holds both
        self.param_groups += rest.param_groups

    @torch.no_grad()
    def step(self, closure=None):
        assert closure is None, "Muon evaluates no closure"
        self.rest.step()
        for group in self.param_groups:
            if group.get("muon"):
                self._step_group(group)

    def _step_group(self, group):
        named = [(n, p) for n, p in zip(group["names"], group["params"], strict=True) if p.grad is not None]
        # Equal shapes in one batched product: a GPU would idle over one small matrix at a time.
        by_shape: dict[tuple[int, int], list] = {}
        for name, parameter in named:
            parts = 3 if name.endswith(QUERY_KEY_VALUE) else 1  # query, key and value are three matrices in one tensor
            rows, columns = parameter.shape
            by_shape.setdefault((rows // parts, columns), []).append((parameter, parts))
        for (rows, columns), members in by_shape.items():
            stack = torch.cat([self._nesterov(p).view(parts, rows, columns) for p, parts in members])
            # bfloat16 is enough for a direction, and twice as fast where there are units for it
            stack = orthogonal(stack.bfloat16() if stack.is_cuda else stack)
            updates = (stack * self.scale * math.sqrt(max(rows, columns))).split([parts for _, parts in members])
            for (parameter, _), update in zip(members, updates, strict=True):
                self._apply(parameter, update.reshape(parameter.shape).to(parameter.dtype), group)

    def _nesterov(self, parameter):
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - self.momentum)
        return parameter.grad.lerp(state["momentum"], self.momentum)

    def _apply(self, parameter, update, group):
        a = group["lr"] * group["weight_decay"]
        if self.caution and a:
            before = parameter.clone()
            parameter.sub_(update, alpha=group["lr"])
            self.caution.shrink(parameter, before, update, a)
        else:
            parameter.mul_(1 - a).sub_(update, alpha=group["lr"])
