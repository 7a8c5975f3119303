"""Runs side by side as a plain dict: rows, differences, what is not comparable, and what the picture means."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from app import decay, evaluations, forks, run_query, series
from app.contract import ids
from app.contract.config import RunConfig
from app.contract.states import ENDED, RunState
from app.db import Tx
from app.evaluations import Difference
from app.tables import Dataset, Run

FRESH_EPOCHS = 1.5
"""Up to so many passes the data count as fresh: decay cannot help by keeping the model from memorising."""
A_LITTLE = 0.2
"""nats; 0.05 to 0.14 was measured for λ = 1 to 3 in runs of 1,000 steps."""
RMS_SHOWN = ("rms/mlp.fc", "rms/attn.qkv")
"""Whose weights the comparison's sentence names: the first that both runs report."""


def compare(tx: Tx, runs: Sequence[Run], baseline_id: int | None = None) -> dict[str, Any]:
    """Rows, differences from the baseline (or the first run), what differs, warnings, and what the picture means."""
    reference = next((run for run in runs if run.id == baseline_id), runs[0]) if runs else None
    curves = {run.id: _evaluations(tx, run.id) for run in runs}
    rows = [_row(tx, run, reference, curves) for run in runs]
    differing = differences(runs)
    return {
        "baseline": ids.show("run", reference.id) if reference else None,
        "rows": rows,
        "differences": differing,
        "warnings": _warnings(tx, runs),
        "meaning": _meaning(tx, runs, curves, {one["field"] for one in differing}),
    }


Curve = dict[int, tuple[float, float | None]]
"""step -> (validation loss, its standard error)."""


def _evaluations(tx: Tx, run_id: int) -> Curve:
    loss, error = (series.read(tx.raw, run_id, key) for key in ("val/loss", "val/loss_se"))
    errors = dict(zip(error.step.tolist(), error.value.tolist(), strict=True))
    return {
        step: (value, errors.get(step))
        for step, value in zip(loss.step.tolist(), loss.value.tolist(), strict=True)
        if math.isfinite(value)
    }


def _row(tx: Tx, run: Run, reference: Run | None, curves: dict[int, Curve]) -> dict[str, Any]:
    curve = curves[run.id]
    config = RunConfig.model_validate(run.config)
    last = max(curve, default=None)
    row: dict[str, Any] = {
        "run": ids.show("run", run.id),
        "name": run.name,
        "state": run.state,
        "weight_decay": config.optim.weight_decay,
        "total_decay": decay.total_decay(config.schedule, config.optim),
        "lr": config.schedule.lr,
        "step": run.step,
        "tokens": forks.tokens_at(run, run.step),
        "tok_per_s": run.tok_per_s,
        "final_val": curve[last][0] if last is not None else None,
        "final_val_se": curve[last][1] if last is not None else None,
        "final_step": last,
        "best_val": run.best_val,
        "best_val_se": run.best_val_se,
        "best_step": run.best_step,
        "difference": None,
        "difference_se": None,
        "difference_step": None,
        "difference_paired": False,
    }
    if reference is not None and reference.id != run.id:
        found = _difference(tx, reference, run, curves)
        if found is not None:
            row |= {"difference": found.value, "difference_se": found.se}
            row |= {"difference_step": found.step, "difference_paired": found.paired}
    return row


def _difference(tx: Tx, a: Run, b: Run, curves: dict[int, Curve]) -> Difference | None:
    """b − a at the last step at which both were evaluated: in pairs where both report the same windows.

    Otherwise the two errors are added as if independent, which is on the safe side.
    """
    step = max(curves[a.id].keys() & curves[b.id].keys(), default=None)
    if step is None:
        return None
    if evaluations.same_windows(a, b):
        losses_a, losses_b = (evaluations.at(tx.raw, run.id, step) for run in (a, b))
        if losses_a is not None and losses_b is not None and len(losses_a) == len(losses_b):
            return Difference(step, *evaluations.paired(losses_a, losses_b), paired=True)
    (loss_a, error_a), (loss_b, error_b) = curves[a.id][step], curves[b.id][step]
    error = math.hypot(error_a, error_b) if error_a is not None and error_b is not None else None
    return Difference(step, loss_b - loss_a, error, paired=False)


def differences(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The configuration fields that are not the same in all runs, in the order of the form."""
    flat = {ids.show("run", run.id): run_query.flat(run.config) for run in runs}
    fields = dict.fromkeys(field for config in flat.values() for field in config)
    rows: list[dict[str, Any]] = [
        {"field": field, "values": {run: config.get(field) for run, config in flat.items()}} for field in fields
    ]
    return [row for row in rows if len({repr(value) for value in row["values"].values()}) > 1]


def _warnings(tx: Tx, runs: Sequence[Run]) -> list[str]:
    """Why the curves may not be comparable, one sentence each."""
    configs = [RunConfig.model_validate(run.config) for run in runs]
    data = [tx.session.get(Dataset, run.dataset_id) if run.dataset_id else None for run in runs]
    hashes = {
        run.data_sha256 or (one and one.manifest_sha256) or run.dataset_id for run, one in zip(runs, data, strict=True)
    }
    tokenizers = {one.manifest["tokenizer"]["sha256"] for one in data if one is not None and one.manifest}
    precisions = {
        str(run.telemetry.get("dtype") or config.system.dtype) for run, config in zip(runs, configs, strict=True)
    } - {"auto"}  # what auto becomes is known once the run has started
    seeds = {config.system.seed for config in configs}
    found: list[str] = []
    if len(hashes) > 1:
        found.append("The runs read different data: their losses measure different things.")
    if len(tokenizers) > 1:
        found.append("The runs use different tokenizers: compare bits per byte, not loss per token.")
    if len(sizes := {config.tokens_per_step for config in configs}) > 1:
        found.append(f"Tokens per step differ ({_numbers(sizes)}): compare over tokens, not over steps.")
    if len(lengths := {config.schedule.steps for config in configs}) > 1:
        found.append(
            f"The schedules have different lengths ({_numbers(lengths)} steps): before its end, a longer one stands at a higher learning rate."
        )
    if len(precisions) > 1:
        found.append(f"The precision differs ({', '.join(sorted(precisions))}).")
    if len(seeds) > 1:
        found.append(
            f"The seeds differ ({_numbers(seeds)}): initial weights and the order of the data are part of the difference."
        )
    return found  # fmt: skip


def _numbers(values: Iterable[int]) -> str:
    return ", ".join(f"{value:,}" for value in sorted(values))


def _meaning(tx: Tx, runs: Sequence[Run], curves: dict[int, Curve], differing: set[str]) -> str | None:
    """For runs that differ in λ alone: what the picture says, with its numbers and their limits; else None."""
    if differing != {"optim.weight_decay"}:
        return None
    ordered = sorted(runs, key=_weight_decay)
    least, most = ordered[0], ordered[-1]
    low, high = _weight_decay(least), _weight_decay(most)
    found = _difference(tx, least, most, curves)
    if found is None or found.step == 0:
        return f"λ = {low:g} and λ = {high:g} have not both been evaluated after their start yet."
    step, difference, error, in_pairs = found
    told_apart = error is None or abs(difference) >= 2 * error
    total = _decay_until(most, step)
    spread = f" ± {error:.4f}" if error is not None else ""
    sentences = [
        f"At step {step:,} λ = {high:g} has a validation loss of {curves[most.id][step][0]:.4f},"
        f" {abs(difference):.4f}{spread} {'above' if difference > 0 else 'below'} λ = {low:g}"
        + (": " if told_apart else ", so the two cannot be told apart: ")
        + _because(total, difference, told_apart, fresh=_is_fresh(tx, most, step)),
    ]
    if (weights := _weights(tx, least, most, low, high)) is not None:
        sentences.append(weights)
    if not all(RunState(run.state) in ENDED for run in (least, most)):
        sentences.append("Not all of these runs have ended, so this is not the last word.")
    noise = (
        "The ± is the noise of the evaluation only (paired, over the same windows): with"
        if in_pairs
        else "The ± is the noise of the evaluation only: with"
    )
    sentences.append(
        f"{'With' if error is None else noise} one seed for each λ, how much another seed would change is not known."
    )
    return " ".join(sentences)


def _weight_decay(run: Run) -> float:
    return float(run.config["optim"]["weight_decay"])


def _decay_until(run: Run, step: int) -> float:
    """Λ up to this step."""
    config = RunConfig.model_validate(run.config)
    schedule = config.schedule
    so_far = {"steps": min(step, schedule.steps), "decay_steps": schedule.decay_steps or schedule.steps}
    return decay.total_decay(schedule.model_copy(update=so_far), config.optim)


def _is_fresh(tx: Tx, run: Run, step: int) -> bool:
    """Up to this step hardly any token was read twice."""
    dataset = tx.session.get(Dataset, run.dataset_id) if run.dataset_id else None
    if dataset is None or not dataset.manifest:
        return False
    return bool(forks.tokens_at(run, step) <= FRESH_EPOCHS * dataset.manifest["train"]["tokens"])


def _because(total: float, difference: float, told_apart: bool, *, fresh: bool) -> str:
    amount = f"Λ = Σ lr·λ = {total:.2g}"
    left = f"{decay.init_keep(total):.0%} of the initial weights are left"
    if total < decay.INERT:
        return f"with {amount} decay is practically inert in so short a run, {left}."
    if total > decay.OVER:
        return f"{amount} is so strong that weights are forgotten many times over."
    if not told_apart:
        return f"{amount}, {left}, but no effect on the loss is visible so far."
    if difference > 0:
        where = "in so short a run on fresh data" if fresh else "in this run"
        cost = "costs a little loss" if difference < A_LITTLE else "costs loss"
        return f"{where} decay ({amount}, {left}) {cost}."
    return f"decay ({amount}, {left}) lowers the loss here."


def _weights(tx: Tx, least: Run, most: Run, low: float, high: float) -> str | None:
    """How far apart the weights' sizes are: decay shows there first."""
    for key in RMS_SHOWN:
        a, b = (series.summaries(tx.raw, run.id, (key,)).get(key) for run in (least, most))
        if a is not None and b is not None and a.last_value and b.last_value:
            verb = "shows it at work" if b.last_value < a.last_value else "does not show smaller weights"
            return (
                f"The weight RMS panel {verb}: {key.removeprefix('rms/')} has an RMS of {b.last_value:.3g}"
                f" with λ = {high:g} and {a.last_value:.3g} with λ = {low:g}."
            )
    return None
