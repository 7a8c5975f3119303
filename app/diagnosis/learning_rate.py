"""D06 and D07: is the learning rate too high or too low? Several signs each; one alone decides nothing."""

import math
from typing import NamedTuple

import numpy as np

from app.contract.metrics import PARAMETER_GROUPS
from app.diagnosis import plateau, scaling, spikes
from app.diagnosis.findings import Evidence, Experiment, Finding, Level
from app.diagnosis.observations import Observations

SPIKES, CLIPPED, LARGE_UPDATE, TIMES = spikes.TOO_MANY, 0.2, 3e-3, 3.0
"""Share of steps that jump, share that is clipped, |Δw|/|w|, and times the larger of two laws: signs of too high (science.md B.6)."""
SMALL_UPDATE, HALF_LAW, EARLY = 3e-4, 0.5, 0.2
"""|Δw|/|w|, the slope over the law's, and the share of the run it is looked at in: signs of too low."""


class Sign(NamedTuple):
    evidence: Evidence
    fires: bool


def too_high(o: Observations) -> Finding | None:
    """D06: any two of five."""
    rate = _peak(o)
    known = [
        sign
        for sign in (_jumps(o), _clipped(o), _warmup_rise(o), _updates(o, LARGE_UPDATE), _above_laws(o, rate))
        if sign
    ]
    if not known:
        return _unknown("D06", "Learning rate too high", o)
    firing = [sign for sign in known if sign.fires]
    evidence = tuple(sign.evidence for sign in sorted(known, key=lambda sign: not sign.fires))
    looked = f"{len(known)} of 5 signs could be looked at."
    if len(firing) >= 2:
        return Finding(
            "D06", "Learning rate too high", "too high", Level.warn,
            f"{len(firing)} signs of a rate too high: {', '.join(sign.evidence.name for sign in firing)}.",
            evidence=evidence, confidence="high" if len(firing) >= 3 else "medium", because=f"{looked} Small batches are clipped often at any rate.",
            would_change="A probe at half the rate that is no better after 5 % of the steps.",
            advice="Go on from the last good checkpoint at half the rate for 5 % of the steps, and at the same rate beside it, with the same seed.",
            experiment=spikes.lower_rate(o, o.step, "Is the loss lower after 5 % of the steps at half the rate?"),
        )  # fmt: skip
    verdict = f"One sign alone: {firing[0].evidence.name}; two are needed." if firing else "No sign of it."
    return Finding(
        "D06", "Learning rate too high", "not too high", Level.info if firing else Level.ok, f"{verdict} {looked}",
        evidence=evidence, confidence="high" if len(known) >= 4 else "medium" if len(known) >= 2 else "low", because="" if len(known) >= 4 else looked,
        would_change="Two of: jumps, clipping, a loss that rises in the warm-up, large updates, a rate above the laws.",
    )  # fmt: skip


def too_low(o: Observations) -> Finding | None:
    """D07: below a third of both laws, small updates or a slow start, and nothing that speaks for a high rate."""
    rate = _peak(o)
    laws = _laws(o)
    if rate is None or not laws:
        return _unknown("D07", "Learning rate too low", o)
    third = min(laws) / TIMES
    small, slow = _updates(o, SMALL_UPDATE), _slope(o)
    against = [sign for sign in (_jumps(o, least=0.0), _clipped(o, least=0.0)) if sign is not None]
    evidence = [Evidence("peak learning rate", rate, "", limit=f"low below {third:.2g}, a third of what two laws give")]
    evidence += [sign.evidence for sign in (small, slow, *against) if sign]
    low = rate < third
    calm = not any(sign.fires for sign in against)
    slow_start = slow is not None and slow.fires
    small_updates = small is not None and not small.fires
    experiment = _double(o)
    common = {"evidence": tuple(evidence), "would_change": "A probe at twice the rate that is no better."}  # fmt: skip
    if low and calm and (slow_start or small_updates):
        why = (
            "the loss fell less than half as fast as the law in the first fifth"
            if slow_start
            else f"updates move the weights by less than {SMALL_UPDATE:g} of themselves"
        )
        return Finding(
            "D07", "Learning rate too low", "too low", Level.warn,
            f"The peak rate {rate:.2g} is below a third of what size and compute suggest ({min(laws):.2g}), and {why}.",
            confidence="high" if slow_start and small_updates else "medium", advice="Try twice and four times the rate for 5 % of the steps.",
            experiment=experiment, **common,  # type: ignore[arg-type]
        )  # fmt: skip
    if low and calm:
        return Finding(
            "D07", "Learning rate too low", "low by the laws", Level.info,
            f"The peak rate {rate:.2g} is below a third of what size and compute suggest ({min(laws):.2g}); the curve itself does not say so.",
            confidence="low", because="These laws are a prior, off by a factor of 2 for other optimisers and batch sizes.",
            advice="Three runs at half, once and twice the rate decide it.", experiment=experiment, **common,  # type: ignore[arg-type]
        )  # fmt: skip
    return Finding(
        "D07", "Learning rate too low", "not too low", Level.ok,
        f"The peak rate {rate:.2g} is " + ("low, and yet the run shows jumps or clipping." if low else f"not below a third of what size and compute suggest ({min(laws):.2g})."),
        confidence="medium", **common,  # type: ignore[arg-type]
    )  # fmt: skip


def _peak(o: Observations) -> float | None:
    if o.schedule is not None:
        return o.schedule.lr
    logged = o.finite("train/lr").value
    return float(logged.max()) if len(logged) and logged.max() > 0 else None


def _laws(o: Observations) -> list[float]:
    """Kaplan by size, DeepSeek by compute, as far as the facts go."""
    laws = []
    if o.parameters_no_embedding:
        laws.append(scaling.rate_by_size(o.parameters_no_embedding))
    tokens = o.planned_tokens or o.tokens
    if o.parameters and tokens:
        laws.append(scaling.rate_by_compute(6.0 * o.parameters * tokens))
    return laws


def _above_laws(o: Observations, rate: float | None) -> Sign | None:
    laws = _laws(o)
    if rate is None or not laws:
        return None
    limit = f"high beyond {TIMES:g}; the law gives {max(laws):.2g}"
    return Sign(Evidence("peak rate over the larger law", rate / max(laws), "times", limit=limit), rate > TIMES * max(laws))  # fmt: skip


def _jumps(o: Observations, least: float = SPIKES) -> Sign | None:
    """Of the train loss after the warm-up."""
    found = o.once(spikes.loss_outliers)
    if found is None:
        return None
    after = sum(event.step > o.warmup_steps for event in o.once(spikes.own_jumps)[0])
    if found.total > len(found.events):
        after += found.total - len(found.events)
    share = after / found.looked
    fires = share > least if least else found.unusual(spikes.HEALTHY_LOSS, [event.z for event in found.events])
    return Sign(Evidence("steps whose loss jumps", share, "of the steps", limit=f"high above {SPIKES:.1%}"), fires)


def _clipped(o: Observations, least: float = CLIPPED) -> Sign | None:
    """Share of steps, after the warm-up, whose gradient was longer than the clip."""
    if o.optim is None or not o.optim.clip:
        return None
    norms = o.finite("train/grad_norm").between(o.warmup_steps + 1, math.inf).value
    if len(norms) < 20:
        return None
    share = float(np.mean(norms > o.optim.clip))
    return Sign(Evidence("steps whose gradient is clipped", share, "of the steps", limit=f"high above {CLIPPED:.0%}"), share > max(least, 0.01))  # fmt: skip


def _warmup_rise(o: Observations) -> Sign | None:
    """Train loss at the end of the warm-up against that at its half, as medians of a tenth of it; beyond 2 standard errors."""
    warmup = o.warmup_steps
    if warmup < 20 or o.step < 1.1 * warmup:
        return None
    loss = o.finite("train/loss")
    half, end = (
        loss.between((at - 0.1) * warmup, (at + 0.1) * warmup).value for at in (0.5, 1.0)
    )  # a fifth of the warm-up each
    if min(len(half), len(end)) < 5:
        return None
    rise = float(np.median(end) - np.median(half))
    spread = [1.4826 * float(np.median(np.abs(part - np.median(part)))) for part in (half, end)]
    error = 1.2533 * math.hypot(spread[0] / math.sqrt(len(half)), spread[1] / math.sqrt(len(end)))
    return Sign(Evidence("loss at the end of the warm-up over that at its half", rise, "nats", limit="high above 0"), rise > max(2 * error, 0.01))  # fmt: skip


def _updates(o: Observations, limit: float) -> Sign | None:
    """Median |Δw|/|w| by group of parameters in the first half after the warm-up, before the rate has fallen far."""
    medians = []
    for group in PARAMETER_GROUPS:
        ratios = o.finite(f"update_ratio/{group}").between(o.warmup_steps + 1, max(o.warmup_steps + 1, (o.steps or o.step) / 2)).value  # fmt: skip
        if len(ratios):
            medians.append(float(np.median(ratios)))
    if not medians:
        return None
    share = float(np.mean(np.array(medians) > limit))
    middle = float(np.median(medians))
    return Sign(Evidence("update ratio |Δw|/|w|, median of the groups", middle, "per step", limit=f"high above {LARGE_UPDATE:g}, low below {SMALL_UPDATE:g}"), share > 0.5)  # fmt: skip


def _slope(o: Observations) -> Sign | None:
    """Own slope over the law's in the first fifth of the run; fires where even its upper end (90 %) is below a half."""
    total = o.steps or o.step
    part = o.finite("val/loss").between(max(1, o.warmup_steps), EARLY * total)
    if len(part.step) < 5 or not o.tokens_per_step:
        return None
    line = plateau.fit(np.log(part.step.astype(float)), part.value, None)
    law = scaling.slope(float(np.exp(np.log(part.step.astype(float)).mean())) * o.tokens_per_step)
    ratios = [line.slope / law, line.high / law, line.low / law]
    return Sign(Evidence("slope over the law's, early", ratios[0], "times", ratios[1], ratios[2], f"slow below {HALF_LAW}"), ratios[2] < HALF_LAW)  # fmt: skip


def _double(o: Observations) -> Experiment | None:
    if o.schedule is None:
        return None
    changes = {"schedule.lr": min(10.0, 2 * o.schedule.lr), "schedule.min_lr": min(10.0, 2 * o.schedule.min_lr)}
    steps = max(50, round(0.05 * (o.steps or o.step)))
    return Experiment("lr_double", "Is the loss lower after 5 % of the steps at twice the rate?", changes, steps)


def _unknown(rule: str, subject: str, o: Observations) -> Finding:
    missing = tuple(name for name in ("schedule", "parameters", "parameters_no_embedding", "tokens_per_step") if getattr(o, name) is None)  # fmt: skip
    return Finding(
        rule, subject, "not enough data", Level.unknown, "Neither the rate nor what it is held against is known.",
        needs="The peak learning rate, the number of parameters and the tokens of a step; or gradient norms and train losses.",
        missing=missing, would_change="The configuration.",
    )  # fmt: skip
