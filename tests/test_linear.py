import pytest
import torch
from torch import nn

from worker import linear
from worker.linear import KERNELS, OWN, Route, RoutedLinear, Shape, exact, take
from worker.model import GPT

ROUTES = [Route(kernel, kernel, kernel) for kernel in KERNELS] + [Route("onednn", "torch", "medium")]
SHAPES = [Shape(96, 32, 128), Shape(96, 128, 32), Shape(7, 32, 65)]


def gradients(layer: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    y = layer(x)
    (y * torch.arange(y.numel(), dtype=x.dtype).view_as(y).cos()).sum().backward()
    assert x.grad is not None
    found = [y.detach(), x.grad, *(p.grad.clone() for p in layer.parameters() if p.grad is not None)]
    layer.zero_grad()
    return found


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernel_is_exact_where_it_is_offered(kernel: str) -> None:
    assert exact(kernel, SHAPES) or kernel != "torch"


@pytest.mark.parametrize("route", ROUTES, ids=str)
@pytest.mark.parametrize("bias", [False, True])
def test_a_route_gives_the_outputs_and_gradients_of_float64(route: Route, bias: bool) -> None:
    if not all(exact(kernel, SHAPES) for kernel in route):
        pytest.skip(f"{route} is not exact on this processor")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 65, bias=bias))
    x = torch.randn(3, 5, 32)
    own = gradients(model.double(), x.double())
    take(model.float(), route)
    for mine, truth in zip(gradients(model, x), own, strict=True):
        assert (mine - truth).norm() / truth.norm() < 1e-6


def test_the_gradient_of_a_sum_is_taken_too() -> None:
    layer = nn.Linear(16, 24)
    take(layer, Route("onednn", "onednn", "onednn"))
    x = torch.randn(4, 16)
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    torch.testing.assert_close(layer.weight.grad, x.sum(0).expand(24, 16))


def test_a_precision_below_float32_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KERNELS, "onednn", lambda a, b: (a.bfloat16() @ b.bfloat16().t()).float())
    assert not exact("onednn", SHAPES)


def test_a_torch_without_the_private_operator_has_one_route_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KERNELS, "onednn", lambda a, b: torch.ops.mkldnn._no_such_operator(a, b))
    assert not exact("onednn", SHAPES)


def test_taking_a_route_and_leaving_it_keeps_names_tensors_and_ties() -> None:
    model = GPT(50, 16, 2, 2, 16, bias=True)
    before = dict(model.named_parameters())
    for route in (Route("onednn", "medium", "torch"), OWN):
        take(model, route)
        after = dict(model.named_parameters())
        assert list(after) == list(before)
        assert all(after[name] is before[name] for name in before)
        assert model.lm_head.weight is model.transformer.wte.weight
        assert isinstance(model.lm_head, RoutedLinear) == (route != OWN)
    assert "route" not in vars(model.lm_head)


def test_a_route_is_left_under_autocast_and_leaves_the_precision_switch_alone() -> None:
    layer = nn.Linear(32, 32)
    x = torch.randn(8, 32)
    with torch.autocast("cpu", torch.bfloat16):
        plain = layer(x)
        take(layer, Route("medium", "medium", "medium"))
        assert torch.equal(layer(x), plain)
    before = torch.get_float32_matmul_precision()
    gradients(layer, x)
    assert torch.get_float32_matmul_precision() == before


def test_a_route_is_written_and_read_and_a_foreign_one_refused() -> None:
    assert Route.parse(str(ROUTES[-1])) == ROUTES[-1]
    for text in ("torch", "torch+torch+cublas"):
        with pytest.raises(ValueError, match="does not name three of the kernels"):
            Route.parse(text)


def test_probing_draws_no_random_number_of_the_run() -> None:
    before = torch.get_rng_state()
    linear.operands(SHAPES[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_probing_a_large_head_copies_no_whole_of_it_to_float64() -> None:
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.dtype == torch.float64:
                largest = max(largest, result.numel())
            return result

    with Watch():
        assert exact("medium", [Shape(64, 256, 50_304)])
    assert 0 < largest <= 64 * 50_304 < 256 * 50_304 // 3
