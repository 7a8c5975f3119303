"""Evaluation in eval mode on fixed windows, with the standard error of the mean over windows.

Fixed windows make two evaluations a paired comparison, and the same number from train and val makes
their gap mean something. Eval mode draws no random number, so training goes on as if nobody had looked.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from worker.batches import Tokens, window_pair
from worker.processes import ALONE, Alone


class Evaluation(NamedTuple):
    loss: float  #: nats per token, mean over windows
    se: float  #: standard error of that mean: sd / √n
    losses: NDArray  #: (windows,) each window's own mean, in the order of its start


@torch.no_grad()
def evaluate(
    model: nn.Module,
    tokens: Tokens,
    starts: NDArray,
    block_size: int,
    batch_size: int,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager],
    processes: Alone = ALONE,
) -> Evaluation:
    """`autocast` makes the context of the forward pass. Larger batches than the micro-batch are slower on a CPU (cache)."""
    was_training = model.training
    model.eval()
    losses = []  # one per window, on the device
    mine = processes.windows(starts)
    for first in range(0, len(mine), batch_size):
        chosen = mine[first : first + batch_size]
        # The last batch is filled up with its own first window: a compiled model sees one shape only.
        filled = np.concatenate([chosen, np.repeat(chosen[:1], batch_size - len(chosen))])
        x, y = (t.to(device, non_blocking=True) for t in window_pair(tokens, filled, block_size))
        with autocast():
            _, loss = model(x, y, reduction="none")  # (B, T)
        losses.append(loss.float().mean(dim=1)[: len(chosen)])
    model.train(was_training)
    return summarise(processes.gathered(torch.cat(losses), len(starts)).double().cpu().numpy())


def summarise(losses: NDArray) -> Evaluation:
    """Mean and standard error of per-window losses; one window has no standard error."""
    se = float(losses.std(ddof=1) / math.sqrt(len(losses))) if len(losses) > 1 else math.nan
    return Evaluation(float(losses.mean()), se, losses)


def perplexity(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf


def bits_per_byte(loss: float, bytes_per_token: float) -> float:
    """The loss without the tokenizer's share: nats per token over ln 2 and the bytes a token stands for."""
    return loss / (math.log(2) * bytes_per_token)
