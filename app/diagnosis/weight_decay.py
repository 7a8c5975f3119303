"""D19: does the weight decay matter in this run at all, or too much? Λ = Σ lr·λ, and the weights' own size."""

import math

import numpy as np

from app import decay
from app.contract.metrics import PARAMETER_GROUPS
from app.diagnosis import plateau
from app.diagnosis.findings import Evidence, Experiment, Finding, Level
from app.diagnosis.observations import Observations

SHRUNK = 0.3
"""RMS over that at the start below which, with a rising loss, decay is suspect (science.md A.4)."""


def judge(o: Observations) -> Finding:
    s, optim = o.schedule, o.optim
    if s is None or optim is None:
        return Finding(
            "D19", "Weight decay", "not enough data", Level.unknown, "λ means nothing without the learning rates, and one of them is not known.",
            needs="The weight decay, and the schedule of the learning rate.", missing=tuple(name for name in ("optim", "schedule") if getattr(o, name) is None),
            would_change="The configuration.",
        )  # fmt: skip
    total = decay.total_decay(s, optim)
    lam = decay.coupled(s, optim)
    keep = decay.init_keep(total)
    verdict = decay.judge(total, optim.weight_decay if optim.optimizer != "adam_l2" else 0.0)
    evidence = [
        Evidence("Λ = Σ lr·λ over the run", total, "e-folds", limit=f"inert below {decay.INERT:g}, informative {decay.INFORMATIVE[0]:g} to {decay.INFORMATIVE[1]:g}, too much above {decay.OVER:g}"),
        Evidence("share of the initial weights left", keep),
        Evidence("timescale at the peak, 1/(lr·λ)", decay.timescale_steps(s.lr, lam), "steps"),
    ]  # fmt: skip
    prior = prior_decay(o)
    if prior is not None:
        evidence.append(Evidence("λ by the timescale law, a prior", prior, "", limit="τ = 1.084·(D/N)^−0.527 of the run; no verdict: a published 163 M run was better at a thirtieth of it"))  # fmt: skip
    shrunk = _shrunk(o)
    if shrunk:
        evidence.append(Evidence(f"RMS over that at the start, {shrunk[0]}", shrunk[1], "times", limit=f"shrunk below {SHRUNK}"))  # fmt: skip
    sweep = _sweep(o, lam, prior)
    rising = _rising(o)
    if (shrunk and shrunk[1] < SHRUNK and rising) or (verdict == "over" and rising):
        return Finding(
            "D19", "Weight decay", "too much", Level.warn,
            "The loss rises while " + (f"{shrunk[0]} has shrunk to {shrunk[1]:.0%} of its size: decay wins over learning." if shrunk and shrunk[1] < SHRUNK else f"decay takes {total:.0f} e-folds: it wins over learning."),
            evidence=tuple(evidence), confidence="medium", would_change="A run at a third of λ that rises as well.",
            advice="Take a third of λ.", experiment=sweep,
        )  # fmt: skip
    if verdict == "over":
        return Finding(
            "D19", "Weight decay", "very strong", Level.info, f"Λ is {total:.0f}: the run forgets its weights {total:.0f} times over. The loss does not rise.",
            evidence=tuple(evidence), confidence="low", would_change="A sweep over λ.", advice="Hold it against a third of λ.", experiment=sweep,
        )  # fmt: skip
    if verdict == "none":
        return Finding(
            "D19", "Weight decay", "none", Level.ok, "There is no decoupled weight decay.", evidence=tuple(evidence), confidence="high",
            would_change="λ above 0.", experiment=sweep,
        )  # fmt: skip
    if verdict == "inert":
        return Finding(
            "D19", "Weight decay", "inert", Level.info,
            f"Weight decay cannot matter here: {keep:.0%} of the initial weights are left at the end (Λ {total:.3f}). Expect less than 0.005 nats between this λ and 0.",
            evidence=tuple(evidence), confidence="high", because="At Λ 0.055 a paired comparison found 0.0046 nats.",
            would_change="Many more steps, a higher rate, or a λ ten times as large.", advice="Compare λ only where Λ is 0.5 to 10.", experiment=sweep,
        )  # fmt: skip
    return Finding(
        "D19", "Weight decay", verdict, Level.ok,
        f"Λ is {total:.2f}: {keep:.0%} of the initial weights are left at the end" + (", enough for λ to show." if verdict == "informative" else "."),
        evidence=tuple(evidence), confidence="high" if verdict == "informative" else "medium",
        because="" if verdict == "informative" else "Between the ranges in which λ surely shows and surely does not.", would_change="Another rate, λ or number of steps.",
        advice="Which λ is best only a sweep says; the laws disagree by a factor of 10.", experiment=sweep,
    )  # fmt: skip


def prior_decay(o: Observations) -> float | None:
    """λ = B/(lr·τ·D) with τ = 1.084·(D/N)^−0.527 of the run (Bergsma et al. 2505.13738): where to centre a sweep, no verdict."""
    if o.schedule is None or not o.parameters or not o.planned_tokens or not o.tokens_per_step:
        return None
    timescale: float = 1.084 * (o.planned_tokens / o.parameters) ** -0.527
    return o.tokens_per_step / (o.schedule.lr * timescale * o.planned_tokens)


def _shrunk(o: Observations) -> tuple[str, float] | None:
    """The decayed group that has shrunk most, and its RMS over that at the start."""
    found = []
    for group in PARAMETER_GROUPS:
        rms = o.finite(f"rms/{group}")
        if (
            group not in ("norm", "bias")
            and len(rms.step) >= 2
            and rms.step[0] <= 0.05 * max(1, o.step)
            and rms.value[0] > 0
        ):
            found.append((group, float(rms.value[-1] / rms.value[0])))
    return min(found, key=lambda one: one[1], default=None)


def _rising(o: Observations) -> bool:
    curve = o.finite("val/loss")
    part = plateau.window(o, curve)
    return part is not None and plateau.fit(np.log(part.step.astype(float)), part.value, None).low > 0


def _sweep(o: Observations, lam: float, prior: float | None) -> Experiment | None:
    """0, the λ at hand, and half decades up to the prior: laws are the centre of a grid and never a verdict."""
    if o.optim is None or o.optim.optimizer == "adam_l2" or o.optim.decay_coupling != "lr":
        return None
    base = lam if lam > 0 else 0.1
    low, high = sorted((base, min(1000.0, max(1e-6, prior or base))))
    middle = math.sqrt(low * high)
    grid = {0.0, *(float(f"{value:.2g}") for value in (low, middle, high, 3 * high) if 0 < value <= 1000)}
    return Experiment(
        "decay_sweep",
        "Which λ ends lowest, over three paired seeds each?",
        {"optim.weight_decay": sorted(grid)},
        o.steps or o.step,
    )
