"""The matrix products of linear layers on a CPU: which library computes them, all in exact fp32.

torch's own path is MKL, which takes its AVX2 kernels on processors that are not Intel's; oneDNN reaches up to twice
the speed on the same machine. It is reached in two ways, and which is the faster differs between a layer's
three products, so a `Route` names a kernel for each. A route changes no parameter's name and no result beyond the
order of summation, but it does change the last bits: it belongs to a run's numeric path.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EXACT = 1e-5
"""Largest relative error, in the Frobenius norm, of a product that passes for fp32. Measured: 2e-7 to 1e-6 with 50,304
summands; TF32 gives 3e-4, bf16 2e-3."""
PROBE_FLOP = 1 << 31  # of one probed product: beyond that fewer rows show the same error
PROBED_SIZE = 1 << 20  # elements of it, or of the operand that they need, that are compared


class Shape(NamedTuple):
    """A linear layer as one micro-batch meets it."""

    rows: int  #: tokens, B·T
    inputs: int
    outputs: int

    @property
    def flop(self) -> int:
        """Of one of its three products."""
        return 2 * self.rows * self.inputs * self.outputs


def _torch(a: Tensor, b: Tensor) -> Tensor:
    return a @ b.t()


def _medium(a: Tensor, b: Tensor) -> Tensor:
    # A public switch that routes fp32 products to oneDNN. It stays exact where the processor has no AMX; with AMX
    # it becomes bf16, which exact() finds out. Around this one product only: left on, it sends attention's many tiny
    # products to oneDNN too, and those get slower (0.66 times the speed of nanoGPT's small recipe).
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        return a @ b.t()
    finally:
        torch.set_float32_matmul_precision(before)


def _onednn(a: Tensor, b: Tensor) -> Tensor:
    # Private, hence probed before it is used: a torch that lacks it or changes it has one route less.
    return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")


KERNELS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"torch": _torch, "medium": _medium, "onednn": _onednn}
"""Each computes a @ bᵀ for 2-D a (m, k) and b (n, k), of any strides."""


class Route(NamedTuple):
    """The kernel of each of a layer's three products: y = x·Wᵀ, ∂x = ∂y·W, ∂W = ∂yᵀ·x."""

    forward: str
    grad_input: str
    grad_weight: str

    def __str__(self) -> str:
        return "+".join(self)

    @classmethod
    def parse(cls, text: str) -> "Route":
        """Of what str() gave; ValueError for kernels that do not exist here."""
        names = text.split("+")
        if len(names) != 3 or not set(names) <= set(KERNELS):
            raise ValueError(f"{text} does not name three of the kernels {', '.join(KERNELS)}")
        return cls(*names)


OWN = Route("torch", "torch", "torch")
"""nn.Linear left as it is."""


class _Product(torch.autograd.Function):
    """y = x·Wᵀ + b with the products of a route; x (..., inputs)."""

    @staticmethod
    def forward(ctx, x, weight, bias, route):
        ctx.save_for_backward(x, weight)
        ctx.route = route
        ctx.has_bias = bias is not None
        y = KERNELS[route.forward](x.reshape(-1, x.shape[-1]), weight)
        if bias is not None:
            y += bias
        return y.view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        g = gradient.reshape(-1, gradient.shape[-1])  # (rows, outputs)
        if 0 in g.stride():  # the gradient of a sum is one number seen many times; oneDNN wants memory
            g = g.contiguous()
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = KERNELS[ctx.route.grad_input](g, weight.t()).view(x.shape)
        if ctx.needs_input_grad[1]:
            grad_weight = KERNELS[ctx.route.grad_weight](g.t(), x.reshape(-1, x.shape[-1]).t())
        if ctx.has_bias and ctx.needs_input_grad[2]:
            grad_bias = g.sum(0)
        return grad_x, grad_weight, grad_bias, None


class RoutedLinear(nn.Linear):
    """An nn.Linear whose fp32 products on a CPU take `route`; under autocast, or elsewhere, it is nn.Linear."""

    route: Route

    def forward(self, x):
        if x.dtype != torch.float32 or x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            return F.linear(x, self.weight, self.bias)
        return _Product.apply(x, self.weight, self.bias, self.route)


def take(model: nn.Module, route: Route) -> None:
    """Have every nn.Linear of a built model compute by `route`; parameters, their names and their order stay."""
    for module in model.modules():
        if type(module) not in (nn.Linear, RoutedLinear):
            continue
        # The class and not the module is exchanged: optimisers, tied weights and hooks keep what they hold.
        module.__class__ = nn.Linear if route == OWN else RoutedLinear
        if isinstance(module, RoutedLinear):
            module.route = route
        else:
            module.__dict__.pop("route", None)


def shapes(model: nn.Module, rows: int) -> dict[Shape, int]:
    """{shape: layers that have it} for `rows` tokens."""
    found: dict[Shape, int] = {}
    for module in model.modules():
        if isinstance(module, nn.Linear):
            shape = Shape(rows, module.in_features, module.out_features)
            found[shape] = found.get(shape, 0) + 1
    return found


def operands(shape: Shape) -> tuple[Tensor, Tensor, Tensor]:
    """Random x (rows, inputs), weight (outputs, inputs) and ∂y (rows, outputs), from a generator of their own."""
    generator = torch.Generator().manual_seed(shape.rows)  # the process's own numbers are the run's
    sides = ((shape.rows, shape.inputs), (shape.outputs, shape.inputs), (shape.rows, shape.outputs))
    x, weight, gradient = (torch.randn(side, generator=generator) for side in sides)
    return x, weight, gradient


def products(x: Tensor, weight: Tensor, gradient: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
    """The three products' operands (a, b) as the kernels take them, in a Route's order."""
    return (x, weight), (gradient, weight.t()), (gradient.t(), x.t())


def exact(kernel: str, wanted: Iterable[Shape]) -> bool:
    """Whether `kernel` works here and all three products of all shapes equal fp64's to fp32's precision."""
    for shape in wanted:
        rows = max(16, min(shape.rows, 256, PROBE_FLOP // (2 * shape.inputs * shape.outputs)))
        for a, b in products(*operands(shape._replace(rows=rows))):
            # Some columns, with all their summands: the whole of a large head in fp64 would be the peak of a run's memory.
            some = max(1, PROBED_SIZE // max(a.shape))
            truth = a.double() @ b[:some].double().t()
            try:
                error = (KERNELS[kernel](a, b)[:, :some] - truth).norm() / truth.norm()
            except (RuntimeError, AttributeError, TypeError):  # the private operator is gone or takes other arguments
                return False
            if not error <= EXACT:
                return False
    return True
