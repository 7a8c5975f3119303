"""Cross-entropy from the last channels and the head's weights without ever holding the logits of all tokens.

With a vocabulary of 50,304 the logits (B·T, V), their log-softmax and their gradient are the largest tensors of a
step by far. Here they exist for `rows` tokens at a time: a chunk's loss is added up in fp32, and its share of the
gradients is computed at once, in the forward pass, so that nothing of it is kept. What lies between a chunk's products
is done block by block, on a CPU within its caches, and the gradient takes the place of the logits.

Own code rather than torch's linear_cross_entropy, whose loss is wrong for bf16 inputs on CPUs (9.19 for 10.87) and
which takes twice the time of the whole logits there.
"""

import torch
from torch import Tensor

from app.contract.arithmetic import LOSS_BLOCK_ROWS
from worker.linear import KERNELS, OWN, Route


@torch.compiler.disable  # type: ignore[untyped-decorator]  # it would unroll all blocks of all chunks before it gave up on them
def chunked_cross_entropy(
    x: Tensor, weight: Tensor, targets: Tensor, *, rows: int, softcap: float = 0.0, reduction: str = "mean",
    route: Route = OWN,
) -> Tensor:  # fmt: skip
    """The loss in nats of logits x·weightᵀ, in float32; x (N, C), weight (V, C), targets (N,).

    "mean": a scalar. "none": (N,), for evaluations; it has no gradient. With a soft cap the logits are
    cap·tanh(logits/cap). The head's product runs in autocast's type where that is on, all else in float32. `route`: the
    kernels of the head's products in float32 on a CPU; the weight's gradient is torch's own, which adds up in place.
    """
    assert reduction in ("mean", "none"), reduction
    dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
    if dtype != torch.float32 or x.device.type != "cpu":
        route = OWN
    with torch.autocast(x.device.type, enabled=False):
        if reduction == "mean" and torch.is_grad_enabled():
            return _Chunked.apply(x, weight, targets, rows, softcap, dtype, route)
        head = weight.to(dtype)
        parts = []
        for some, wanted in zip(x.split(rows), targets.split(rows), strict=True):
            logits = KERNELS[route.forward](some.to(dtype), head)
            parts += [_softmax(block, right, softcap)[1] for block, right in _blocks(logits, wanted)]
        losses = torch.cat(parts)
        return losses if reduction == "none" else losses.mean()


class _Chunked(torch.autograd.Function):
    """Computes both gradients of the summed loss beside the loss; backward only scales them."""

    @staticmethod
    def forward(ctx, x, weight, targets, rows, softcap, dtype, route):
        head = weight.detach().to(dtype)
        grad_x = torch.empty_like(x, dtype=dtype)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        share = None if dtype == torch.float32 else torch.empty_like(head)  # a chunk's, summed over chunks in fp32
        total = torch.zeros((), device=x.device, dtype=torch.float32)
        for some, wanted, grad_some in zip(x.split(rows), targets.split(rows), grad_x.split(rows), strict=True):
            some = some.to(dtype)
            g = KERNELS[route.forward](some, head)  # (rows, V): the logits, block by block their gradient
            for block, right in _blocks(g, wanted):
                p, losses, slope = _softmax(block, right, softcap)
                total += losses.sum()
                # The gradient of the sum of losses and not of their mean: 1/N of it would vanish in fp16.
                p.scatter_add_(1, right[:, None], torch.full_like(losses, -1.0)[:, None])
                block.copy_(p if slope is None else p.mul_(slope))
            if route.grad_input == "torch":
                torch.mm(g, head, out=grad_some)
            else:
                grad_some.copy_(KERNELS[route.grad_input](g, head.t()))
            if share is None:
                grad_weight.addmm_(g.t(), some)
            else:
                grad_weight += torch.mm(g.t(), some, out=share)
            del g, block, p, slope  # before the next chunk's logits, not after
        ctx.gradients = grad_x, grad_weight.to(weight.dtype)
        ctx.tokens = len(targets)
        ctx.x_dtype = x.dtype
        return total / len(targets)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        grad_x, grad_weight = ctx.gradients
        del ctx.gradients  # scaled in place: a second backward through the same graph finds nothing and says so
        scale = gradient / ctx.tokens
        return (grad_x.float() * scale).to(ctx.x_dtype), grad_weight.mul_(scale), None, None, None, None, None


def _blocks(logits, targets):
    """(logits, targets) of a few rows at a time, views."""
    rows = LOSS_BLOCK_ROWS[logits.device.type]
    return zip(logits.split(rows), targets.split(rows), strict=True)


def _softmax(logits, targets, softcap):
    """Of a block (n, V) in float32: the probabilities, the losses (n,) in nats, and the soft cap's derivative or None."""
    logits = logits.float()
    slope = None
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
        slope = 1 - (logits / softcap).square()
    p = logits.softmax(1)
    # The largest logit's own probability gives the normaliser, which a target's own would lose below 1e-38.
    losses = logits.amax(1) - p.amax(1).log() - logits.gather(1, targets[:, None])[:, 0]
    return p, losses, slope
