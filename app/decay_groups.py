"""Which tensors of a run decay, as a table by group and a list of names: the numbers beside the rule that chooses them. Pure."""

import re
from dataclasses import dataclass

from app.contract import decayed
from app.contract.config import RunConfig
from app.contract.metrics import PARAMETER_GROUPS
from app.contract.schedule import decay_per_step
from app.contract.tensors import Tensor, tensors

_LAYER = re.compile(r"\.h\.\d+\.")


@dataclass(frozen=True)
class Kind:
    """Tensors of one name and shape in all layers: transformer.h.*.mlp.c_fc.weight."""

    name: str
    shape: tuple[int, ...]
    decays: bool
    tensors: int
    parameters: int


@dataclass(frozen=True)
class Group:
    """Tensors that are drawn together and decay alike; a group of which a part decays stands there twice."""

    group: str  #: of app.contract.metrics.PARAMETER_GROUPS
    decays: bool
    tensors: int
    parameters: int
    weight_decay: float  #: λ in force for them
    lr: float  #: at the peak
    per_step: float | None  #: a at the peak of lr; None where λ goes through the gradient
    moved_by: str  #: adamw | muon | adam_l2


@dataclass(frozen=True)
class Decayed:
    """What a rule chooses of a network."""

    rule: str
    tensors: int
    parameters: int
    of_tensors: int
    of_parameters: int
    groups: tuple[Group, ...]
    kinds: tuple[Kind, ...]
    idle_patterns: tuple[str, ...]  #: words of the pattern that no name fits

    @property
    def everything(self) -> bool:
        return self.tensors == self.of_tensors


def table(config: RunConfig, vocab_size: int) -> Decayed:
    """`vocab_size` as the worker builds it (padded)."""
    optim = config.optim
    decays = decayed.chosen(optim.decayed, optim.decay_pattern)
    known = [(one, decays(one.name, len(one.shape))) for one in tensors(config.model, vocab_size)]
    chosen = [one for one, does in known if does]
    groups = []
    for group in PARAMETER_GROUPS:
        for does in (True, False):
            members = [one for one, it_does in known if one.group == group and it_does is does]
            if members:
                groups.append(_group(config, group, does, members))
    words = optim.decay_pattern if optim.decayed == "pattern" else ""
    return Decayed(
        optim.decayed, len(chosen), sum(one.size for one in chosen), len(known), sum(one.size for one, _ in known),
        tuple(groups), _kinds(known), tuple(decayed.idle(words, [one.name for one, _ in known])),
    )  # fmt: skip


def _group(config: RunConfig, group: str, does: bool, members: list[Tensor]) -> Group:
    optim, lr = config.optim, config.schedule.lr
    weight_decay = optim.weight_decay if does else 0.0
    block = ".h." in members[0].name
    matrices = all(len(one.shape) >= 2 for one in members)
    a: float | None = 0.0
    if weight_decay:
        a = (
            None
            if optim.optimizer == "adam_l2"
            else decay_per_step(lr, weight_decay, peak=lr, coupling=optim.decay_coupling)
        )
    moved_by = "adamw" if optim.optimizer == "muon" and not (block and matrices) else optim.optimizer
    return Group(group, does, len(members), sum(one.size for one in members), weight_decay, lr, a, moved_by)


def _kinds(known: list[tuple[Tensor, bool]]) -> tuple[Kind, ...]:
    found: dict[tuple[str, bool], list[Tensor]] = {}
    for one, does in known:
        found.setdefault((_LAYER.sub(".h.*.", one.name), does), []).append(one)
    return tuple(
        Kind(name, members[0].shape, does, len(members), sum(one.size for one in members))
        for (name, does), members in found.items()
    )
