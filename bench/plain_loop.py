"""The baseline of bench/train_step.py: a small GPT and its training loop the way most scripts are written.

In the manner of nanoGPT, written for this comparison: token file mapped anew for each batch, windows stacked one by one,
AdamW as the device defaults to (a Python loop over tensors on a CPU), loss read after every step, no autocast on a
CPU whatever the precision asked for. Parameter names are GPT-2's, so that weights can be handed over.
"""

import math
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.c_attn = nn.Linear(width, 3 * width, bias=False)
        self.c_proj = nn.Linear(width, width, bias=False)
        self.heads = heads

    def forward(self, x):
        B, T, C = x.size()
        query, key, value = self.c_attn(x).split(C, dim=2)
        query, key, value = (
            part.view(B, T, self.heads, C // self.heads).transpose(1, 2) for part in (query, key, value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.c_proj(mixed.transpose(1, 2).contiguous().view(B, T, C))


class MLP(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width, bias=False)
        self.c_proj = nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x)))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, bias=False)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width, bias=False)
        self.mlp = MLP(width)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class PlainGPT(nn.Module):
    def __init__(self, vocab, block, layers, heads, width):
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(vocab, width),
                "wpe": nn.Embedding(block, width),
                "h": nn.ModuleList(Block(width, heads) for _ in range(layers)),
                "ln_f": nn.LayerNorm(width, bias=False),
            }
        )
        self.lm_head = nn.Linear(width, vocab, bias=False)
        self.transformer["wte"].weight = self.lm_head.weight

    def forward(self, tokens, targets):
        position = torch.arange(tokens.size(1), device=tokens.device)
        x = self.transformer["wte"](tokens) + self.transformer["wpe"](position)
        for block in self.transformer["h"]:
            x = block(x)
        logits = self.lm_head(self.transformer["ln_f"](x))
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))


class PlainLoop:
    def __init__(
        self, model: PlainGPT, data: Path, block: int, micro_batch: int, *, device: str, compiled: bool
    ) -> None:
        self.model, self.data, self.block, self.micro_batch, self.device = model, data, block, micro_batch, device
        self.run = torch.compile(model) if compiled else model
        parameters = list(model.parameters())
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
                {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
            ],
            lr=1e-3, betas=(0.9, 0.99), fused=True if device == "cuda" else None,
        )  # fmt: skip
        half = device == "cuda" and torch.cuda.is_bf16_supported()
        self.context = torch.autocast(device, torch.bfloat16) if half else nullcontext()

    def get_batch(self):
        data = np.memmap(self.data, dtype=np.uint16, mode="r")
        starts = torch.randint(len(data) - self.block, (self.micro_batch,))
        x = torch.stack([torch.from_numpy(data[i : i + self.block].astype(np.int64)) for i in starts])
        y = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + self.block].astype(np.int64)) for i in starts])
        if self.device == "cuda":
            return x.pin_memory().to("cuda", non_blocking=True), y.pin_memory().to("cuda", non_blocking=True)
        return x, y

    def step(self, update: int, batch: tuple[torch.Tensor, torch.Tensor] | None = None) -> float:
        """One update; `batch` for comparing losses, else the loop draws its own. Returns the loss."""
        lr = 1e-4 + 0.5 * (1 + math.cos(math.pi * update / 2000)) * 9e-4
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        x, y = self.get_batch() if batch is None else batch
        with self.context:
            _, loss = self.run(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()
