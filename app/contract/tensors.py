"""The tensors of a run's network, name by name, without building it: what worker/model.py's named_parameters() lists."""

import math
from typing import TYPE_CHECKING, NamedTuple

from app.contract.metrics import parameter_group

if TYPE_CHECKING:
    from app.contract.config import ModelConfig


class Tensor(NamedTuple):
    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def group(self) -> str:
        """One of app.contract.metrics.PARAMETER_GROUPS."""
        return parameter_group(self.name)


def tensors(model: "ModelConfig", vocab_size: int) -> list[Tensor]:
    """In the order of definition, a tied head once; `vocab_size` as the worker builds it (padded)."""
    width, bias = model.n_embd, model.bias
    found = [Tensor("transformer.wte.weight", (vocab_size, width))]
    if model.positions == "learned":
        found.append(Tensor("transformer.wpe.weight", (model.block_size, width)))
    for layer in range(model.n_layer):
        block = f"transformer.h.{layer}"
        found += _norm(f"{block}.ln_1", width, bias)
        found += _linear(f"{block}.attn.c_attn", 3 * width, width, bias)
        found += _linear(f"{block}.attn.c_proj", width, width, bias)
        found += _norm(f"{block}.ln_2", width, bias)
        found += _linear(f"{block}.mlp.c_fc", 4 * width, width, bias)
        found += _linear(f"{block}.mlp.c_proj", width, 4 * width, bias)
    found += _norm("transformer.ln_f", width, bias)
    if not model.tied_head:
        found.append(Tensor("lm_head.weight", (vocab_size, width)))
    return found


def _linear(name: str, rows: int, columns: int, bias: bool) -> list[Tensor]:
    return [Tensor(f"{name}.weight", (rows, columns)), *([Tensor(f"{name}.bias", (rows,))] if bias else [])]


def _norm(name: str, width: int, bias: bool) -> list[Tensor]:
    return [Tensor(f"{name}.weight", (width,)), *([Tensor(f"{name}.bias", (width,))] if bias else [])]
