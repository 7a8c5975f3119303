"""D15: is validation the same kind of text as train? An offset below train, or a gap before anything is learnt, says no."""

import math

import numpy as np

from app.diagnosis import gap
from app.diagnosis.findings import Evidence, Finding, Level, Mark
from app.diagnosis.observations import Observations

FEWEST, LIMIT, LIMIT_AT_START = 8, 4.0, 3.0
"""Evaluations; z of their mean gap; z of the gap at step 0, where nothing is learnt yet (science.md B.8)."""
LEAST_OFFSET = 0.01
"""nats: less is of no consequence however sure."""
FEW_TOKENS, GOOD_TOKENS = 1_000_000, 10_000_000
MUCH_LEAK = 0.01
"""Of validation's 32-token windows."""
LEAK = "of validation's windows in train"
HOW = "Split whole documents by a hash of their text, with 10 M validation tokens or more."


def judge(o: Observations) -> Finding | None:
    if not len(o.finite("val/loss").step):
        return None
    found = gap.pair(o)
    after = found.since(max(1, o.warmup_steps)) if found is not None else None
    evidence, facts = _facts(o)
    k = len(after.val.step) if after is not None else 0
    offset, z = math.nan, math.nan
    if after is not None and k >= FEWEST:
        offset, se = gap.mean_gap(after, o.fixed_eval)
        z = offset / se if se > 0 else math.nan
        evidence.insert(0, Evidence("validation − train, mean", offset, "nats", offset - 1.645 * se, offset + 1.645 * se, f"z {z:.1f} over {k} evaluations; an offset beyond −{LIMIT:g}"))  # fmt: skip
    start, z_start = _at_start(o, found)
    if math.isfinite(z_start):
        evidence.insert(0, Evidence("the same at step 0", start, "nats", limit=f"z {z_start:.1f}; ±{LIMIT_AT_START:g} is much: nothing is learnt there"))  # fmt: skip
    if z < -LIMIT and offset < -LEAST_OFFSET:
        step = after.val.step if after is not None else np.array([0, o.step])
        return Finding(
            "D15", "Validation split", "offset", Level.warn,
            f"Validation is {-offset:.3f} nats below train all along (z {z:.1f}): it is another, easier text, not a sign of generalisation.",
            evidence=tuple(evidence), confidence="high", because=" ".join(facts),
            would_change=f"A gap within {LIMIT:g} standard errors of 0 on a new split.",
            advice=f"{HOW} Until then compare runs on the same split only, and subtract the offset from any gap.",
            marks=(Mark(int(step[0]), int(step[-1]), "validation below train"),),
        )  # fmt: skip
    if o.leak_share is not None and o.leak_share > MUCH_LEAK:
        return Finding(
            "D15", "Validation split", "leaks", Level.warn,
            f"{o.leak_share:.1%} of validation's 32-token windows occur in train: the validation loss is too low by what was memorised of them.",
            evidence=tuple(sorted(evidence, key=lambda one: one.name != LEAK)), confidence="high", because=" ".join(facts),
            would_change="A split without common documents.", advice=HOW,
        )  # fmt: skip
    if abs(z_start) > LIMIT_AT_START and abs(start) > LEAST_OFFSET:
        return Finding(
            "D15", "Validation split", "offset", Level.warn,
            f"At step 0, where nothing is learnt, validation is {abs(start):.3f} nats {'above' if start > 0 else 'below'} train (z {z_start:.1f}): the two are not the same kind of text.",
            evidence=tuple(evidence), confidence="medium", because=" ".join(facts), would_change="More windows.", advice=HOW,
        )  # fmt: skip
    if facts:
        return Finding(
            "D15", "Validation split", "weak", Level.info, " ".join(facts), evidence=tuple(evidence), confidence="medium",
            would_change="A larger validation split, by documents.", advice=HOW,
        )  # fmt: skip
    if not math.isfinite(z):
        return _unknown(o, k, tuple(evidence))
    return Finding(
        "D15", "Validation split", "comparable", Level.ok,
        f"Nothing speaks against it: validation − train is {offset:+.3f} nats (z {z:.1f}).",
        evidence=tuple(evidence), confidence="high" if k >= 2 * FEWEST else "medium", would_change=f"A gap below 0 by {LIMIT:g} standard errors.",
    )  # fmt: skip


def _at_start(o: Observations, found: gap.Pair | None) -> tuple[float, float]:
    """The gap at step 0 and its z, of evaluations only; NaN without a stated error."""
    if found is None or not found.evaluated or o.first_step or o.pretrained or not len(found.val.step):
        return math.nan, math.nan
    if found.val.step[0] != 0 or not found.se[0] > 0:
        return math.nan, math.nan
    start = float(found.gap.value[0])
    return start, start / float(found.se[0])


def _facts(o: Observations) -> tuple[list[Evidence], list[str]]:
    evidence, facts = [], []
    if o.val_tokens is not None:
        evidence.append(Evidence("validation tokens", o.val_tokens, "tokens", limit=f"few below {FEW_TOKENS:,}"))
        if o.val_tokens < FEW_TOKENS:
            facts.append(f"Validation has {o.val_tokens:,} tokens; below {FEW_TOKENS:,} its documents decide its loss.")
    if o.leak_share is not None:
        evidence.append(Evidence(LEAK, o.leak_share, "", limit=f"much: {MUCH_LEAK:.0%}"))
    if o.split_distance is not None and o.split_noise is not None:
        evidence.append(
            Evidence("distance of the token frequencies", o.split_distance, "nats", limit=f"99 % of random splits: {o.split_noise:.2g}")
        )  # fmt: skip
        if o.split_distance > o.split_noise:
            facts.append("The frequencies of tokens in train and validation differ by more than in 99 % of random splits.")  # fmt: skip
    if o.split_rule == "tail":
        facts.append("Validation is the end of the text, not a sample of its documents.")
    return evidence, facts


def _unknown(o: Observations, k: int, evidence: tuple[Evidence, ...]) -> Finding:
    comparable = k >= FEWEST
    needs = (
        "The standard error of the evaluations: on fixed windows their scatter does not show it."
        if comparable
        else f"{FEWEST - k} more evaluations of both splits."
        if k
        else gap.missing(o)
    )
    return Finding(
        "D15", "Validation split", "not enough data", Level.unknown, f"{k} evaluations of train and validation side by side.",
        evidence=evidence, needs=needs, missing=tuple(name for name in ("val_tokens", "dropout") if getattr(o, name) is None and not k),
        would_change="More evaluations.",
    )  # fmt: skip
