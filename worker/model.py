"""GPT-2's network: pre-LN blocks, GELU, learned positions, output head tied to the token embedding.

Layout, parameter names and the order in which initial weights are drawn are nanoGPT's, so that equal
seeds give equal weights and its checkpoints can be compared tensor by tensor.

Shapes: B sequences, T tokens, C channels (n_embd), H heads, V vocabulary.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Causal self-attention; flash kernels where the device has them."""

    def __init__(self, n_embd, n_head, dropout, bias):
        super().__init__()
        assert n_embd % n_head == 0, f"width {n_embd} is not a multiple of {n_head} heads"
        self.c_attn = nn.Linear(n_embd, 3 * n_embd, bias=bias)  # query, key and value in one product
        self.c_proj = nn.Linear(n_embd, n_embd, bias=bias)
        self.resid_dropout = nn.Dropout(dropout)
        self.n_head = n_head
        self.dropout = dropout

    def forward(self, x):  # (B, T, C)
        B, T, C = x.shape
        q, k, v = self.c_attn(x).split(C, dim=2)
        q, k, v = (t.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for t in (q, k, v))  # (B, H, T, C/H)
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0, is_causal=True)
        return self.resid_dropout(self.c_proj(y.transpose(1, 2).reshape(B, T, C)))


class MLP(nn.Module):
    def __init__(self, n_embd, dropout, bias):
        super().__init__()
        self.c_fc = nn.Linear(n_embd, 4 * n_embd, bias=bias)
        self.gelu = nn.GELU()
        self.c_proj = nn.Linear(4 * n_embd, n_embd, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        return self.dropout(self.c_proj(self.gelu(self.c_fc(x))))


class Block(nn.Module):
    def __init__(self, n_embd, n_head, dropout, bias):
        super().__init__()
        self.ln_1 = nn.LayerNorm(n_embd, bias=bias)
        self.attn = Attention(n_embd, n_head, dropout, bias)
        self.ln_2 = nn.LayerNorm(n_embd, bias=bias)
        self.mlp = MLP(n_embd, dropout, bias)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """Tokens (B, T) to the channels (B, T, C) from which the next token is read."""

    def __init__(self, vocab_size, block_size, n_layer, n_head, n_embd, dropout, bias):
        super().__init__()
        self.wte = nn.Embedding(vocab_size, n_embd)
        self.wpe = nn.Embedding(block_size, n_embd)
        self.drop = nn.Dropout(dropout)
        self.h = nn.ModuleList(Block(n_embd, n_head, dropout, bias) for _ in range(n_layer))
        self.ln_f = nn.LayerNorm(n_embd, bias=bias)

    def forward(self, idx):
        position = torch.arange(idx.shape[1], device=idx.device)
        x = self.drop(self.wte(idx) + self.wpe(position))
        for block in self.h:
            x = block(x)
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
    ) -> None:
        super().__init__()
        self.block_size = block_size
        self.n_layer = n_layer
        self.n_embd = n_embd
        self.transformer = Transformer(vocab_size, block_size, n_layer, n_head, n_embd, dropout, bias)
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)
        # The head draws its own initial weights first and is shared only then: nanoGPT's order of draws.
        # named_parameters() lists the shared tensor once, as transformer.wte.weight.
        self.transformer.wte.weight = self.lm_head.weight

        self.apply(_draw)
        # Each block adds two branches to the residual stream; smaller draws keep its variance at depth (GPT-2 paper).
        for name, parameter in self.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(parameter, mean=0.0, std=0.02 / math.sqrt(2 * n_layer))

    def forward(self, idx, targets, reduction="mean"):
        """Logits (B, T, V) and the cross-entropy in nats: a scalar, or (B, T) with reduction="none"."""
        assert idx.shape[1] <= self.block_size, f"{idx.shape[1]} tokens are more than the context of {self.block_size}"
        logits = self.lm_head(self.transformer(idx))
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1), reduction=reduction)
        return logits, loss if reduction == "mean" else loss.view_as(targets)

    def parameter_counts(self) -> tuple[int, int, int]:
        """(all, without the position table, without both embeddings); the tied head counts once."""
        everything = sum(p.numel() for p in self.parameters())
        positions = self.transformer.wpe.weight.numel()
        return everything, everything - positions, everything - positions - self.transformer.wte.weight.numel()

    def flops_per_token(self) -> int:
        """6N + 12·L·C·T, forward and backward: PaLM's appendix B, with N without the position table as nanoGPT counts."""
        return 6 * self.parameter_counts()[1] + 12 * self.n_layer * self.n_embd * self.block_size


def _draw(module):
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, mean=0.0, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, mean=0.0, std=0.02)
