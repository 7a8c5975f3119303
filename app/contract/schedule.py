"""The learning rate as a pure function of the update; standard library only, so both sides and the bench can use it."""

import math


def learning_rate(update: int, *, lr: float, min_lr: float, warmup_steps: int, decay_steps: int) -> float:
    """Learning rate of the 0-based `update`: linear warm-up to `lr`, then cosine to `min_lr` at `decay_steps`.

    The same numbers as nanoGPT's get_lr(iter_num=update).
    """
    if update < warmup_steps:
        return lr * (update + 1) / (warmup_steps + 1)
    if update >= decay_steps:
        return min_lr
    ratio = (update - warmup_steps) / (decay_steps - warmup_steps)
    return min_lr + 0.5 * (1.0 + math.cos(math.pi * ratio)) * (lr - min_lr)
