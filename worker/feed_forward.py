"""A block's second half in float32 on a CPU, x + MLP(LayerNorm(x)), with its backward pass written out.

The same operators on the same numbers as the modules, so the same bits. What it saves is memory traffic: GELU's gradient is
written over the gradient it is computed from, the residual is added in place, and a small model's step, of which
Python and autograd take a tenth, has four nodes less a block.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worker.linear import KERNELS, OWN


def suits(norm: nn.LayerNorm, mlp: Any, x: Tensor) -> bool:
    """Whether `half` computes what the modules `norm` and `mlp` would: GELU, no bias, no dropout, nothing compiled."""
    return (
        x.dtype == torch.float32
        and x.device.type == "cpu"
        and type(mlp.activation) is nn.GELU
        and norm.bias is None
        and mlp.c_fc.bias is None
        and not (mlp.training and mlp.dropout.p)
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def half(norm: nn.LayerNorm, mlp: Any, x: Tensor) -> Tensor:
    """x (B, T, C) → x + mlp(norm(x)), for modules that suit; its products take the route of `mlp`'s."""
    route = getattr(mlp.c_fc, "route", OWN)
    return _Half.apply(x, norm.weight, mlp.c_fc.weight, mlp.c_proj.weight, norm.eps, route)


class _Half(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gain, up, down, eps, route):
        product = KERNELS[route.forward]
        rows = x.reshape(-1, x.shape[-1])
        normed, mean, rstd = torch.native_layer_norm(rows, rows.shape[1:], gain, None, eps)
        hidden = product(normed, up)
        active = F.gelu(hidden)
        ctx.save_for_backward(rows, gain, up, down, mean, rstd, normed, hidden, active)
        ctx.route = route
        return product(active, down).add_(rows).view(x.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        rows, gain, up, down, mean, rstd, normed, hidden, active = ctx.saved_tensors
        to_input, to_weight = KERNELS[ctx.route.grad_input], KERNELS[ctx.route.grad_weight]
        g = gradient.reshape(rows.shape).contiguous()  # of a sum it is one number seen many times; oneDNN wants memory
        grad_down = to_weight(g.t(), active.t())
        g_hidden = to_input(g, down.t())
        torch.ops.aten.gelu_backward.grad_input(g_hidden, hidden, grad_input=g_hidden)
        grad_up = to_weight(g_hidden.t(), normed.t())
        grad_rows, grad_gain, _ = torch.ops.aten.native_layer_norm_backward(
            to_input(g_hidden, up.t()), rows, rows.shape[1:], mean, rstd, gain, None, (True, True, False)
        )
        return grad_rows.add_(g).view(gradient.shape), grad_gain, grad_up, grad_down, None, None
