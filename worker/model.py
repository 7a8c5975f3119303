"""GPT-2's network: pre-LN blocks, GELU, learned positions, output head tied to the token embedding; each can be switched.

Layout, parameter names and the order in which initial weights are drawn are nanoGPT's, so that equal
seeds give equal weights and its checkpoints can be compared tensor by tensor. The switches are those of
modded-nanogpt and nanochat: ReLU², rotary positions, QK norm, zero-initialised projections, an untied
head and soft-capped logits.

Shapes: B sequences, T tokens, C channels (n_embd), H heads, V vocabulary.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from worker import attention, feed_forward, linear
from worker.cross_entropy import chunked_cross_entropy


class Attention(nn.Module):
    """Causal self-attention; flash kernels where the device has them."""

    def __init__(self, n_embd, n_head, dropout, bias, qk_norm=False):
        super().__init__()
        assert n_embd % n_head == 0, f"width {n_embd} is not a multiple of {n_head} heads"
        self.c_attn = nn.Linear(n_embd, 3 * n_embd, bias=bias)  # query, key and value in one product
        self.c_proj = nn.Linear(n_embd, n_embd, bias=bias)
        self.resid_dropout = nn.Dropout(dropout)
        self.n_head = n_head
        self.dropout = dropout
        self.qk_norm = qk_norm
        self.blocked = False  # by worker.attention where that can

    def forward(self, x, turn=None, mask=None):
        """x (B, T, C). `turn`: cosines and sines of rotary positions, as rotate's. `mask` (B, 1, T, T): as worker.attention's."""
        B, T, C = x.shape
        x = self.c_attn(x)
        blocked = self.blocked and attention.suits(x, self.dropout if self.training else 0.0)
        if blocked and not self.qk_norm and turn is None:
            qkv = x.view(B, T, 3, self.n_head, C // self.n_head).permute(2, 0, 3, 1, 4)
            return self.resid_dropout(self.c_proj(attention.blocked(qkv, mask)))
        q, k, v = x.split(C, dim=2)
        q, k, v = (t.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for t in (q, k, v))  # (B, H, T, C/H)
        if self.qk_norm:
            # No gain of its own: with |q| = |k| = √(C/H) a score lies between ±√(C/H).
            q, k = (F.rms_norm(t, (t.shape[-1],)) for t in (q, k))
        if turn is not None:
            q, k = rotate(q, *turn), rotate(k, *turn)
        if blocked:
            return self.resid_dropout(self.c_proj(attention.blocked(torch.stack((q, k, v)).to(x.dtype), mask)))
        y = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=self.dropout if self.training else 0.0, is_causal=mask is None
        )
        return self.resid_dropout(self.c_proj(y.transpose(1, 2).reshape(B, T, C)))


def rotate(x, cos, sin):
    """Turn channel i of x (B, H, T, D) together with channel i + D/2 by the angle of its position (RoPE, 2104.09864).

    `cos`, `sin`: (T or more, D/2), the same for all sequences, or (B, 1, T, D/2).
    """
    cos, sin = cos[..., : x.shape[2], :].to(x.dtype), sin[..., : x.shape[2], :].to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def angles(block_size, size):
    """Cosines and sines (T, size/2) of position · 10000^(−2i/size); in float32, for positions do not fit bfloat16."""
    frequency = 10000.0 ** (-torch.arange(0, size, 2, dtype=torch.float32) / size)
    angle = torch.outer(torch.arange(block_size, dtype=torch.float32), frequency)
    return angle.cos(), angle.sin()


def within_documents(idx, eot, dtype):
    """Positions (B, T) that begin anew at each end-of-text, and a mask (B, 1, T, T) to add to scores: 0 or −∞.

    End-of-text opens the document behind it, whichever side of a text the preparation puts it on: so the last token of
    a document still learns that it is the last, and nothing of a document depends on the one before it.
    """
    at = torch.arange(idx.shape[1], device=idx.device)
    since = torch.where(idx == eot, at, 0).cummax(1).values  # where its document begins in the window
    sees = (at <= at[:, None]) & (at >= since[:, :, None])
    # Added, and of the scores' own type: of a boolean mask each layer would make and keep such a tensor of its own.
    mask = torch.zeros(sees.shape, dtype=dtype, device=idx.device).masked_fill_(~sees, -math.inf)
    return at - since, mask[:, None]


class Relu2(nn.Module):
    def forward(self, x):
        return F.relu(x).square()


class MLP(nn.Module):
    def __init__(self, n_embd, dropout, bias, activation="gelu"):
        super().__init__()
        assert activation in ("gelu", "relu2"), f"{activation} is neither gelu nor relu2"
        self.c_fc = nn.Linear(n_embd, 4 * n_embd, bias=bias)
        self.activation = nn.GELU() if activation == "gelu" else Relu2()
        self.c_proj = nn.Linear(4 * n_embd, n_embd, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        return self.dropout(self.c_proj(self.activation(self.c_fc(x))))


class Block(nn.Module):
    def __init__(self, n_embd, n_head, dropout, bias, activation="gelu", qk_norm=False):
        super().__init__()
        self.ln_1 = nn.LayerNorm(n_embd, bias=bias)
        self.attn = Attention(n_embd, n_head, dropout, bias, qk_norm)
        self.ln_2 = nn.LayerNorm(n_embd, bias=bias)
        self.mlp = MLP(n_embd, dropout, bias, activation)

    def forward(self, x, turn=None, mask=None):
        x = x + self.attn(self.ln_1(x), turn, mask)
        if feed_forward.suits(self.ln_2, self.mlp, x):
            return feed_forward.half(self.ln_2, self.mlp, x)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """Tokens (B, T) to the channels (B, T, C) from which the next token is read."""

    cos: torch.Tensor  # of rotary positions, (T, C/H/2)
    sin: torch.Tensor

    def __init__(
        self, vocab_size, block_size, n_layer, n_head, n_embd, dropout, bias,
        activation="gelu", positions="learned", qk_norm=False,
    ):  # fmt: skip
        super().__init__()
        assert positions in ("learned", "rope"), f"{positions} is neither learned nor rope"
        self.wte = nn.Embedding(vocab_size, n_embd)
        self.rope = positions == "rope"
        if self.rope:
            cos, sin = angles(block_size, n_embd // n_head)
            # Computed, not learnt: in no checkpoint, and moved to the device with the weights.
            self.register_buffer("cos", cos, persistent=False)
            self.register_buffer("sin", sin, persistent=False)
        else:
            self.wpe = nn.Embedding(block_size, n_embd)
        self.drop = nn.Dropout(dropout)
        self.h = nn.ModuleList(Block(n_embd, n_head, dropout, bias, activation, qk_norm) for _ in range(n_layer))
        self.ln_f = nn.LayerNorm(n_embd, bias=bias)
        self.recompute = False  # keep each block's input only and run the block again in the backward pass
        self.eot = None  # id of end-of-text, where attention and positions stay within documents

    def forward(self, idx):
        x = self.wte(idx)
        places, mask = torch.arange(idx.shape[1], device=idx.device), None
        if self.eot is not None:
            kind = x.device.type
            dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
            places, mask = within_documents(idx, self.eot, dtype)
        turn = None
        if not self.rope:
            x = x + self.wpe(places)
        elif mask is None:
            turn = self.cos, self.sin
        else:
            turn = self.cos[places][:, None], self.sin[places][:, None]
        x = self.drop(x)
        for block in self.h:
            # The random state is put back for the second run, so that dropout drops the same again.
            x = (
                checkpoint(block, x, turn, mask, use_reentrant=False)
                if self.recompute and torch.is_grad_enabled()
                else block(x, turn, mask)
            )
        return self.ln_f(x)


class GPT(nn.Module):
    def __init__(
        self,
        vocab_size: int,
        block_size: int,
        n_layer: int,
        n_head: int,
        n_embd: int,
        dropout: float = 0.0,
        bias: bool = False,
        *,
        activation: str = "gelu",
        positions: str = "learned",
        qk_norm: bool = False,
        zero_init: bool = False,
        tied_head: bool = True,
        softcap: float = 0.0,
    ) -> None:
        super().__init__()
        self.block_size = block_size
        self.n_layer = n_layer
        self.n_embd = n_embd
        self.tied_head = tied_head
        self.softcap = softcap
        self.loss_rows = 0  # tokens whose logits exist at once in the loss; 0: all
        self.transformer = Transformer(
            vocab_size, block_size, n_layer, n_head, n_embd, dropout, bias, activation, positions, qk_norm
        )
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)
        # The head draws its own initial weights first and is shared only then: nanoGPT's order of draws.
        # named_parameters() lists the shared tensor once, as transformer.wte.weight.
        if tied_head:
            self.transformer.wte.weight = self.lm_head.weight

        self.apply(_draw)
        # Each block adds two branches to the residual stream; smaller draws keep its variance at depth (GPT-2 paper).
        for name, parameter in self.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(parameter, mean=0.0, std=0.02 / math.sqrt(2 * n_layer))
                if zero_init:  # after the draw, so that every other tensor starts the same with and without
                    nn.init.zeros_(parameter)
        if zero_init and not tied_head:
            nn.init.zeros_(self.lm_head.weight)

    def forward(self, idx, targets, reduction="mean"):
        """Logits (B, T, V) and the cross-entropy in nats: a scalar, or (B, T) with reduction="none".

        In chunks (loss_rows) the logits never exist as a whole, and None stands in their place.
        """
        assert idx.shape[1] <= self.block_size, f"{idx.shape[1]} tokens are more than the context of {self.block_size}"
        x = self.transformer(idx)
        if self.loss_rows:
            loss = chunked_cross_entropy(
                x.flatten(0, 1), self.lm_head.weight, targets.flatten(),
                rows=self.loss_rows, softcap=self.softcap, reduction=reduction,
                route=getattr(self.lm_head, "route", linear.OWN),
            )  # fmt: skip
            return None, loss if reduction == "mean" else loss.view_as(targets)
        logits = self.capped(self.lm_head(x))
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1), reduction=reduction)
        return logits, loss if reduction == "mean" else loss.view_as(targets)

    def capped(self, logits: torch.Tensor) -> torch.Tensor:
        """cap·tanh(logits/cap), in float32; the logits themselves without a cap."""
        if not self.softcap:
            return logits
        return self.softcap * torch.tanh(logits.float() / self.softcap)

    def attend(self, *, blocked: bool) -> None:
        """By worker.attention's blocks where those can, or by torch's own kernels everywhere."""
        for block in self.transformer.h:
            block.attn.blocked = blocked  # type: ignore[union-attr]

    def parameter_counts(self) -> tuple[int, int, int]:
        """(all, without the position table, without embeddings and head); the tied head counts once."""
        everything = sum(p.numel() for p in self.parameters())
        positions = 0 if self.transformer.rope else self.transformer.wpe.weight.numel()
        tables = self.transformer.wte.weight.numel() * (1 if self.tied_head else 2)
        return everything, everything - positions, everything - positions - tables

    def flops_per_token(self) -> int:
        """6N + 12·L·C·T, forward and backward: PaLM's appendix B, with N without the position table as nanoGPT counts.

        An untied token embedding is only looked up: of the two tables the head alone is multiplied.
        """
        multiplied = self.parameter_counts()[1] - (0 if self.tied_head else self.transformer.wte.weight.numel())
        return 6 * multiplied + 12 * self.n_layer * self.n_embd * self.block_size


def _draw(module):
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, mean=0.0, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, mean=0.0, std=0.02)
