"""Writing with a model: one token after the other, drawn from its logits by a generator of its own.

Keys and values of what is written already are kept, so a token costs one token's products. Once the text is
longer than the context, the model sees its last block_size tokens, at positions that move with every token:
then each costs a pass over the whole context, as in nanoGPT. Every draw is made on the CPU, so that one seed
means one text whatever the device, and nobody else's random numbers are touched.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F

from worker.model import GPT, rotate


class Choice(NamedTuple):
    """How the next token is chosen among the model's probabilities."""

    temperature: float = 0.8  #: 0: always the most probable one
    top_k: int = 0  #: of the k most probable only; 0: of all
    top_p: float = 1.0  #: of the fewest most probable ones that hold this share together


Kept = list[tuple[torch.Tensor, torch.Tensor]]  # a block's keys and values, each (1, H, positions, C/H)


def generator(seed: int, index: int) -> torch.Generator:
    """Of sample number `index`: the same whatever the number of samples, and no sample of another seed."""
    digest = hashlib.sha256(f"{seed}/{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@torch.no_grad()
def generate(
    model: GPT, prompt: Sequence[int], tokens: int, choice: Choice, draws: torch.Generator, *, entries: int, stop: int | None = None
) -> Iterator[int]:  # fmt: skip
    """Up to `tokens` ids that follow `prompt`, each as soon as it is drawn; `stop` is the last one if it comes.

    `entries`: ids from there on are padding of the vocabulary and are never drawn. The model has to be in eval mode.
    """
    assert prompt, "a text begins with at least one token"
    assert not model.training, "dropout would spoil the text and draw from the global generator"
    device = model.lm_head.weight.device
    written = [int(token) for token in prompt]
    kept: Kept = []
    new = written[-model.block_size :]
    seen = 0  # tokens whose keys and values are kept
    for _ in range(tokens):
        if seen + len(new) > model.block_size:
            kept, new, seen = [], written[-model.block_size :], 0
        logits = forward(model, torch.tensor([new], device=device), kept, seen)
        seen += len(new)
        token = choose(logits[0, :entries].float().cpu(), choice, draws)
        written.append(token)
        new = [token]
        yield token
        if token == stop:
            return


def choose(logits: torch.Tensor, choice: Choice, draws: torch.Generator) -> int:
    """One id by its logits (V,): first temperature, then the k most probable, then the share top_p of those."""
    if choice.temperature == 0:
        return int(logits.argmax())
    # A draw walks through the ids from the most probable down; equal logits keep their order.
    logits, ids = (logits / choice.temperature).sort(descending=True, stable=True)
    if choice.top_k:
        logits = logits[: choice.top_k]
    share = F.softmax(logits.double(), dim=0)
    reached = share.cumsum(0)
    if choice.top_p < 1:  # the first one that reaches the share still counts
        share = share[: int((reached - share < choice.top_p).sum())]
        reached = reached[: len(share)]
    drawn = torch.rand((), generator=draws, dtype=torch.float64) * reached[-1]
    return int(ids[min(int((reached <= drawn).sum()), len(share) - 1)])


def forward(model: GPT, idx: torch.Tensor, kept: Kept, seen: int) -> torch.Tensor:
    """Logits (1, V) after idx (1, T), which stand at positions seen, seen + 1, …; their keys and values join `kept`.

    The same sums as GPT.forward's: of several tokens only at the beginning, later of one.
    """
    assert seen == 0 or idx.shape[1] == 1, f"{idx.shape[1]} tokens after {seen} would need a mask"
    transformer: Any = model.transformer
    x = transformer.wte(idx)
    turn = None
    if transformer.rope:
        here = slice(seen, seen + idx.shape[1])
        turn = transformer.cos[here], transformer.sin[here]
    else:
        x = x + transformer.wpe(torch.arange(seen, seen + idx.shape[1], device=idx.device))
    for number, block in enumerate(transformer.h):
        x = x + _attend(block.attn, block.ln_1(x), turn, kept, number)
        x = x + block.mlp(block.ln_2(x))
    return model.capped(model.lm_head(transformer.ln_f(x[:, -1])))


def _attend(attention: Any, x: torch.Tensor, turn: Any, kept: Kept, number: int) -> torch.Tensor:
    B, T, C = x.shape
    q, k, v = attention.c_attn(x).split(C, dim=2)
    q, k, v = (t.view(B, T, attention.n_head, C // attention.n_head).transpose(1, 2) for t in (q, k, v))
    if attention.qk_norm:
        q, k = (F.rms_norm(t, (t.shape[-1],)) for t in (q, k))
    if turn is not None:
        q, k = rotate(q, *turn), rotate(k, *turn)
    if number < len(kept):
        k, v = (torch.cat((old, t), dim=2) for old, t in zip(kept[number], (k, v), strict=True))
        kept[number] = k, v
    else:
        kept.append((k, v))
    # one query after the others sees all keys; the first ones see those before them
    y = F.scaled_dot_product_attention(q, k, v, is_causal=T > 1)
    return attention.c_proj(y.transpose(1, 2).reshape(B, T, C))
