"""What came of an experiment, by a stated rule: the difference in validation loss between it and its parent, with its noise.

Both are compared at the last step of the experiment where the parent was evaluated there too, which is waited for while
the parent trains; an anneal probe does not wait and is then held against the loss where it began. Runs scored on the same
windows are compared window by window. To the noise of the windows comes that of a repetition, PAIR_SD: one pair of runs
says nothing of the next pair.
"""

import math
from typing import Any, NamedTuple

from app import evaluations, forks, inference, series
from app.contract.states import ENDED, FailReason
from app.db import Tx
from app.experiments.kinds import KINDS, RELEVANT, Kind
from app.sweeps import members
from app.tables import Experiment, Run, Sweep

PAIR_SD = 0.002
"""nats: between repetitions of a run, .0019 over 80 runs of a 124 M model; pairs that share seed and order differ by less."""
Z = 1.645  #: of a 90 % interval
QUIET = 1.2
"""Four times the windows should halve the standard error; more than 1.2 times that is not what windows explain."""


class Outcome(NamedTuple):
    word: str  #: supported | refuted | open
    sentence: str
    numbers: dict[str, Any]


def judge(tx: Tx, experiment: Experiment, parent: Run, child: Run) -> Outcome | None:
    """None while there is something to wait for: the experiment itself, or its parent at the step of the comparison."""
    kind = KINDS[experiment.kind]
    if child.state not in ENDED:
        return None
    if child.state == "failed" and child.reason == FailReason.non_finite:
        return Outcome("refuted", f"It diverged at step {child.step:,}.", {"step": child.step})
    if child.state == "failed":
        return Outcome("open", f"It failed at step {child.step:,} before it could tell: {child.detail}"[:500], {})
    last = _last(tx, child)
    if last is None:
        return Outcome("open", "It ended before it was evaluated.", {})
    if kind.key == "longer_eval":
        return _quieter(tx, parent, child, last)
    if kind.key == "fixed_windows":
        return _steadier(tx, child)
    if kind.key == "fork_best":
        return _decided(kind, _against(tx, parent, child, parent.best_step, last), "the parent's best")
    if parent.telemetry.get("imported"):
        return _from_elsewhere(tx, parent, last, _value(tx, child, last))
    if kind.key == "larger_model" or child.data_sha256 != parent.data_sha256:
        return _at_the_end(tx, kind, parent, child, last)
    if parent.state == "failed" and parent.reason == FailReason.non_finite and last > parent.step:
        loss = _value(tx, child, last)
        return Outcome(
            "supported",
            f"It passed step {parent.step:,}, where its parent diverged; {loss:.4f} at step {last:,}.",
            {"step": last},
        )
    if _value(tx, parent, last) is not None:
        return _decided(kind, _against(tx, parent, child, last, last), "the parent at the same step")
    first = int(child.telemetry.get("first_step", 0))
    if kind.key == "anneal_probe" and _value(tx, child, first) is not None:
        return _decided(kind, _against(tx, child, child, first, last), "where it began")
    if parent.state not in ENDED and parent.step < last <= parent.steps:
        return None
    return Outcome("open", f"Its parent was not evaluated at step {last:,}, so there is nothing to compare with.", {})


class Compared(NamedTuple):
    """b − a."""

    step: int  #: of b
    against: int  #: of a
    value: float
    se: float | None
    paired: bool


def _against(tx: Tx, a: Run, b: Run, step_a: int | None, step_b: int) -> Compared | None:
    if step_a is None or (loss_a := _value(tx, a, step_a)) is None or (loss_b := _value(tx, b, step_b)) is None:
        return None
    if a.id == b.id or evaluations.same_windows(a, b):
        windows_a, windows_b = evaluations.at(tx.raw, a.id, step_a), evaluations.at(tx.raw, b.id, step_b)
        if windows_a is not None and windows_b is not None and len(windows_a) == len(windows_b):
            value, se = evaluations.paired(windows_a, windows_b)
            return Compared(step_b, step_a, value, se, True)
    errors = [_value(tx, run, step, "val/loss_se") for run, step in ((a, step_a), (b, step_b))]
    known = [error for error in errors if error is not None]
    return Compared(step_b, step_a, loss_b - loss_a, math.hypot(*known) if len(known) == 2 else None, False)


def _decided(kind: Kind, found: Compared | None, what: str) -> Outcome:
    if found is None:
        return Outcome("open", "One of the two has no validation loss to compare.", {})
    if found.se is None:
        value = f"{found.value:+.4f} nats against {what}"
        return Outcome("open", f"{value}; without a standard error that says nothing.", {"difference": found.value})
    half = Z * math.hypot(found.se, PAIR_SD)
    low, high = found.value - half, found.value + half
    word = "supported" if high < -kind.gain else "refuted" if low > -kind.nothing else "open"
    numbers = {
        "difference": found.value, "low": low, "high": high, "se": found.se, "paired": found.paired, "step": found.step,
        "against_step": found.against, "supported_below": -kind.gain, "refuted_above": -kind.nothing,
    }  # fmt: skip
    how = "window by window" if found.paired else "from the two means"
    gain, nothing = _minus(kind.gain), _minus(kind.nothing)
    decided = {
        "supported": f"All of it lies below {gain}.", "refuted": f"All of it lies above {nothing}.",
        "open": f"It is neither all below {gain} nor all above {nothing}.",
    }[word]  # fmt: skip
    sentence = f"{_signed(found.value)} nats against {what}, 90 % {_signed(low)} to {_signed(high)}, {how}. {decided}"
    return Outcome(word, sentence, numbers)


def _at_the_end(tx: Tx, kind: Kind, parent: Run, child: Run, last: int) -> Outcome | None:
    """Runs of other lengths or data: each at its own end. On other data the gap to train is compared, not the loss."""
    if parent.state not in ENDED:
        return None
    theirs = _last(tx, parent)
    if theirs is None:
        return Outcome("open", "Its parent was never evaluated.", {})
    if child.data_sha256 == parent.data_sha256:
        if parent.step < parent.steps:
            why = f"Its parent ended at step {parent.step:,} of {parent.steps:,}: the two did not cost the same."
            return Outcome("open", why, {})
        return _decided(kind, _against(tx, parent, child, theirs, last), "the parent's end")
    gaps = [_gap(tx, parent, theirs), _gap(tx, child, last)]
    if gaps[0] is None or gaps[1] is None:
        return Outcome(
            "open",
            "The two are scored on different text, and without train losses in eval mode their gaps are not known.",
            {},
        )
    (before, se_a), (after, se_b) = gaps[0], gaps[1]
    found = Compared(last, theirs, after - before, math.hypot(se_a, se_b), False)
    made = _decided(kind, found, "the parent's gap between validation and train")
    return made._replace(numbers=made.numbers | {"gap_before": before, "gap_after": after})


def _from_elsewhere(tx: Tx, parent: Run, last: int, loss: float | None) -> Outcome:
    """Nothing says that the log's losses are of the same text as ours: the numbers are told, nothing is decided."""
    theirs = _value(tx, parent, last)
    if theirs is None or loss is None:
        return Outcome("open", f"Its parent is from elsewhere and was not evaluated at step {last:,}.", {})
    sentence = f"{_signed(loss - theirs)} nats at step {last:,}, but its parent is from elsewhere: nothing says that both were scored on the same text."
    return Outcome("open", sentence, {"difference": loss - theirs, "step": last})


def _gap(tx: Tx, run: Run, step: int) -> tuple[float, float] | None:
    """(validation − train, its standard error), both in eval mode."""
    keys = ("val/loss", "eval/train_loss", "val/loss_se", "eval/train_loss_se")
    val, train, *errors = (_value(tx, run, step, key) for key in keys)
    if val is None or train is None:
        return None
    return val - train, math.hypot(*(error or 0.0 for error in errors))


def _quieter(tx: Tx, parent: Run, child: Run, last: int) -> Outcome:
    before = _value(tx, parent, _last(tx, parent) or 0, "val/loss_se")
    after = _value(tx, child, last, "val/loss_se")
    if not before or after is None:
        return Outcome("open", "One of the two reports no standard error.", {})
    share = after / before
    windows = [run.telemetry.get("eval_windows") or run.config["eval"]["windows"] for run in (parent, child)]
    word = "supported" if share <= QUIET * math.sqrt(windows[0] / windows[1]) else "refuted"
    numbers = {"se_before": before, "se_after": after, "windows_before": windows[0], "windows_after": windows[1]}
    sentence = f"The standard error went from {before:.4f} with {windows[0]:,} windows to {after:.4f} with {windows[1]:,}, {share:.0%} of it."
    return Outcome(word, sentence, numbers)


def _steadier(tx: Tx, child: Run) -> Outcome:
    """The change between its first and last evaluation, known from pairs of windows and as it would be from two draws."""
    first, last = int(child.telemetry.get("first_step", 0)), _last(tx, child)
    found = _against(tx, child, child, first, last) if last is not None and last > first else None
    drawn = [_value(tx, child, step, "val/loss_se") for step in (first, last or first)]
    if found is None or not found.paired or found.se is None or None in drawn:
        return Outcome("open", "Its evaluations have no losses window by window.", {})
    apart = math.hypot(*(error or 0.0 for error in drawn))
    word = "supported" if found.se < 0.5 * apart else "refuted"
    sentence = f"The change from step {first:,} to {last:,} is known to {found.se:.4f} nats on the same windows; on new ones each time it would be {apart:.4f}."
    return Outcome(word, sentence, {"se_paired": found.se, "se_drawn": apart, "difference": found.value})


def _last(tx: Tx, run: Run) -> int | None:
    row = tx.raw.execute("SELECT last_step FROM series WHERE run_id = ? AND key = 'val/loss'", (run.id,)).fetchone()
    return int(row[0]) if row else None


def _value(tx: Tx, run: Run, step: int, key: str = "val/loss") -> float | None:
    """At this step; before a fork's own first step its ancestors'."""
    for one, until in [(run, None), *forks.ancestors(tx, run)]:
        if until is None or step <= until:
            found = series.read(tx.raw, one.id, key, step, step).value
            if len(found) and math.isfinite(found[0]):
                return float(found[0])
    return None


def _minus(value: float) -> str:
    return f"−{value:g}"


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")


def judge_sweep(tx: Tx, parent: Run, sweep: Sweep) -> Outcome | None:
    """Each λ against the parent's, in pairs of one seed; 95 % intervals, p by Holm over all of them."""
    found = members.of(tx, sweep)
    if any(not member.ended for member in found) and sweep.state not in ("finished", "cancelled"):
        return None
    own = float(parent.config["optim"]["weight_decay"])
    losses: dict[float, dict[int, float]] = {}
    for member in found:
        loss = members.final(tx, member.run)
        if loss is not None and math.isfinite(loss):
            losses.setdefault(float(member.run.config["optim"]["weight_decay"]), {})[member.seed_index] = loss
    reference = losses.pop(own, {})
    pairs = {value: inference.paired(arm, reference) for value, arm in losses.items()}
    known = {value: pair for value, pair in pairs.items() if pair is not None and pair.high is not None}
    if not known:
        return Outcome("open", "Too few pairs of finished runs to compare.", {"losses": _text(losses)})
    adjusted = dict(zip(known, inference.holm([pair.p or 0.0 for pair in known.values()]), strict=True))
    best = min(known, key=lambda value: known[value].mean)
    pair = known[best]
    assert pair.low is not None
    assert pair.high is not None
    better = pair.high < -RELEVANT and adjusted[best] < 0.05
    worse = all((one.low or 0.0) > -RELEVANT for one in known.values())
    word = "supported" if better else "refuted" if worse else "open"
    sentence = f"λ = {best:g} against {own:g}: {_signed(pair.mean)} nats, 95 % {_signed(pair.low)} to {_signed(pair.high)}, {pair.n} pairs, p = {adjusted[best]:.2g} after Holm."
    numbers = {
        "difference": pair.mean,
        "low": pair.low,
        "high": pair.high,
        "pairs": pair.n,
        "p": adjusted[best],
        "best": best,
        "own": own,
    }
    return Outcome(word, sentence, numbers)


def _text(losses: dict[float, dict[int, float]]) -> dict[str, list[float]]:
    return {f"{value:g}": list(arm.values()) for value, arm in losses.items()}
