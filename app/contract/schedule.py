"""Learning rate and weight decay as pure functions of the update; standard library only, so both sides and the bench can use them."""

import math

SHAPES = ("cosine", "linear", "wsd", "constant")
DECAY_SHAPES = ("constant", "linear", "cosine")


def learning_rate(
    update: float,
    *,
    lr: float,
    min_lr: float,
    warmup_steps: int,
    decay_steps: int,
    shape: str = "cosine",
    cooldown: float = 0.2,
) -> float:
    """Learning rate of the 0-based `update`: linear warm-up to `lr`, then down to `min_lr`, reached at `decay_steps`.

    cosine gives the same numbers as nanoGPT's get_lr(iter_num=update). wsd (warm-up, stable, decay) stays at `lr`
    and falls linearly over the last `cooldown` share of `decay_steps`; constant never falls.
    """
    if update < warmup_steps:
        return lr * (update + 1) / (warmup_steps + 1)
    if shape == "constant":
        return lr
    if update >= decay_steps:
        return min_lr
    start = cooldown_start(warmup_steps, decay_steps, cooldown) if shape == "wsd" else warmup_steps
    if update < start:
        return lr
    ratio = (update - start) / (decay_steps - start)
    if shape == "cosine":
        return min_lr + 0.5 * (1.0 + math.cos(math.pi * ratio)) * (lr - min_lr)
    return lr + ratio * (min_lr - lr)


def cooldown_start(warmup_steps: int, decay_steps: int, cooldown: float) -> int:
    """The update from which wsd falls; the warm-up always comes first."""
    return max(warmup_steps, decay_steps - round(cooldown * decay_steps))


def decay_share(update: float, *, shape: str, decay_steps: int) -> float:
    """Share of λ in force at the 0-based `update`: 1, or from 1 to 0 at `decay_steps`, linearly or by a cosine."""
    if shape == "constant":
        return 1.0
    ratio = min(1.0, update / decay_steps)
    return 1.0 - ratio if shape == "linear" else 0.5 * (1.0 + math.cos(math.pi * ratio))


def decay_per_step(
    rate: float, weight_decay: float, *, peak: float, coupling: str = "lr", adamc: bool = False
) -> float:
    """The share a that one update takes off a decayed weight, at learning rate `rate` under a schedule that peaks at `peak`.

    lr·λ as PyTorch multiplies; λ itself where decay is independent of lr; λ·lr²/peak with AdamC's correction for
    normalised layers (2506.02285), which keeps their gradient norms from growing as lr falls.
    """
    if coupling == "independent":
        return weight_decay
    return rate * weight_decay * (rate / peak if adamc else 1.0)
