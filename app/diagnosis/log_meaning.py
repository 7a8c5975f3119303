"""D21: what the numbers of this log are, before anybody reads them: one micro-batch or a batch, dropout on or off, replayed data."""

import itertools
import math

import numpy as np

from app.diagnosis import eval_noise
from app.diagnosis.findings import Evidence, Finding, Level, Mark
from app.diagnosis.observations import Observations

MANY = 0.1
"""Of the steps, on replayed batches."""
OFF = 0.05
"""Of the peak, by which a logged rate may be off the schedule's."""


def other_rate(o: Observations) -> tuple[int, float, float] | None:
    """(step, logged, by the schedule) where the log's learning rates are not those of the schedule that was given."""
    logged = o.finite("train/lr")
    if o.schedule is None or len(logged.step) < 5:
        return None
    places = np.unique(np.linspace(0, len(logged.step) - 1, 200).astype(int))
    due = o.rates(logged.step[places] - 1)
    assert due is not None
    off = np.abs(logged.value[places] - due) > OFF * o.schedule.lr
    if off.mean() <= 0.1:
        return None
    worst = int(places[np.abs(logged.value[places] - due).argmax()])
    return int(logged.step[worst]), float(logged.value[worst]), float(due[np.searchsorted(places, worst)])


def judge(o: Observations) -> Finding | None:
    if not len(o.curve("train/loss").step) and not len(o.curve("val/loss").step):
        return None
    said: list[str] = []
    evidence: list[Evidence] = []
    level = Level.ok
    loss = o.finite("train/loss")
    if o.train_loss_is == "last micro-batch":
        wider = math.sqrt(o.accumulation) if o.accumulation else None
        spread = eval_noise.scatter(loss.between(max(1, o.warmup_steps), np.inf), 2000)
        if spread is not None:
            evidence.append(Evidence("scatter of a train loss", spread, "nats", limit="of one micro-batch"))
        said.append(
            "Train losses are of the last micro-batch only" + (f": they scatter {wider:.1f} times as much as the batch's mean would" if wider and wider > 1 else "")
            + (f" (±{spread:.2f} nats); a single one says nothing." if spread is not None else "; a single one says nothing.")
        )  # fmt: skip
        level = Level.info
    if o.dropout and o.train_loss_mode == "train" and len(loss.step):
        evidence.append(Evidence("dropout", o.dropout))
        said.append(f"Train losses have dropout of {o.dropout:g} on and validation has not: train is inflated, and the two cannot be compared.")  # fmt: skip
        level = Level.info
    resumes = [step for step in o.resumed_at if step <= o.step]
    if resumes:
        evidence.append(Evidence("resumes", len(resumes), "", min(resumes), max(resumes)))
        if o.replays_data:
            again = _replayed(o, resumes)
            said.append(
                f"{'The resume' if len(resumes) == 1 else f'Each of {len(resumes)} resumes'} drew the same batches again from the seed: {again:,} steps saw data a second time in the same order."
            )
            evidence.append(Evidence("steps on replayed batches", again, "", limit=f"of {o.step:,}"))
            level = Level.warn if again > MANY * max(1, o.step) else Level.info
    if other := other_rate(o):
        said.append(
            f"The learning rate at step {other[0]:,} was {other[1]:.3g}, and by the schedule given {other[2]:.3g}: what depends on the schedule does not hold."
        )
        evidence.append(Evidence("learning rate logged", other[1], "", limit=f"{other[2]:.3g} by the schedule"))
        level = Level.warn
    if o.mfu_peak_flops and len(o.curve("train/mfu").step):
        said.append(f"The log's MFU is by a peak of {o.mfu_peak_flops / 1e12:.0f} TFLOP/s, whatever the device.")
        level = Level.info if level == Level.ok else level
    if o.fixed_eval is False:
        said.append("Each evaluation is of other windows: neighbours differ by chance as well.")
        level = Level.info if level == Level.ok else level
    said += [f"{name}: {how}." for name, how in o.notes.items()]
    if not said:
        return Finding(
            "D21", "What the log means", "plain", Level.ok, "Train losses are means of whole batches; nothing has to be read with care.",
            confidence="medium", would_change="A log of other numbers.",
        )  # fmt: skip
    advice = "Read trends from the evaluations, not from single train losses." if level != Level.ok else ""
    return Finding(
        "D21", "What the log means", "to be read with care" if level != Level.ok else "plain", level, " ".join(said),
        evidence=tuple(evidence), confidence="high", would_change="A log of other numbers.",
        advice=advice + (" Draw the data by step and seed, so that a resume goes on instead of beginning again." if resumes and o.replays_data else ""),
        marks=tuple(Mark(step, step, "resume") for step in resumes),
    )  # fmt: skip


def _replayed(o: Observations, resumes: list[int]) -> int:
    """Steps since each resume that an earlier stretch of at least that length has drawn already."""
    edges = [*sorted(resumes), o.step]
    longest, again = edges[0] - o.first_step, 0
    for first, last in itertools.pairwise(edges):
        again += min(longest, last - first)
        longest = max(longest, last - first)
    return max(0, again)
