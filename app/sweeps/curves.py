"""What a sweep's arms did while they trained: differences over time, weight sizes against their equilibrium, gaps, the heat map. Pure."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from app import inference
from app.sweeps.arms import LR, WEIGHT_DECAY, key_of
from app.sweeps.arms_table import Data, Row, config_of, outlook_of

TIMESCALES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""1/(lr·λ) as a share of the run, for the lines of the heat map."""


def runs_of(data: Data, row: Row) -> list[Mapping[str, Any]]:
    return [run for run in data["runs"] if key_of(run["arm"]) == row["key"]]


def reached(data: Data, row: Row) -> list[Mapping[str, Any]]:
    """The arm's runs that came to their end; all of them while none has. A mean over runs must not jump where one of them
    has not come so far."""
    own = runs_of(data, row)
    return [run for run in own if run["final"] is not None] or own


def differences(data: Data, rows: Sequence[Row], against: Row) -> list[dict[str, Any]]:
    """Each arm's val(t) − reference's, in pairs, with a t-interval, and the steps at which it crosses over."""
    base = {run["seed"]: _at(run, "val") for run in reached(data, against)}
    found = []
    for row in rows:
        if row is against:
            continue
        pairs = [(_at(run, "val"), base[run["seed"]]) for run in reached(data, row) if run["seed"] in base]
        steps = sorted({step for own, other in pairs for step in own.keys() & other.keys()})
        curve: dict[str, Any] = {"key": row["key"], "label": row["label"], "step": [], "mean": [], "low": [], "high": [], "n": []}  # fmt: skip
        most = max((sum(step in own and step in other for own, other in pairs) for step in steps), default=0)
        for step in steps:
            here = [own[step] - other[step] for own, other in pairs if step in own and step in other]
            if len(here) < most:  # a pair that has not come so far would make the mean jump
                continue
            mean = inference.mean(here)
            for name, value in (("step", step), ("mean", mean.mean), ("low", mean.low), ("high", mean.high), ("n", mean.n)):  # fmt: skip
                curve[name].append(value)
        if curve["step"]:
            found.append({**curve, "crossovers": _crossovers(curve)})
    return found


def _at(run: Mapping[str, Any], name: str) -> dict[int, float]:
    evaluations = run["evaluations"]
    return {step: value for step, value in zip(evaluations["step"], evaluations[name], strict=True) if value is not None}  # fmt: skip


def _crossovers(curve: Mapping[str, Any]) -> list[int]:
    """Steps where the mean changes sign between two stretches that are each told apart from zero."""
    told = [
        (index, math.copysign(1, curve["mean"][index]))
        for index in range(len(curve["step"]))
        if curve["low"][index] is not None and (curve["low"][index] > 0 or curve["high"][index] < 0)
    ]
    found = []
    for (first, sign), (second, other) in itertools.pairwise(told):
        if sign != other:
            between = range(first + 1, second + 1)
            at = next((i for i in between if math.copysign(1, curve["mean"][i]) == other), second)
            found.append(curve["step"][at])
    return found


def rates(data: Data, against: Row) -> dict[str, Any]:
    """The reference's learning rate over its steps: the second axis of the differences."""
    outlook = outlook_of(config_of(data, runs_of(data, against)[0]))
    return {"step": list(outlook.step), "lr": [float(f"{rate:.5g}") for rate in outlook.lr]}


def weights(data: Data, rows: Sequence[Row]) -> dict[str, Any]:
    """Quantity → group → arms' means over seeds; and the equilibrium RMS of each arm that has one."""
    groups: dict[str, dict[str, list[dict[str, Any]]]] = {}
    grads, equilibria = [], []
    for row in rows:
        own = reached(data, row)
        for quantity in ("rms", "update_ratio", "decay_share"):
            names = dict.fromkeys(group for run in own for group in run.get("groups", {}).get(quantity, {}))
            for group in names:
                curves = [run["groups"][quantity][group] for run in own if group in run["groups"][quantity]]
                groups.setdefault(quantity, {}).setdefault(group, []).append({"key": row["key"], "label": row["label"], **_mean_curve(curves)})  # fmt: skip
        grad = _mean_curve([run["grad_norm"] for run in own if run.get("grad_norm")])
        if grad["step"]:
            grads.append({"key": row["key"], "label": row["label"], **grad})
        outlook = outlook_of(config_of(data, own[0]))
        shown = [(step, rms) for step, rms in zip(outlook.step, outlook.rms_equilibrium, strict=True) if rms is not None]  # fmt: skip
        if shown:
            equilibria.append({"key": row["key"], "step": [one[0] for one in shown], "y": [float(f"{one[1]:.5g}") for one in shown]})  # fmt: skip
    return {"groups": groups, "grad_norm": grads, "equilibrium": equilibria}


def _mean_curve(curves: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean over seeds at the steps that all of the longest have."""
    values: dict[int, list[float]] = {}
    for curve in curves:
        for step, y in zip(curve["step"], curve["y"], strict=True):
            if y is not None:
                values.setdefault(step, []).append(y)
    most = max((len(found) for found in values.values()), default=0)
    steps = sorted(step for step, found in values.items() if len(found) == most)
    return {"step": steps, "y": [sum(values[step]) / most for step in steps]}


def gaps(data: Data, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """val − train in eval mode over steps: mean over seeds, ± its standard error (of the evaluation where there is one seed)."""
    found = []
    for row in rows:
        values: dict[int, list[tuple[float, float | None]]] = {}
        for run in reached(data, row):
            parts = {name: _at(run, name) for name in ("val", "train", "val_se", "train_se")}
            for step in parts["val"].keys() & parts["train"].keys():
                errors = [parts[name].get(step) for name in ("val_se", "train_se")]
                error = math.hypot(*errors) if None not in errors else None  # type: ignore[arg-type]
                values.setdefault(step, []).append((parts["val"][step] - parts["train"][step], error))
        most = max((len(one) for one in values.values()), default=0)
        steps = sorted(step for step, one in values.items() if len(one) == most)
        curve: dict[str, Any] = {"key": row["key"], "label": row["label"], "step": steps, "mean": [], "se": []}
        for step in steps:
            here = inference.mean([value for value, _ in values[step]])
            curve["mean"].append(here.mean)
            curve["se"].append(here.sd / math.sqrt(here.n) if here.sd is not None else values[step][0][1])
        if steps:
            found.append(curve)
    return found


def heat(data: Data, rows: Sequence[Row]) -> dict[str, Any] | None:
    """Final loss over lr × λ, with how many runs stand behind each cell and lines of equal timescale; None where not both vary."""
    both = [row for row in rows if LR in row["arm"] and WEIGHT_DECAY in row["arm"]]
    lrs, lambdas = ({row["arm"][field] for row in both} for field in (LR, WEIGHT_DECAY))
    if len(lrs) < 2 or len(lambdas) < 2:
        return None
    cells: dict[tuple[float, float], Row] = {}
    for row in both:  # other factors: the best of them
        place = (row["arm"][LR], row["arm"][WEIGHT_DECAY])
        if place not in cells or (row["mean"] is not None and (cells[place]["mean"] is None or row["mean"] < cells[place]["mean"])):  # fmt: skip
            cells[place] = row
    ys, xs = sorted(lrs), sorted(lambdas)

    def grid(name: str) -> list[list[Any]]:
        return [[cells[y, x][name] if (y, x) in cells else None for x in xs] for y in ys]

    steps = both[0]["steps"]
    decayed = [row["lr"] * row["weight_decay"] * steps for row in both if row["weight_decay"]]
    lines = [share for share in TIMESCALES if min(decayed) / 3 <= 1 / share <= max(decayed) * 3] if decayed else []
    ridge = [(x, min((cells[y, x]["mean"], y) for y in ys if (y, x) in cells and cells[y, x]["mean"] is not None)[1]) for x in xs if any((y, x) in cells and cells[y, x]["mean"] is not None for y in ys)]  # fmt: skip
    return {
        "lr": ys, "weight_decay": xs, "mean": grid("mean"), "n": grid("n"), "diverged": grid("diverged"),
        "lines": [{"share": share, "product": 1 / (share * steps)} for share in lines], "steps": steps,
        "best_lr": [{"weight_decay": x, "lr": y} for x, y in ridge], "kaplan_lr": _kaplan(data),
    }  # fmt: skip


def _kaplan(data: Data) -> float | None:
    """lr = 0.003239 − 0.0001395·ln N (Kaplan et al. 2001.08361, from memory), N without embeddings; a prior, no verdict."""
    fields = data["common"]
    if "model.n_layer" not in fields or "model.n_embd" not in fields:
        return None
    parameters = 12 * fields["model.n_layer"] * fields["model.n_embd"] ** 2
    return max(0.0, 0.003239 - 0.0001395 * math.log(parameters))


def windows(data: Data, rows: Sequence[Row], against: Row) -> None:
    """Fill in `windows`: the arm's difference from the reference window by window, averaged over the pairs of runs."""
    base = {run["seed"]: run["windows"] for run in runs_of(data, against) if "windows" in run}
    for row in rows:
        pairs = [
            (run["windows"], base[run["seed"]])
            for run in runs_of(data, row)
            if row is not against and "windows" in run and run["seed"] in base and len(run["windows"]) == len(base[run["seed"]])
        ]  # fmt: skip
        if not pairs:
            continue
        length = len(pairs[0][0])
        same = [(own, other) for own, other in pairs if len(own) == length]
        per_window = [sum(own[i] - other[i] for own, other in same) / len(same) for i in range(length)]
        mean = inference.mean(per_window)
        assert mean.sd is not None, "an evaluation has two windows at least"
        row["windows"] = {
            "n": len(same), "windows": length, "mean": mean.mean, "low": mean.low, "high": mean.high,
            "se": mean.sd / math.sqrt(length),
        }  # fmt: skip
