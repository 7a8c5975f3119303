"""D10 and D11: sudden jumps of the train loss and of the gradient norm, told from the tail that healthy runs have too."""

import math

import numpy as np

from app.diagnosis.findings import Evidence, Experiment, Finding, Level, Mark, plural
from app.diagnosis.observations import HUGE, Curve, Observations, middle
from app.diagnosis.outliers import FLOOR, LIMIT, WINDOW, Event, Outliers, Tail, outliers, resolution

HEALTHY_LOSS = Tail(share=6e-4, at=LIMIT, power=5.25)
"""z of batch losses: 22 of 18,560 steps beyond ±6 in the published 124 M run, half of them above (science.md B.7)."""
HEALTHY_NORM = Tail(share=1e-3, at=2.3, power=2.34)
"""Gradient norm over the median before: of the same run a thousandth beyond 2.3 times, one step of 18,560 at 8 times."""
TOO_MANY = 0.002
"""Share of the steps that jump (science.md B.6): with so many the learning rate is suspect."""
GROWTH = 2.0
"""Median of the last 5 % of the steps over that of the 40th to 60th percent."""
_MARKS = 20


def loss_outliers(o: Observations) -> Outliers | None:
    curve = o.finite("train/loss")
    return outliers(curve, max(FLOOR, resolution(curve.value) / 2), o.points.get("train/loss", 0))


def norm_outliers(o: Observations) -> Outliers | None:
    """Of log10; its floor is half of the last digit at the curve's median."""
    curve = o.finite("train/grad_norm")
    keep = curve.value > 1 / HUGE
    curve = Curve(curve.step[keep], curve.value[keep])
    if not len(curve.step):
        return None
    digit = resolution(curve.value) / middle(curve.value) / math.log(10)
    return outliers(Curve(curve.step, np.log10(curve.value)), max(FLOOR, digit / 2), o.points.get("train/grad_norm", 0))


def own_jumps(o: Observations) -> tuple[list[Event], int]:
    """Jumps of the train loss, and how many are left out: those where the rate rose after the warm-up, a restart of the schedule."""
    found = o.once(loss_outliers)
    logged = o.finite("train/lr")
    if found is None or len(logged.step) < 2:
        return (found.events if found else []), 0
    own = []
    for event in found.events:
        here = int(np.searchsorted(logged.step, event.step, side="right")) - 1
        before = logged.value[max(0, here - WINDOW) : here + 1]
        restart = event.step > o.warmup_steps and len(before) > 1 and before[-1] > 1.05 * before.min()
        if not restart:
            own.append(event)
    return own, len(found.events) - len(own)


def spikes(o: Observations) -> Finding | None:
    """D10."""
    if not len(o.curve("train/loss").step):
        return None
    found = o.once(loss_outliers)
    if found is None:
        return _too_few("D10", "Loss spikes", "train losses", len(o.finite("train/loss").step))
    own, excused = o.once(own_jumps)
    found = Outliers(found.looked, own, found.total - excused)
    lasting = [event for event in own if event.lasting]
    worst = max(own, key=lambda event: event.z, default=None)
    share = found.total / found.looked
    evidence = [
        Evidence("jumps beyond 6", found.total, "", limit=f"{found.looked * HEALTHY_LOSS.share:.1f} expected of a healthy run of this length"),
        Evidence("steps looked at", found.looked),
        Evidence("share of jumps", share, "of the steps", limit=f"{HEALTHY_LOSS.share:.2%} in a healthy run, {TOO_MANY:.1%} is much"),
    ]  # fmt: skip
    if worst is not None:
        evidence.append(Evidence("farthest jump", worst.rise, "nats", limit=f"z {worst.z:.0f}, at step {worst.step:,}"))
    marks = tuple(Mark(event.step, event.last_step, f"+{event.rise:.2f} nats") for event in _telling(own))
    if lasting:
        last = max(lasting, key=lambda event: (not event.back, event.step))
        gone = "It has not come back." if not last.back else f"It came back after {_span(last):,} steps."
        return Finding(
            "D10", "Loss spikes", "lasting", Level.critical,
            f"The train loss jumped by {last.rise:.2f} nats at step {last.step:,} and stayed up for {plural(last.out, 'point')}. {gone}",
            evidence=tuple(evidence), confidence="high" if last.points >= 5 else "medium",
            because=_restart(excused), would_change="The loss back within 3 robust standard deviations of where it was.",
            advice="Go back to the last checkpoint before the jump and halve the learning rate, or skip the batches around it.",
            experiment=lower_rate(o, last.step, "Does the loss pass this step without a jump at half the rate?"), marks=marks,
        )  # fmt: skip
    if worst is not None and found.unusual(HEALTHY_LOSS, [event.z for event in own]):
        return Finding(
            "D10", "Loss spikes", "spikes", Level.warn,
            f"{plural(found.total, 'jump')} of the train loss beyond 6 robust standard deviations in {found.looked:,} steps, by up to {worst.rise:.2f} nats (z {worst.z:.0f}, step {worst.step:,}); all came back within {max(_span(event) for event in own):,} steps.",
            evidence=tuple(evidence), confidence="high" if worst.z > 20 or share > TOO_MANY else "medium",
            because=_restart(excused) or "Losses of batches have heavy tails; these are more, or farther out, than a healthy run of this length shows.",
            would_change="No further jump over as many steps again.",
            advice="See what the gradient norm did there; a lower rate, a longer warm-up, a smaller β₂ (0.95) or a tighter clip make jumps rarer.",
            marks=marks,
        )  # fmt: skip
    if own:
        return Finding(
            "D10", "Loss spikes", "as healthy runs", Level.info,
            f"{plural(found.total, 'jump')} beyond 6 robust standard deviations in {found.looked:,} steps: no more than the heavy tail of batch losses in healthy runs gives.",
            evidence=tuple(evidence), confidence="medium", because=_restart(excused),
            would_change="More of them, or one that does not come back.", marks=marks,
        )  # fmt: skip
    return Finding(
        "D10", "Loss spikes", "none", Level.ok, f"No jump of the train loss in {found.looked:,} steps.",
        evidence=tuple(evidence), confidence="high" if found.looked > 1000 else "medium", because=_restart(excused),
        would_change="A loss more than 6 robust standard deviations above the 128 before it.",
    )  # fmt: skip


def norms(o: Observations) -> Finding | None:
    """D11."""
    curve = o.finite("train/grad_norm")
    if not len(curve.step):
        return None
    found = o.once(norm_outliers)
    if found is None:
        return _too_few("D11", "Gradient norm", "gradient norms", len(curve.step))
    last = float(curve.step[-1])
    late, half = curve.between(0.95 * last, last).value, curve.between(0.4 * last, 0.6 * last).value
    growth = math.nan
    if min(len(late), len(half)) >= 5 and middle(half) > 0 and 0.4 * last > o.warmup_steps:
        growth = middle(late) / middle(half)
    worst = max(found.events, key=lambda event: event.rise, default=None)
    times = 10**worst.rise if worst else 1.0
    evidence = [
        Evidence("median of the last 5 %", middle(curve.value[-max(1, len(curve.value) // 20) :])),
        Evidence("the same over that of the middle", growth, "times", limit=f"growing beyond {GROWTH:g}"),
        Evidence("jumps beyond 6", found.total, "", limit=f"in {found.looked:,} steps"),
    ]
    if worst:
        evidence.append(Evidence("farthest jump", times, "times the median before", limit=f"at step {worst.step:,}"))
    marks = tuple(
        Mark(event.step, event.last_step, f"gradient norm ×{10**event.rise:.1f}") for event in _telling(found.events)
    )
    lasting = next((event for event in found.events if event.lasting and not event.back and event.points >= 5), None)
    if lasting and 10**lasting.rise > GROWTH:
        return Finding(
            "D11", "Gradient norm", "jumped up", Level.critical,
            f"The gradient norm rose {10**lasting.rise:.1f}-fold at step {lasting.step:,} and has not come back.",
            evidence=tuple(evidence), confidence="high", would_change="The norm back within 3 robust standard deviations.",
            advice="Go back to the checkpoint before it and halve the learning rate.",
            experiment=lower_rate(o, lasting.step, "Does the norm stay where it was at half the rate?"), marks=marks,
        )  # fmt: skip
    if growth > GROWTH:
        return _growing(o, growth, tuple(evidence), marks)
    if found.unusual(HEALTHY_NORM, [10**event.rise for event in found.events]):
        return Finding(
            "D11", "Gradient norm", "spikes", Level.warn,
            f"{plural(found.total, 'jump')} of the gradient norm in {found.looked:,} steps, up to {times:.1f} times the median before (step {worst.step if worst else 0:,}).",
            evidence=tuple(evidence), confidence="medium", because="A healthy run has one step in a thousand beyond 2.3 times.",
            would_change="No further jump over as many steps again.",
            advice="Clipping at 1.0 keeps single ones harmless; many of them ask for a lower rate or a smaller β₂ (0.95).", marks=marks,
        )  # fmt: skip
    return Finding(
        "D11", "Gradient norm", "steady", Level.ok,
        f"Steady: {plural(found.total, 'jump')} in {found.looked:,} steps" + (f", and {growth:.2f} times the middle of the run at its end." if math.isfinite(growth) else "."),
        evidence=tuple(evidence), confidence="high" if found.looked > 1000 else "medium", would_change="A norm twice that of the middle of the run.", marks=marks,
    )  # fmt: skip


def _growing(o: Observations, growth: float, evidence: tuple[Evidence, ...], marks: tuple[Mark, ...]) -> Finding:
    """Late in the decay ‖g‖/‖w‖ ≈ √(2λ/lr) grows by itself (AdamC, 2506.02285); with a rising loss it is divergence."""
    loss = o.finite("train/loss")
    last = float(loss.step[-1]) if len(loss.step) else 0.0
    late, half = loss.between(0.95 * last, last).value, loss.between(0.4 * last, 0.6 * last).value
    falling = middle(late) < middle(half) if len(late) and len(half) else None
    now, before = o.lr(max(0, o.step - 1)), o.lr(o.step // 2)
    decayed = now is not None and before is not None and now < 0.5 * before
    if falling and decayed:
        return Finding(
            "D11", "Gradient norm", "grows as the rate falls", Level.info,
            f"The gradient norm is {growth:.1f} times that of the middle of the run while the loss still falls: with weight decay it grows as √(1/lr), no divergence.",
            evidence=evidence, confidence="high", would_change="A rising loss.",
            advice="Nothing to do; AdamC's correction of the decay keeps the norm level.", marks=marks,
        )  # fmt: skip
    return Finding(
        "D11", "Gradient norm", "growing", Level.info if falling else Level.warn,
        f"The gradient norm is {growth:.1f} times that of the middle of the run" + (", the loss still falls." if falling else ", and the loss does not fall."),
        evidence=evidence, confidence="medium" if falling is not None else "low", would_change="A norm that falls again.",
        advice="Watch the loss." if falling else "Halve the learning rate from the last good checkpoint.",
        experiment=None if falling else lower_rate(o, o.step, "Does the norm stop growing at half the rate?"), marks=marks,
    )  # fmt: skip


def lower_rate(o: Observations, before: int, question: str) -> Experiment | None:
    """Half the rate for 5 % of the steps, from the last checkpoint before."""
    if o.schedule is None:
        return None
    changes = {"schedule.lr": o.schedule.lr / 2, "schedule.min_lr": o.schedule.min_lr / 2}
    steps = max(50, round(0.05 * (o.steps or o.step)))
    from_checkpoint = any(step < before for step in o.checkpoint_steps)
    return Experiment("lr_half", question, changes, steps, fork=from_checkpoint)


def _telling(events: list[Event]) -> list[Event]:
    """The farthest, in order of their steps."""
    return sorted(sorted(events, key=lambda event: -event.z)[:_MARKS], key=lambda event: event.step)


def _too_few(rule: str, subject: str, what: str, have: int) -> Finding:
    return Finding(
        rule, subject, "not enough data", Level.unknown, f"{have} {what} are too few to know what is usual.",
        evidence=(Evidence(what, have, "", limit="64"),), needs=f"{max(1, 64 - have)} more {what}.", would_change="More of the log.",
    )  # fmt: skip


def _restart(excused: int) -> str:
    return f"{plural(excused, 'jump')} where the learning rate rose again left out." if excused else ""


def _span(event: Event) -> int:
    return event.last_step - event.step + 1
