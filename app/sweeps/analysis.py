"""What a sweep says: one pure function from its numbers to everything that its page, its exports and the API show."""

from collections.abc import Mapping, Sequence
from typing import Any

from app import inference
from app.sweeps import arms_table, comparability, curves, verdict
from app.sweeps.arms import LR, SHORT, STEPS, VARIANT, WEIGHT_DECAY, key_of
from app.sweeps.arms_table import Data, Row
from app.sweeps.told import half, say

SINGULAR = "one seed"
FINE = 81
"""Points of the fitted curve."""


def analysis(data: Data, reference: str | None = None, slice_: int | None = None) -> dict[str, Any]:
    """`data`: app/sweeps/gather.py's dict. `reference`: an arm's key that overrules the sweep's own; `slice_`: which
    combination of the other factors the curve over the main factor is drawn for.

    Diverged runs (no finite final loss) are counted and never averaged. Nothing is named best where the runs differ in
    more than what the sweep varies.
    """
    spec, runs = data["sweep"]["spec"], data["runs"]
    varied = list(dict.fromkeys(field for run in runs for field in run["arm"]))
    found = arms_table.rows(data)
    inside = arms_table.scope(found)
    comparable = comparability.compare([run for run in runs if any(run["run"] in row["runs"] for row in inside)], varied, spec)  # fmt: skip
    against = next((row for row in found if row["key"] == reference), None) or arms_table.reference(inside, spec, data)
    out: dict[str, Any] = {
        "sweep": {key: data["sweep"][key] for key in ("id", "name", "state")},
        "dataset": data["dataset"], "factors": varied, "delta": spec.get("delta", 0.005),
        "comparable": comparable, "runs": _counts(runs), "arms": found,
        "reference": against["key"] if against else None,
    }  # fmt: skip
    main = main_factor(varied, found)
    slices = _slices(inside, main)
    if against is not None:
        arms_table.compare(inside, against, mixed=all(run["ended"] for run in runs))
        curves.windows(data, inside, against)
    if slice_ is None or not 0 <= slice_ < len(slices):
        slice_ = _best_slice(slices)
    minimum = slices[slice_]["minimum"] if slices else None
    symbol = SHORT.get(main, main.rpartition(".")[2]) if main else ""
    told = verdict.judge(inside, comparable["ok"], out["delta"], minimum, symbol)
    best = next((row for row in inside if row["key"] == told["best"]), None)
    arms_table.read(found, against or {}, best, out["delta"], told["needed"])
    return out | {
        "verdict": told,
        "main": {"field": main, "symbol": symbol} if main else None,
        "slices": [{**one, "minimum": _shown(one["minimum"])} for one in slices],
        "slice": slice_ if slices else None,
        "seed_sd": _pooled(inside),
        "curves": curves.differences(data, inside, against) if against else [],
        "rates": curves.rates(data, against) if against and runs else None,
        "weights": curves.weights(data, inside),
        "gaps": curves.gaps(data, inside),
        "heat": curves.heat(data, inside),
        "tokens_per_step": runs[0]["tokens_per_step"] if runs else None,
        "points": _points(runs, inside),
    }


def _counts(runs: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return {
        "total": len(runs), "ended": sum(run["ended"] for run in runs), "linked": sum(run["linked"] for run in runs),
        "diverged": sum(run["diverged"] for run in runs), "seeds": len({run["seed"] for run in runs}),
        "lacking": sum(run["ended"] and run["final"] is None and not run["diverged"] for run in runs),
    }  # fmt: skip


def main_factor(varied: Sequence[str], rows: Sequence[Row]) -> str | None:
    """What the loss is drawn against: λ, else lr, else the first number that varies, else the variants."""
    numbers = [
        field
        for field in varied
        if field != STEPS and len({row["arm"].get(field) for row in rows}) > 1
        and all(type(row["arm"].get(field)) in (int, float) for row in rows)
    ]  # fmt: skip
    for field in (WEIGHT_DECAY, LR):
        if field in numbers:
            return field
    return numbers[0] if numbers else VARIANT if VARIANT in varied else varied[0] if varied else None


def _slices(rows: Sequence[Row], main: str | None) -> list[dict[str, Any]]:
    """The arms grouped by everything but the main factor, each with the fit over it."""
    groups: dict[str, dict[str, Any]] = {}
    for row in rows:
        rest = {field: value for field, value in row["arm"].items() if field not in (main, STEPS)}
        group = groups.setdefault(key_of(rest), {"values": rest, "arms": []})
        group["arms"].append(row)
    found = []
    for group in groups.values():
        numbers = main is not None and all(type(row["arm"].get(main)) in (int, float) for row in group["arms"])
        values = {float(row["arm"][main]): row["finals"] for row in group["arms"] if row["n"]} if numbers else {}
        fit = _inside(inference.minimum(values), group["arms"], main) if values else None
        found.append({"values": group["values"], "arms": [row["key"] for row in group["arms"]], "means": [row["mean"] for row in group["arms"]], "minimum": fit, "why": _why(fit, group["arms"], main) if fit else None})  # fmt: skip
    return found


def _inside(fit: inference.Minimum, rows: Sequence[Row], main: str | None) -> inference.Minimum:
    """No minimum where the lowest loss that was measured stands at the grid's edge: a parabola through the inner values
    says nothing about λ = 0, nor beyond the last value."""
    measured = sorted((float(row["arm"][main]), row["mean"]) for row in rows if row["n"])
    positive = [value for value, _ in measured if value > 0]
    lowest = min(measured, key=lambda one: one[1])[0]
    if fit.at is None or positive[0] < lowest < positive[-1]:
        return fit
    refused = f"The minimum is not bracketed by the grid: the lowest loss stands at its edge, {lowest:g}."
    return fit._replace(at=None, low=None, high=None, flat=None, refused=refused)


def _why(fit: inference.Minimum, rows: Sequence[Row], main: str | None) -> dict[str, Any] | None:
    """Why no minimum is told, and what to add; None where one is."""
    if fit.at is not None:
        return None
    measured = sorted((float(row["arm"][main]), row["mean"]) for row in rows if row["n"])
    positive = [value for value, _ in measured if value > 0]
    if len(positive) < 3:
        return say("Fewer than three values above 0: too few for a curve.")
    lowest = min(measured, key=lambda one: one[1])[0]
    if lowest <= positive[0]:
        return say("The lowest loss stands at the grid's edge, %(at)s: add values below %(end)s.", at=("setting", lowest), end=("setting", positive[0]))  # fmt: skip
    if lowest >= positive[-1]:
        return say("The lowest loss stands at the grid's edge, %(at)s: add values above it.", at=("setting", lowest))
    return say("The runs are too noisy for a curve that opens upwards: add seeds.")


def _best_slice(slices: Sequence[Mapping[str, Any]]) -> int:
    """The one that holds the lowest mean."""
    lowest = [min((mean for mean in one["means"] if mean is not None), default=float("inf")) for one in slices]
    return lowest.index(min(lowest)) if lowest else 0


def _shown(minimum: inference.Minimum | None) -> dict[str, Any] | None:
    """With the fitted curve, ready to be drawn."""
    if minimum is None:
        return None
    return {**minimum._asdict(), "flat": list(minimum.flat) if minimum.flat else None, "coefficients": list(minimum.coefficients) if minimum.coefficients else None}  # fmt: skip


def fitted(minimum: Mapping[str, Any], low: float, high: float) -> list[tuple[float, float]]:
    """(x, loss) of the parabola between two values above 0, evenly spaced in log10."""
    import math

    assert low > 0, "a logarithmic axis has no 0"
    if not minimum["coefficients"]:
        return []
    c0, c1, c2 = minimum["coefficients"]
    ends = math.log10(low), math.log10(high)
    xs = [ends[0] + (ends[1] - ends[0]) * i / (FINE - 1) for i in range(FINE)]
    return [(10**x, c0 + c1 * x + c2 * x * x) for x in xs]


def _pooled(rows: Sequence[Row]) -> float | None:
    """The seeds' standard deviation of the final loss, pooled over the arms."""
    several = [row for row in rows if row["n"] >= 2]
    freedom = sum(row["n"] - 1 for row in several)
    return (sum((row["n"] - 1) * row["sd"] ** 2 for row in several) / freedom) ** 0.5 if freedom else None


def _points(runs: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Every run: its arm, seed and final loss; null where there is none, with the reason."""
    inside = {run for row in rows for run in row["runs"]}
    return [
        {
            "run": run["run"], "arm": key_of(run["arm"]), "seed": run["seed"], "seed_index": run["seed_index"],
            "final": run["final"], "state": run["state"], "diverged": run["diverged"], "linked": run["linked"],
            "step": run["step"], "steps": run["steps"], "compared": run["run"] in inside,
        }
        for run in runs
    ]  # fmt: skip


def interval(row: Row) -> float | None:
    """Half of the arm's own t-interval."""
    return half(row["low"], row["high"])
