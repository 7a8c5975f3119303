"""D18: the batch size at which gradients stop being mostly noise, from the squared norms of one micro-batch's gradient and the batch's.

    G² = (B|G_B|² − b|G_b|²)/(B − b)    S = (|G_b|² − |G_B|²)/(1/b − 1/B)    noise scale = S/G²    (McCandlish et al. 1812.06162)

Each is averaged (0.99 a sample) before the ratio is taken. A guide only: it is about SGD, and Adam is not SGD.
"""

import math

import numpy as np

from app.diagnosis.findings import Evidence, Finding, Level
from app.diagnosis.observations import Floats, Observations

KEPT, FEWEST, LOOKED = 0.99, 50, 1_000
"""Weight of the past, samples needed, and samples looked at: 0.99^1000 of what is older is 4e-5."""
WASTEFUL, NOISY = 3.0, 0.1
"""Batch over noise scale (science.md B.9)."""
PARTS = 5


def judge(o: Observations) -> Finding | None:
    micro, batch = o.curve("noise/grad_sq_micro"), o.curve("noise/grad_sq_batch")
    if not len(micro.step) or not len(batch.step):
        return None
    if not o.micro_batch or not o.block_size or not o.tokens_per_step:
        missing = tuple(name for name in ("micro_batch", "block_size", "tokens_per_step") if not getattr(o, name))
        return _unknown("The size of a micro-batch, in tokens.", missing)
    small, large = o.micro_batch * o.block_size, o.tokens_per_step
    if large <= small:
        return _unknown("Two micro-batches a step (accumulation 2): one alone does not show its noise.", ())
    steps = np.intersect1d(micro.step[-2 * LOOKED :], batch.step[-2 * LOOKED :])[-LOOKED:]
    small_sq, large_sq = micro.at(steps), batch.at(steps)
    good = np.isfinite(small_sq) & np.isfinite(large_sq)
    small_sq, large_sq = small_sq[good], large_sq[good]
    if len(small_sq) < FEWEST:
        return _unknown(f"{FEWEST - len(small_sq)} more samples; one is taken every 10 steps.", ())
    signal = (large * large_sq - small * small_sq) / (large - small)
    noise = (small_sq - large_sq) / (1 / small - 1 / large)
    scale = _ratio(noise, signal)
    parts = [_ratio(n, s) for n, s in zip(np.array_split(noise, PARTS), np.array_split(signal, PARTS), strict=True)]
    finite = [one for one in parts if math.isfinite(one)]
    low, high = (min(finite), max(finite)) if finite else (math.nan, math.nan)
    if not math.isfinite(scale):
        return Finding(
            "D18", "Batch size", "not to be told", Level.unknown,
            "The gradient is so noisy that its true length cannot be told from 0: the noise scale is far above the batch.",
            evidence=(Evidence("batch", large, "tokens"), Evidence("samples", len(small_sq))), needs="More samples, or a larger batch.",
            confidence="low", would_change="More samples.",
        )  # fmt: skip
    ratio = large / scale if scale > 0 else math.inf
    evidence = (
        Evidence("noise scale", scale, "tokens", low, high, "lowest and highest of five stretches"),
        Evidence(
            "batch", large, "tokens", limit=f"wasteful beyond {WASTEFUL:g} times the noise scale, noisy below a tenth"
        ),
        Evidence("samples", len(small_sq)),
    )
    guide = "A guide only: measured for SGD; Adam bears other batches."
    if ratio > WASTEFUL:
        return Finding(
            "D18", "Batch size", "large", Level.info,
            f"The batch of {large:,} tokens is {ratio:.1f} times the noise scale ({scale:,.0f}): a smaller one would learn as much from fewer tokens.",
            evidence=evidence, confidence="low" if low < large / WASTEFUL * 0.5 or high > large / WASTEFUL else "medium", because=guide, would_change="A noise scale that grows, as it does when the loss falls.",
            advice="Halve the batch and train as many tokens; the rate goes down with its square root.",
        )  # fmt: skip
    if ratio < NOISY:
        return Finding(
            "D18", "Batch size", "small", Level.info,
            f"The batch of {large:,} tokens is {ratio:.2f} of the noise scale ({scale:,.0f}): most of a gradient is noise.",
            evidence=evidence, confidence="medium", because=guide, would_change="A noise scale below ten batches.",
            advice="Double the batch where the device has room: steps become nearly twice as good.",
        )  # fmt: skip
    return Finding(
        "D18", "Batch size", "fits", Level.ok, f"The batch of {large:,} tokens is {ratio:.2f} of the noise scale ({scale:,.0f}).",
        evidence=evidence, confidence="medium", because=guide, would_change="A noise scale below a third of the batch, or above ten times it.",
    )  # fmt: skip


def _ratio(noise: Floats, signal: Floats) -> float:
    """S/G² of the averages; infinite where the averaged G² is not above 0."""
    weights = KEPT ** np.arange(len(noise))[::-1]
    s, g = float(weights @ noise), float(weights @ signal)
    if g <= 0:
        return math.inf
    return max(0.0, s / g)


def _unknown(needs: str, missing: tuple[str, ...]) -> Finding:
    return Finding(
        "D18", "Batch size", "not enough data", Level.unknown, "The noise scale of the gradient cannot be told.",
        needs=needs, missing=missing, would_change="That.",
    )  # fmt: skip
