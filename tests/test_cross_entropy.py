import warnings

import pytest
import torch
from torch.nn import functional as F

from worker.cross_entropy import chunked_cross_entropy
from worker.linear import KERNELS, Route, take
from worker.model import GPT

V, C, N = 130, 32, 100


def inputs(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    x, weight = torch.randn(N, C, dtype=dtype), torch.randn(V, C, dtype=dtype)
    return x.requires_grad_(), weight.requires_grad_(), torch.randint(0, V, (N,))


def whole(x: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, softcap: float) -> torch.Tensor:
    logits = x @ weight.t()
    return F.cross_entropy(softcap * torch.tanh(logits / softcap) if softcap else logits, targets)


@pytest.mark.parametrize("softcap", [0.0, 15.0])
@pytest.mark.parametrize("rows", [1, 32, 100, 1000])
def test_loss_and_gradients_are_those_of_the_whole_logits(rows: int, softcap: float) -> None:
    x, weight, targets = inputs()
    truth = whole(x, weight, targets, softcap)
    expected = torch.autograd.grad(truth * 0.5, (x, weight))
    loss = chunked_cross_entropy(x, weight, targets, rows=rows, softcap=softcap)
    got = torch.autograd.grad(loss * 0.5, (x, weight))
    torch.testing.assert_close(loss, truth, rtol=1e-6, atol=0)
    for mine, other in zip(got, expected, strict=True):
        assert (mine - other).norm() / other.norm() < 2e-6


def test_the_heads_products_take_the_models_route(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[tuple[int, ...]] = []

    def counted(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        used.append((*a.shape, *b.shape))
        return a @ b.t()

    monkeypatch.setitem(KERNELS, "onednn", counted)
    torch.manual_seed(0)
    model = GPT(V, 16, 1, 2, C)
    tokens = torch.randint(0, V, (2, 16))
    model.loss_rows = 20
    expected = torch.autograd.grad(model(tokens, tokens)[1], model.lm_head.weight)
    take(model, Route("onednn", "onednn", "torch"))
    used.clear()
    got = torch.autograd.grad(model(tokens, tokens)[1], model.lm_head.weight)
    for rows in (20, 12):
        assert {(rows, C, V, C), (rows, V, C, V)} <= set(used), "logits and the gradient of the channels"
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-7)
    used.clear()
    with torch.autocast("cpu", torch.bfloat16):
        model(tokens, tokens)
    assert used == [], "bfloat16 has one library"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_the_loss_is_float32_and_right(dtype: torch.dtype) -> None:
    # torch's own operator returns 9.19 for 10.87 here
    x, weight, targets = inputs()
    truth = whole(x, weight, targets, 0.0)
    with torch.autocast("cpu", dtype):
        loss = chunked_cross_entropy(x, weight, targets, rows=32)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(truth.item(), rel=2e-3)
    for mine, other in zip(
        torch.autograd.grad(loss, (x, weight)), torch.autograd.grad(truth, (x, weight)), strict=True
    ):
        assert mine.dtype == torch.float32
        assert (mine - other).norm() / other.norm() < 0.01


def test_float16_keeps_gradients_that_a_mean_over_many_tokens_would_lose() -> None:
    torch.manual_seed(0)
    x, weight = (0.01 * torch.randn(4096, 8)).requires_grad_(), torch.randn(200, 8)
    targets = torch.randint(0, 200, (4096,))
    with torch.autocast("cpu", torch.float16):
        loss = chunked_cross_entropy(x, weight, targets, rows=512)
    (mine,) = torch.autograd.grad(loss, x)
    (truth,) = torch.autograd.grad(whole(x, weight, targets, 0.0), x)
    assert (mine - truth).norm() / truth.norm() < 0.01


def test_losses_of_single_tokens_equal_the_whole_ones() -> None:
    x, weight, targets = inputs()
    with torch.no_grad():
        losses = chunked_cross_entropy(x, weight, targets, rows=32, reduction="none")
        torch.testing.assert_close(losses, F.cross_entropy(x @ weight.t(), targets, reduction="none"))


def test_no_tensor_is_as_large_as_the_logits() -> None:
    x, weight, targets = inputs()
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                largest = max(largest, result.numel())
            return result

    with Watch():
        chunked_cross_entropy(x, weight, targets, rows=10).backward()
    assert largest == max(V * C, N * C) < N * V


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("softcap", [0.0, 5.0])
def test_a_model_in_chunks_learns_the_same(reduction: str, softcap: float) -> None:
    torch.manual_seed(0)
    model = GPT(50, 16, 2, 2, 16, softcap=softcap)
    tokens = torch.randint(0, 50, (3, 16))
    found = []
    for rows in (0, 20):
        model.loss_rows = rows
        model.zero_grad()
        with torch.set_grad_enabled(reduction == "mean"):
            logits, loss = model(tokens, tokens.roll(1, 1), reduction=reduction)
        assert (logits is None) == bool(rows)
        if reduction == "mean":
            loss.backward()
        found.append([loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_a_compiled_model_takes_its_loss_in_chunks_between_its_graphs() -> None:
    torch.manual_seed(0)
    model = GPT(50, 16, 2, 2, 16)
    model.loss_rows = 20
    tokens = torch.randint(0, 50, (3, 16))
    compiled = torch.compile(model, dynamic=False, backend="aot_eager")
    # Where a graph ends torch looks for the .grad of what leaves it and warns itself, which is an error in these tests.
    warnings.simplefilter("ignore", UserWarning)
    found = [torch.autograd.grad(run(tokens, tokens)[1], list(model.parameters())) for run in (model, compiled)]
    for eager, graphs in zip(*found, strict=True):
        torch.testing.assert_close(graphs, eager, rtol=1e-5, atol=1e-7)
