"""The memory estimate for a CPU against the bytes alive at the peak of a real step, storage by storage."""

import weakref
from contextlib import nullcontext
from typing import Any

import pytest

from app import memory
from app.contract.arithmetic import loss_rows
from app.contract.config import ModelConfig
from app.memory import Arithmetic

torch = pytest.importorskip("torch", reason="torch is not installed (worker extra)")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from worker import optim  # noqa: E402
from worker.model import GPT  # noqa: E402

RECIPE = {
    "peak": 1e-3, "weight_decay": 0.1, "decay_coupling": "lr", "adamc": False,
    "cautious": False, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "muon_momentum": 0.95, "muon_scale": 0.2,
}  # fmt: skip
SHAPES = {
    "activations": (4, 4, 128, 128, 50, 16),  # layers, heads, width, context, vocabulary, sequences
    "logits": (4, 4, 128, 128, 1000, 8),
    "table": (2, 4, 128, 256, 20_000, 2),
    "weights": (3, 6, 192, 256, 65, 1),
}


class Alive(TorchDispatchMode):
    """Adds up the storages that exist; `peak` is the most at once."""

    def __init__(self, held: Any) -> None:
        super().__init__()
        self.bytes: dict[int, int] = {}
        self.now = self.peak = 0
        self.see(held)

    def see(self, tensors: Any) -> None:
        for tensor in tree_leaves(tensors):
            if isinstance(tensor, torch.Tensor) and (key := tensor.untyped_storage()._cdata) not in self.bytes:
                storage = tensor.untyped_storage()
                self.bytes[key] = storage.nbytes()
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._freed, key)

    def _freed(self, key: int) -> None:
        self.now -= self.bytes.pop(key)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.see(result)
        return result


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_estimate_is_the_peak_of_a_real_step(
    shape: str, dtype: str, recompute: bool, chunked: bool, optimizer: str
) -> None:
    layers, heads, width, context, vocab_size, batch = SHAPES[shape]
    torch.manual_seed(0)
    model = GPT(vocab_size, context, layers, heads, width)
    model.transformer.recompute = recompute
    model.loss_rows = loss_rows("cpu", dtype) if chunked else 0
    model.attend(blocked=not (chunked and dtype == "float32"))
    optimiser = optim.build(model, optimizer=optimizer, **RECIPE)  # type: ignore[arg-type]
    tokens = torch.randint(vocab_size, (batch, context))
    with Alive(list(model.parameters())) as alive:
        for _ in range(2):  # the moments are made by the first
            alive.peak = alive.now
            with torch.autocast("cpu", torch.bfloat16) if dtype == "bfloat16" else nullcontext():
                loss = model(tokens, tokens)[1]
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    by_muon = sum(p.numel() for p in optimiser.param_groups[0]["params"]) if optimizer == "muon" else 0
    estimate = memory.estimate(
        ModelConfig(n_layer=layers, n_head=heads, n_embd=width, block_size=context), batch,
        sum(p.numel() for p in model.parameters()), vocab_size,
        Arithmetic("cpu", dtype, compiled=False, recompute=recompute, chunked=chunked), muon_parameters=by_muon,
    )  # fmt: skip
    assert estimate.total - estimate.overhead == pytest.approx(alive.peak, rel=0.1)
