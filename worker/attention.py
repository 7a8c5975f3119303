"""Causal attention on a CPU: blocks of queries against the keys before them, as a few large batched products.

torch's own kernel makes many small products, in bfloat16 with conversions between them: a quarter of such a step, of which
this takes less than half. In float32 it is a sixth of a step, and this takes a quarter less. In bfloat16 scores are
rounded as autocast rounds every product; the softmax of each row is computed in float32. The probabilities are kept for
the backward pass, up to LONGEST tokens of context.
"""

import math

import torch
from torch import Tensor

from app.contract.arithmetic import ATTENTION_LONGEST as LONGEST
from app.contract.arithmetic import ATTENTION_ROWS as ROWS
from app.contract.arithmetic import ATTENTION_SHORTEST as SHORTEST

TYPES = {torch.bfloat16: "bfloat16", torch.float32: "float32"}


def kind(device: str, dtype: str, *, compiled: bool, in_chunks: bool) -> str:
    """How a new run attends: "blocks", where they suit, or "torch".

    In float32 what torch.compile makes is faster with torch's kernel; and beside a loss in chunks, which is most of a
    step, the probabilities are a twentieth of its memory for a hundredth of its time.
    """
    return "blocks" if device == "cpu" and (dtype == "bfloat16" or not (compiled or in_chunks)) else "torch"


def suits(x: Tensor, dropout: float) -> bool:
    """Whether `blocked` may take queries, keys and values such as x (B, T, …), with so much dropout."""
    if x.device.type != "cpu" or x.dtype not in TYPES or dropout:
        return False
    return SHORTEST[TYPES[x.dtype]] <= x.shape[1] <= LONGEST


def blocked(qkv: Tensor, mask: Tensor | None = None) -> Tensor:
    """Causal attention (B, T, C) of queries, keys and values (3, B, H, T, C/H) of any strides.

    `mask` (B, 1, T, T), added to the scores: −∞ for the keys that a query does not see, those after itself among them;
    None: it sees all up to itself.
    """
    return _Blocked.apply(qkv, mask)


class _Blocked(torch.autograd.Function):
    @staticmethod
    def forward(ctx, qkv, mask):
        _, B, H, T, D = qkv.shape
        q, k, v = (part.reshape(B * H, T, D) for part in qkv.unbind())
        with torch.autocast("cpu", enabled=False):
            q = q * (1 / math.sqrt(D))  # here rather than on the scores, which are more
            y = q.new_empty(B, T, H, D)
            kept = []
            rows = ROWS[TYPES.get(qkv.dtype, "float32")]
            for first in range(0, T, rows):
                end = min(first + rows, T)
                scores = torch.bmm(q[:, first:end], k[:, :end].transpose(1, 2))
                if mask is None:
                    scores[:, :, first:] += _above_diagonal(end - first, scores)
                else:
                    scores.view(B, H, end - first, end).add_(mask[:, :, first:end, :end])
                p = scores.softmax(-1)
                kept.append(p)
                y[:, first:end] = torch.bmm(p, v[:, :end]).view(B, H, end - first, D).transpose(1, 2)
        ctx.save_for_backward(q, k, v, *kept)
        return y.view(B, T, H * D)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        q, k, v, *kept = ctx.saved_tensors
        B, T, _ = gradient.shape
        heads, D = q.shape[0] // B, q.shape[2]
        g = gradient.view(B, T, heads, D).transpose(1, 2).reshape(q.shape)
        # In the layout of one product's output for all three, so that nothing is copied to get there.
        grad = g.new_empty(B, T, 3, heads, D).permute(2, 0, 3, 1, 4)
        grad_k: Tensor | None = None
        grad_v: Tensor | None = None
        first = T
        for p in reversed(kept):  # the last block reaches all keys, the others add their shares
            first, end = first - p.shape[1], first
            g_block, q_block = g[:, first:end], q[:, first:end]
            slope = torch._softmax_backward_data(torch.bmm(g_block, v[:, :end].transpose(1, 2)), p, -1, p.dtype)
            grad_q = torch.bmm(slope, k[:, :end]).mul_(1 / math.sqrt(D))
            grad[0, :, :, first:end] = grad_q.view(B, heads, end - first, D)
            to_k, to_v = torch.bmm(slope.transpose(1, 2), q_block), torch.bmm(p.transpose(1, 2), g_block)
            if grad_k is None or grad_v is None:
                grad_k, grad_v = to_k, to_v
            else:
                grad_k[:, :end] += to_k
                grad_v[:, :end] += to_v
        assert grad_k is not None, "no queries"
        assert grad_v is not None, "no queries"
        grad[1] = grad_k.view(B, heads, T, D)
        grad[2] = grad_v.view(B, heads, T, D)
        return grad, None


def _above_diagonal(size, like):
    return like.new_full((size, size), -math.inf).triu_(1)
