"""What one update does to the weights, by group of tensors: its size, its angle, and how much of it is decay.

Measured at evaluations only, on the update that leads to one: a copy of the weights and three sums over them.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from app.contract.metrics import PARAMETER_GROUPS, parameter_group

Groups = dict[str, list[nn.Parameter]]


def metric_groups(model: nn.Module) -> Groups:
    """{"attn.qkv": [tensors], …}: in app.contract.metrics' order, none empty."""
    groups: Groups = {group: [] for group in PARAMETER_GROUPS}
    for name, parameter in model.named_parameters():
        groups[parameter_group(name)].append(parameter)
    return {group: tensors for group, tensors in groups.items() if tensors}


@torch.no_grad()
def rms(groups: Groups) -> dict[str, float]:
    """{group: ‖w‖/√n} over metric_groups(model): one transfer from the device for all."""
    squares = torch.stack([_dot(tensors, tensors) for tensors in groups.values()]).tolist()
    sizes = [sum(t.numel() for t in tensors) for tensors in groups.values()]
    return {group: (square / size) ** 0.5 for group, square, size in zip(groups, squares, sizes, strict=True)}


class Watch:
    """Made before an update, read after it."""

    @torch.no_grad()
    def __init__(self, groups: Groups, optimizer: torch.optim.Optimizer) -> None:
        self.groups = groups
        self.optimizer = optimizer
        self.before = {group: [tensor.detach().clone() for tensor in tensors] for group, tensors in groups.items()}
        self.caution: Any = getattr(optimizer, "caution", None)
        if self.caution:
            self.caution.watching = True

    @torch.no_grad()
    def read(self) -> dict[str, float]:
        """update_ratio/, rotation/ and decay_share/ of each group, and decay/active under cautious decay.

        update_ratio is ‖Δw‖/‖w‖, decay included; rotation the angle between w and w + Δw in radians;
        decay_share a·‖w‖/‖Δw‖. A group that was all zeros has no ratio and no angle, one that did not move no share.
        """
        decays = self._decay_squares()
        rows = []
        for group, tensors in self.groups.items():
            old = self.before[group]
            change = [after.detach() - before for after, before in zip(tensors, old, strict=True)]
            decay = torch.stack([decays.get(p, _dot([w], [w]) * 0.0) for p, w in zip(tensors, old, strict=True)]).sum()
            rows.append(torch.stack((_dot(old, old), _dot(change, change), _dot(change, old), decay)))
        values: dict[str, float] = {}
        for group, (size, moved, along, decay) in zip(self.groups, torch.stack(rows).tolist(), strict=True):
            if size > 0:
                values[f"update_ratio/{group}"] = (moved / size) ** 0.5
                # From Δw across and along w: the cosine of so small an angle is 1 in float32.
                across = max(0.0, moved - along * along / size) ** 0.5
                values[f"rotation/{group}"] = float(
                    torch.atan2(torch.tensor(across), torch.tensor(size**0.5 + along / size**0.5))
                )
            if moved > 0 and decays:
                values[f"decay_share/{group}"] = (decay / moved) ** 0.5
        if self.caution:
            self.caution.watching = False
            if self.caution.reached:
                counts = torch.stack([count for count, _ in self.caution.reached.values()]).sum().item()
                values["decay/active"] = counts / sum(p.numel() for p in self.caution.reached)
                self.caution.reached.clear()
        return values

    def _decay_squares(self) -> Mapping[nn.Parameter, Tensor]:
        """Σ (what decay took off)² of each decayed tensor; nothing where λ went through the gradient."""
        old = {p: w for group, tensors in self.groups.items() for p, w in zip(tensors, self.before[group], strict=True)}
        squares = {}
        for group in self.optimizer.param_groups:
            a = group["lr"] * group["weight_decay"]
            if not a or group.get("coupling") == "gradient":
                continue
            for parameter in group["params"]:
                if self.caution and parameter in self.caution.reached:
                    squares[parameter] = a * a * self.caution.reached[parameter][1]
                else:
                    squares[parameter] = a * a * _dot([old[parameter]], [old[parameter]])
        return squares


def _dot(first, second):
    return torch.stack(
        [(a.detach().float() * b.detach().float()).sum() for a, b in zip(first, second, strict=True)]
    ).sum()
