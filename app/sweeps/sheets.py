"""What a sweep's page shows as plain tables, a dict a row: for CSV, Parquet and JSON. Pure."""

from collections.abc import Callable, Mapping
from typing import Any

from app.errors import NotFound

Said = Mapping[str, Any]
Rows = list[dict[str, Any]]


def sheet(said: Said, name: str) -> Rows:
    """Raises NotFound for a name that is none of SHEETS."""
    if name not in SHEETS:
        raise NotFound(f"There is no table {name[:40]}; there are: {', '.join(SHEETS)}.")
    return SHEETS[name](said)


def arms(said: Said) -> Rows:
    """A row an arm: the table of the page."""
    plain = ("label", "planned", "n", "diverged", "mean", "sd", "low", "high", "chance", "total_decay", "init_keep", "averaged", "timescale_steps", "timescale_tokens", "timescale_epochs", "gap", "gap_low", "gap_high", "clipped", "skipped", "reading_text")  # fmt: skip
    groups = list(dict.fromkeys(group for row in said["arms"] for group in row["rms"]))
    return [
        {
            **row["arm"], **{name: row[name] for name in plain},
            **_part(row, "paired", ("n", "mean", "low", "high", "p", "p_adjusted")), **_part(row, "unpaired", ("mean", "low", "high", "p", "p_dunnett")),
            **_part(row, "mixed", ("mean", "low", "high", "p")), **_part(row, "windows", ("mean", "low", "high", "se", "windows")),
            **{f"rms_{group}": row["rms"].get(group) for group in groups}, "reference": row["key"] == said["reference"],
        }
        for row in said["arms"]
    ]  # fmt: skip


def _part(row: Mapping[str, Any], name: str, fields: tuple[str, ...]) -> dict[str, Any]:
    found = row[name] or {}
    return {f"{name}_{field}": found.get(field) for field in fields}


def runs(said: Said) -> Rows:
    """A row a run, with its arm's values."""
    values = {row["key"]: row["arm"] for row in said["arms"]}
    return [{"run": one["run"], **values[one["arm"]], **{name: one[name] for name in ("seed", "seed_index", "final", "state", "diverged", "linked", "step", "steps")}} for one in said["points"]]  # fmt: skip


def differences(said: Said) -> Rows:
    """Validation loss minus the reference's, over steps, in pairs."""
    return _long(said["curves"], ("mean", "low", "high", "n"))


def gaps(said: Said) -> Rows:
    """Validation minus training loss over steps."""
    return _long(said["gaps"], ("mean", "se"))


def weights(said: Said) -> Rows:
    """Sizes of weights and updates by group, over steps: means over seeds; the equilibrium as a group of its own."""
    found: Rows = []
    for quantity, groups in said["weights"]["groups"].items():
        for group, curves in groups.items():
            found += [{"quantity": quantity, "group": group, **row} for row in _long(curves, ("y",))]
    found += [{"quantity": "grad_norm", "group": "", **row} for row in _long(said["weights"]["grad_norm"], ("y",))]
    labels = {row["key"]: row["label"] for row in said["arms"]}
    lines = [{**line, "label": labels[line["key"]]} for line in said["weights"]["equilibrium"]]
    return found + [{"quantity": "rms_equilibrium", "group": "", **row} for row in _long(lines, ("y",))]


def heat(said: Said) -> Rows:
    """Final loss over learning rate and λ."""
    found = said["heat"]
    if found is None:
        return []
    return [
        {"lr": lr, "weight_decay": decay, **{name: found[name][i][j] for name in ("mean", "n", "diverged")}}
        for i, lr in enumerate(found["lr"])
        for j, decay in enumerate(found["weight_decay"])
    ]


def _long(curves: Any, fields: tuple[str, ...]) -> Rows:
    return [
        {"arm": curve["label"], "step": step, **{field: curve[field][index] for field in fields}}
        for curve in curves
        for index, step in enumerate(curve["step"])
    ]


SHEETS: dict[str, Callable[[Said], Rows]] = {
    "arms": arms, "runs": runs, "differences": differences, "weights": weights, "gaps": gaps, "heat": heat,
}  # fmt: skip
