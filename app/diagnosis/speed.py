"""D16 and D17: what share of the device's arithmetic the run uses, and whether it has become slower than it was."""

import math

import numpy as np

from app.contract.peaks import peak_as_written
from app.diagnosis.findings import Evidence, Finding, Level, Mark
from app.diagnosis.observations import Curve, Floats, Observations, middle

SHARE_OF_HISTORY = 0.5
NARROW = 512
"""Widths up to this reach 15 to 40 % as a rule: their matrices are small."""
WINDOW, SLOWER, IN_A_ROW = 50, 1.15, 3
"""Steps in a median, factor over the best, windows in a row (science.md B.9)."""
_MOST_WINDOWS = 20
"""Of which the best is taken: of more, chance would make it, at 30 % scatter an eighth too fast. Ten times as many show where it began."""


def peak_of(o: Observations) -> float | None:
    """FLOP/s of all devices; by the device's name where it is not given."""
    one = o.peak_flops or (peak_as_written(o.device, o.dtype) if o.device else None)
    return None if one is None else one * o.devices


def utilisation(o: Observations) -> float | None:
    """Median MFU since the last resume: from the throughput, else from the logged MFU, by the device's own peak."""
    peak, since = peak_of(o), max(o.resumed_at, default=0)
    tok_per_s, flops = _throughput(o, since), o.flops_per_token
    if peak and flops and tok_per_s is not None:
        return tok_per_s * flops / peak
    logged = o.finite("train/mfu").between(since, math.inf).value
    logged = logged[logged > 0]  # nanoGPT prints −100 % until it knows
    divided_by = o.mfu_peak_flops or peak
    if not len(logged) or not peak or not divided_by:
        return None
    return middle(logged) * divided_by / peak


def _throughput(o: Observations, since: int) -> float | None:
    logged = o.finite("train/tok_per_s").between(since, math.inf).value
    if len(logged):
        return middle(logged)
    step_ms = o.finite("train/step_ms").between(since, math.inf).value
    step_ms = step_ms[step_ms > 0]
    return o.tokens_per_step / middle(step_ms) * 1e3 if len(step_ms) and o.tokens_per_step else None


def mfu(o: Observations) -> Finding | None:
    """D16."""
    if not any(len(o.curve(key).step) for key in ("train/mfu", "train/tok_per_s", "train/step_ms")):
        return None
    found = utilisation(o)
    if found is None:
        if o.device and o.device.lower() in ("cpu", "mps"):
            return None  # no one peak to hold it against
        missing = ("device",) if not o.device else ("peak_flops",) if peak_of(o) is None else ()
        model = tuple(name for name in ("parameters", "n_layer", "n_embd", "block_size") if getattr(o, name) is None)
        return Finding(
            "D16", "Utilisation", "not enough data", Level.unknown, "What share of the device the run uses is not known.",
            needs="The device (its peak FLOP/s) and the model's shape.", missing=missing + model, would_change="Those facts.",
        )  # fmt: skip
    peak = peak_of(o) or math.nan
    evidence = [
        Evidence("model FLOP utilisation", found, "of peak", limit=f"peak {peak / 1e12:.0f} TFLOP/s"),
        Evidence("arithmetic done", found * peak / 1e12, "TFLOP/s"),
    ]
    because = ""
    if o.mfu_peak_flops and abs(o.mfu_peak_flops / peak - 1) > 0.01:
        because = f"The log's own MFU divides by {o.mfu_peak_flops / 1e12:.0f} TFLOP/s, another device's peak; this one has {peak / 1e12:.0f}."
    usual = f"Widths up to {NARROW} reach 15 to 40 % as a rule." if o.n_embd and o.n_embd <= NARROW else ""
    if found > 1:
        return Finding(
            "D16", "Utilisation", "impossible", Level.warn, f"{found:.0%} of the peak cannot be: the peak of {peak / 1e12:.0f} TFLOP/s is not this device's, or the steps are counted wrong.",
            evidence=tuple(evidence), confidence="high", because=because, would_change="The device's right peak.", advice="Give the device's dense peak for this precision.",
        )  # fmt: skip
    history = [one for one in o.same_shape_mfu if math.isfinite(one) and one > 0]
    if history:
        before = float(np.median(history))
        evidence.append(Evidence("earlier runs of this shape", before, "of peak", min(history), max(history), f"low below {SHARE_OF_HISTORY:g} of it"))  # fmt: skip
        if found < SHARE_OF_HISTORY * before:
            return Finding(
                "D16", "Utilisation", "low", Level.warn, f"{found:.0%} of the peak; earlier runs of this shape here had {before:.0%}.",
                evidence=tuple(evidence), confidence="high" if len(history) >= 3 else "medium", because=because, would_change="Another run of this shape as slow.",
                advice="See what else runs on the device, its clocks and temperature, and whether compilation is on.",
            )  # fmt: skip
    return Finding(
        "D16", "Utilisation", "usual", Level.ok, f"{found:.0%} of the device's peak. {usual}".strip(), evidence=tuple(evidence),
        confidence="high" if history else "medium", because=because or ("" if history else "No earlier run of this shape to hold it against."),
        would_change="Half of what earlier runs of this shape reach.",
    )  # fmt: skip


def step_times(o: Observations) -> Curve:
    """ms a step since the last resume, without those that hold an evaluation, a checkpoint or the compilation."""
    curve = o.finite("train/step_ms")
    if not len(curve.step):
        speed = o.finite("train/tok_per_s")
        keep = speed.value > 0
        tokens = o.tokens_per_step or 1
        curve = Curve(speed.step[keep], tokens / speed.value[keep] * 1e3)
    start = max((step for step in (*o.resumed_at, *o.out_of_memory_at) if step <= o.step), default=0)
    curve = curve.between(start, math.inf)
    curve = Curve(curve.step[5:], curve.value[5:])
    pauses = np.union1d(o.curve("val/loss").step, np.array(o.checkpoint_steps, np.int64))
    if len(pauses) and len(curve.step):
        place = np.minimum(np.searchsorted(curve.step, pauses), len(curve.step) - 1)
        if len(place) < 0.5 * len(curve.step):  # the step that is reported with it, or next
            curve = Curve(np.delete(curve.step, place), np.delete(curve.value, place))
    good = curve.value > 0
    return curve if good.all() else Curve(curve.step[good], curve.value[good])


def slowdown(o: Observations) -> Finding | None:
    """D17: the last three medians of 50 steps against the best. Of longer windows on a long run."""
    curve = step_times(o)
    n = len(curve.step)
    if not n:
        return None
    if n < (IN_A_ROW + 1) * WINDOW:
        return Finding(
            "D17", "Throughput", "not enough data", Level.unknown, f"{n} step times since the last resume are too few.",
            evidence=(Evidence("step times", n, "", limit=str((IN_A_ROW + 1) * WINDOW)),), needs=f"{(IN_A_ROW + 1) * WINDOW - n} more step times.",
            would_change="More steps.",
        )  # fmt: skip
    width = max(WINDOW, n // _MOST_WINDOWS)
    best = float(_medians(curve.value, width).min())
    recent = _medians(curve.value[-IN_A_ROW * WINDOW :], WINDOW)
    factor = float(recent.min()) / best
    evidence = (
        Evidence("step time, last 50", float(recent[-1]), "ms"),
        Evidence("best median", best, "ms", limit=f"of {width} steps"),
        Evidence("slowest of the last three over the best, at least", factor, "times", limit=f"slower beyond {SLOWER}"),
    )
    if factor > SLOWER:
        start = _onset(curve, best, max(WINDOW, width // 10))
        return Finding(
            "D17", "Throughput", "slower", Level.warn,
            f"Steps take {recent[-1] / best:.2f} times as long as at best ({recent[-1]:.0f} ms, {best:.0f} ms), since about step {start:,}.",
            evidence=evidence, confidence="high" if factor > 1.3 else "medium", would_change=f"50 steps within {SLOWER} times the best.",
            advice="Look at the device's clocks and temperature, at other work on the machine, and at memory that swaps.",
            marks=(Mark(start, int(curve.step[-1]), f"{recent[-1] / best:.2f} times as long"),),
        )  # fmt: skip
    return Finding(
        "D17", "Throughput", "steady", Level.ok, f"Steps take {recent[-1]:.0f} ms, {recent[-1] / best:.2f} times the best stretch.",
        evidence=evidence, confidence="high" if n > 1000 else "medium", would_change=f"Three medians in a row beyond {SLOWER} times the best.",
    )  # fmt: skip


def _medians(values: Floats, width: int) -> Floats:
    """Of the windows that end with the last value."""
    count = len(values) // width
    windows: Floats = np.median(values[len(values) - count * width :].reshape(count, width), axis=1)
    return windows


def _onset(curve: Curve, best: float, width: int) -> int:
    """First step of the windows at the end that are all slower."""
    slow = _medians(curve.value, width) > SLOWER * best
    row = 0
    while row < len(slow) and slow[-1 - row]:
        row += 1
    return int(curve.step[max(0, len(curve.step) - max(row * width, IN_A_ROW * WINDOW))])
