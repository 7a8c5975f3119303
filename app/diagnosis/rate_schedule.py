"""D08 and D09: the learning rate's beginning and end: was the warm-up long enough, does the rate reach a low floor in time?"""

import math

from app.diagnosis import plateau, spikes
from app.diagnosis.findings import Evidence, Finding, Level, Mark, plural
from app.diagnosis.observations import Observations
from app.diagnosis.outliers import FEWEST, Outliers, Tail

HIGH_FLOOR = 0.05
"""Floor over peak (science.md B.6)."""
LONG = 20.0
"""Tokens a parameter above which decay to zero is known to gain."""
SAME = 0.01
"""Share of the steps by which the decay may end beside the run's end."""


def warmup(o: Observations) -> Finding | None:
    """D08."""
    s = o.schedule
    if s is None:
        return None
    until = max(2 * s.warmup_steps, 2 * FEWEST)
    early = [_early(found, until, tail, norm) for found, tail, norm in (
        (o.once(spikes.loss_outliers), spikes.HEALTHY_LOSS, False),
        (o.once(spikes.norm_outliers), spikes.HEALTHY_NORM, True),
    )]  # fmt: skip
    seen = [len(o.finite(key).between(0, until).step) for key in ("train/loss", "train/grad_norm")]
    if max(seen) < 2 * FEWEST:
        return Finding(
            "D08", "Warm-up", "not enough data", Level.unknown, f"{plural(max(seen), 'train loss').replace('losss', 'losses')} within twice the warm-up do not show jumps.",
            needs=f"{2 * FEWEST} train losses or gradient norms before step {until:,}.", would_change="A denser log of the beginning.",
        )  # fmt: skip
    events = [event for found, _ in early for event in found.events]
    unusual = any(unusual for _, unusual in early)
    beta2 = o.optim.beta2 if o.optim else 0.95
    total = o.steps or s.steps
    longer = max(math.ceil(2 / (1 - beta2)) if beta2 < 1 else 0, round(0.01 * total), 2 * s.warmup_steps)
    evidence = (
        Evidence("jumps within twice the warm-up", len(events), "", limit=f"in {max(seen):,} steps up to {until:,}"),
        Evidence("warm-up", s.warmup_steps, "steps", limit=f"{s.warmup_steps / total:.1%} of the run"),
        Evidence("2/(1−β₂)", 2 / (1 - beta2) if beta2 < 1 else math.inf, "steps", limit="the second moment's horizon, twice"),
    )  # fmt: skip
    if unusual and events:
        first = min(events, key=lambda event: event.step)
        return Finding(
            "D08", "Warm-up", "too short", Level.warn,
            f"{plural(len(events), 'jump')} within twice the warm-up of {s.warmup_steps:,} steps, the first at step {first.step:,}: the rate rises too fast.",
            evidence=evidence, confidence="medium", would_change="A start without jumps.",
            advice=f"Warm up for {longer:,} steps: at least 2/(1−β₂), and 1 to 2 % of the run.",
            marks=tuple(Mark(event.step, event.last_step, "jump in the warm-up") for event in events[:5]),
        )  # fmt: skip
    return Finding(
        "D08", "Warm-up", "long enough", Level.ok, f"No jump beyond what healthy runs show within twice the warm-up ({until:,} steps): leave it as it is.",
        evidence=evidence, confidence="medium", would_change="Jumps there in a run at a higher rate.",
    )  # fmt: skip


def _early(found: Outliers | None, until: int, tail: Tail, norm: bool) -> tuple[Outliers, bool]:
    if found is None:
        return Outliers(0, [], 0), False
    events = [event for event in found.events if event.step <= until]
    part = Outliers(min(found.looked, until), events, len(events))
    return part, part.unusual(tail, [10**event.rise if norm else event.z for event in events])


def floor(o: Observations) -> Finding | None:
    """D09."""
    s = o.schedule
    if s is None:
        return Finding(
            "D09", "Learning-rate floor", "not enough data", Level.unknown, "The schedule of the learning rate is not known.",
            needs="The configuration: peak, floor, shape, warm-up and the step the decay ends at.", missing=("schedule",),
            would_change="The schedule.",
        )  # fmt: skip
    total = o.steps or s.steps
    decay_end = s.decay_steps or s.steps
    last = o.lr(max(0, total - 1)) or 0.0
    tokens = o.planned_tokens or (total * o.tokens_per_step if o.tokens_per_step else None)
    ratio = tokens / o.parameters if tokens and o.parameters else None
    evidence = [
        Evidence("rate at the end over the peak", last / s.lr, "", limit=f"high above {HIGH_FLOOR:g}"),
        Evidence("floor over the peak", s.min_lr / s.lr),
        Evidence("decay ends at step", decay_end, "", limit=f"the run at {total:,}"),
    ]
    if ratio is not None:
        evidence.append(Evidence("tokens a parameter", ratio, "", limit=f"long above {LONG:g}"))
    probe = plateau.anneal_probe(o) if not o.failed else None
    if s.shape != "constant" and abs(decay_end - total) > SAME * total:
        late = decay_end > total
        what = (
            f"the run ends at {last / s.lr:.0%} of the peak rate, before its decay does"
            if late
            else f"the last {total - decay_end:,} steps stay at the floor"
        )
        return Finding(
            "D09", "Learning-rate floor", "ends elsewhere", Level.warn,
            f"The decay ends at step {decay_end:,} and the run at {total:,}: {what}.",
            evidence=tuple(evidence), confidence="high", would_change="A decay that ends with the run.",
            advice="Let the decay end with the run (lr_decay_iters = max_iters): the loss falls most while the rate does.",
            experiment=probe if late else None,
        )  # fmt: skip
    if last / s.lr > HIGH_FLOOR and (s.shape == "constant" or ratio is None or ratio > LONG):
        waiting = ratio is None and s.shape != "constant"
        return Finding(
            "D09", "Learning-rate floor", "never falls" if s.shape == "constant" else "high floor", Level.info,
            f"The rate ends at {last / s.lr:.0%} of its peak. Decay to zero usually gains 0.3 to 0.8 % of the loss"
            + (f" (about {0.003 * _level(o):.3f} to {0.008 * _level(o):.3f} nats)" if _level(o) else "")
            + (f" above {LONG:g} tokens a parameter." if waiting else "."),
            evidence=tuple(evidence), confidence="low" if waiting else "medium", because="Bergsma et al. 2502.15938: 0.77 % at 610 M parameters and 20 tokens each; more with more tokens.",
            would_change="A probe to zero that gains less than 0.3 %.", advice="Set the floor to 0, or let the last tenth of the run fall to it.",
            experiment=probe,
        )  # fmt: skip
    return Finding(
        "D09", "Learning-rate floor", "low enough", Level.ok, f"The rate ends at {last / s.lr:.1%} of its peak, with the run.",
        evidence=tuple(evidence), confidence="high" if ratio is not None else "medium", would_change="A longer run at the same floor.",
    )  # fmt: skip


def _level(o: Observations) -> float:
    values = o.finite("val/loss").value
    return float(values[-1]) if len(values) else 0.0
