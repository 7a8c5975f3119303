"""Charts and comparisons as plain dicts: what a page draws and what its JSON twin returns, from one function."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app import decay, feed, run_query, series
from app.contract import ids
from app.contract.config import RunConfig
from app.contract.metrics import X_AXES
from app.contract.states import ENDED, RunState
from app.db import Tx
from app.errors import FieldError, Invalid
from app.tables import Dataset, Run

WIDTH = (16, 8000)
"""Fewest and most points drawn of one curve."""
FRESH_EPOCHS = 1.5
"""Up to so many passes the data count as fresh: decay cannot help by keeping the model from memorising."""
A_LITTLE = 0.2
"""nats; 0.05 to 0.14 was measured for λ = 1 to 3 in runs of 1,000 steps."""
RMS_SHOWN = ("rms/mlp.fc", "rms/attn.qkv")
"""Whose weights the comparison's sentence names: the first that both runs report."""


# --- charts ----------------------------------------------------------------------------------------------


def chart(
    tx: Tx,
    run_ids: Iterable[int],
    keys: Sequence[str],
    axis: str = "step",
    lo: float | None = None,
    hi: float | None = None,
    width: int = 1000,
) -> dict[str, Any]:
    """Series of several runs, thinned to about `width` points that keep every extreme.

    A key that ends in "/" stands for all series below it. `lo` and `hi` are in units of the axis. Values that
    are not finite are null in `y` and named in `non_finite`. The cost depends on `width`, not on the runs' length.
    """
    if axis not in X_AXES:
        raise Invalid([FieldError("/x", f"must be one of {', '.join(X_AXES)}")])
    buckets = min(max(width, WIDTH[0]), WIDTH[1]) // 2  # each keeps its minimum and its maximum
    cursor = feed.head(tx.raw)
    shown: dict[str, dict[str, Any]] = {}
    for run_id in run_ids:
        window = _steps_between(tx, run_id, axis, lo, hi)
        shown[ids.show("run", run_id)] = {
            key: _curve(tx, run_id, key, axis, window, buckets) for key in _expanded(tx, run_id, keys)
        }
    return {"x": axis, "cursor": cursor, "runs": shown}


def _curve(
    tx: Tx, run_id: int, key: str, axis: str, window: tuple[int | None, int | None], buckets: int
) -> dict[str, Any]:
    points = series.read(tx.raw, run_id, key, *window, buckets)
    finite = np.isfinite(points.value)
    x = points.step if axis == "step" else series.x_at(tx.raw, run_id, axis, points.step)
    return {
        "step": points.step.tolist(),
        "x": _listed(x),
        "y": _listed(points.value),
        "total": points.total,
        "merged": points.merged,
        "non_finite": [
            {"step": int(step), "value": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
            for step, value in zip(points.step[~finite], points.value[~finite], strict=True)
        ],
    }


def _listed(values: NDArray[Any]) -> list[Any]:
    """Numbers as JSON takes them: null for what is not finite."""
    listed: list[Any] = values.tolist()
    for index in np.flatnonzero(~np.isfinite(values)):
        listed[index] = None
    return listed


def _expanded(tx: Tx, run_id: int, keys: Sequence[str]) -> list[str]:
    """The run's own series for the keys asked for, in that order."""
    own = [row[0] for row in tx.raw.execute("SELECT key FROM series WHERE run_id = ? ORDER BY key", (run_id,))]
    wanted = dict.fromkeys(
        found for key in keys for found in own if found == key or (key.endswith("/") and found.startswith(key))
    )
    return list(wanted)


def _steps_between(tx: Tx, run_id: int, axis: str, lo: float | None, hi: float | None) -> tuple[int | None, int | None]:
    """The window as steps: the last step at or before `lo` to the first at or after `hi`."""
    if axis == "step" or (lo is None and hi is None):
        return (None if lo is None else math.floor(lo)), (None if hi is None else math.ceil(hi))
    last = tx.raw.execute("SELECT coalesce(max(last_step), 0) FROM series WHERE run_id = ?", (run_id,)).fetchone()[0]
    low = None if lo is None else max(0, _first_at(tx, run_id, axis, lo, last) - 1)
    return low, (None if hi is None else _first_at(tx, run_id, axis, hi, last))


def _first_at(tx: Tx, run_id: int, axis: str, x: float, last: int) -> int:
    """The first step whose x is at least `x`; x only rises, so each look at 64 steps narrows it down 64-fold."""
    low, high = 0, last
    while low < high:
        steps = np.unique(np.linspace(low, high, 64).astype(np.int64))
        reached = series.x_at(tx.raw, run_id, axis, steps) >= x
        if not reached.any():
            return high
        index = int(np.argmax(reached))
        if index == 0 or steps[index] - steps[index - 1] == 1:
            return int(steps[index])
        low, high = int(steps[index - 1]) + 1, int(steps[index])
    return high


def sparkline(tx: Tx, run_ids: Iterable[int], key: str = "val/loss", points: int = 40) -> dict[int, list[float]]:
    """Run id -> about `points` values for a line the size of a word; only finite ones, empty where there are none."""
    lines: dict[int, list[float]] = {}
    for run_id in run_ids:
        value = series.read(tx.raw, run_id, key, buckets=max(1, points // 2)).value
        lines[run_id] = value[np.isfinite(value)].tolist()
    return lines


# --- comparison ------------------------------------------------------------------------------------------


def compare(tx: Tx, runs: Sequence[Run], baseline_id: int | None = None) -> dict[str, Any]:
    """Rows, differences from the baseline (or the first run), what differs, warnings, and what the picture means."""
    reference = next((run for run in runs if run.id == baseline_id), runs[0]) if runs else None
    curves = {run.id: _evaluations(tx, run.id) for run in runs}
    rows = [_row(run, curves[run.id], reference, curves) for run in runs]
    differences = _differences(runs)
    return {
        "baseline": ids.show("run", reference.id) if reference else None,
        "rows": rows,
        "differences": differences,
        "warnings": _warnings(tx, runs),
        "meaning": _meaning(tx, runs, curves, {one["field"] for one in differences}),
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


def _row(run: Run, curve: Curve, reference: Run | None, curves: dict[int, Curve]) -> dict[str, Any]:
    config = RunConfig.model_validate(run.config)
    last = max(curve, default=None)
    row: dict[str, Any] = {
        "run": ids.show("run", run.id),
        "name": run.name,
        "state": run.state,
        "weight_decay": config.optim.weight_decay,
        "total_decay": decay.total_decay(config.schedule, config.optim.weight_decay),
        "lr": config.schedule.lr,
        "step": run.step,
        "tokens": run.step * config.tokens_per_step,
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
    }
    if reference is not None and reference.id != run.id:
        found = _difference(curves[reference.id], curve)
        if found is not None:
            row["difference_step"], row["difference"], row["difference_se"] = found
    return row


def _difference(a: Curve, b: Curve) -> tuple[int, float, float | None] | None:
    """(step, b − a, its standard error) at the last step at which both were evaluated.

    The errors are added as if independent; both runs are scored on the same windows, so this is on the safe side.
    """
    step = max(a.keys() & b.keys(), default=None)
    if step is None:
        return None
    (loss_a, error_a), (loss_b, error_b) = a[step], b[step]
    error = math.hypot(error_a, error_b) if error_a is not None and error_b is not None else None
    return step, loss_b - loss_a, error


def _differences(runs: Sequence[Run]) -> list[dict[str, Any]]:
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
    }
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
    found = _difference(curves[least.id], curves[most.id])
    if found is None or found[0] == 0:
        return f"λ = {low:g} and λ = {high:g} have not both been evaluated after their start yet."
    step, difference, error = found
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
    sentences.append(
        "The ± is the noise of the evaluation only: with one seed for each λ, how much another seed would change is not known."
        if error is not None
        else "With one seed for each λ, how much another seed would change is not known."
    )
    return " ".join(sentences)


def _weight_decay(run: Run) -> float:
    return float(run.config["optim"]["weight_decay"])


def _decay_until(run: Run, step: int) -> float:
    """Λ up to this step."""
    config = RunConfig.model_validate(run.config)
    schedule = config.schedule
    so_far = {"steps": min(step, schedule.steps), "decay_steps": schedule.decay_steps or schedule.steps}
    return decay.total_decay(schedule.model_copy(update=so_far), config.optim.weight_decay)


def _is_fresh(tx: Tx, run: Run, step: int) -> bool:
    """Up to this step hardly any token was read twice."""
    dataset = tx.session.get(Dataset, run.dataset_id) if run.dataset_id else None
    if dataset is None or not dataset.manifest:
        return False
    tokens = step * RunConfig.model_validate(run.config).tokens_per_step
    return bool(tokens <= FRESH_EPOCHS * dataset.manifest["train"]["tokens"])


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
