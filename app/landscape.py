"""Settings against results: a row a run, the fields of its configuration and the newest values of its metrics."""

from collections.abc import Sequence
from typing import Any

from app import run_query
from app.contract import ids
from app.contract.metrics import METRICS
from app.db import Tx
from app.tables import Run

MOST_METRICS = 400
"""Of all runs together; beyond them the first by name."""


def table(tx: Tx, runs: Sequence[Run]) -> dict[str, Any]:
    """`fields`: those that differ, in the order of the form; `metrics`: those that any run has, the usual ones first;
    `rows`: {run, name, settings, results} with the newest value of each metric and `val/loss` (best) as `best/val_loss`.
    What is not finite or was never reported is null."""
    usual = {metric.key: place for place, metric in enumerate(METRICS)}
    results: dict[int, dict[str, float | None]] = {run.id: {} for run in runs}
    marks = ", ".join("?" * len(runs))
    query = f"SELECT run_id, key, last_value FROM series WHERE run_id IN ({marks}) AND key NOT LIKE 'x/%'"  # noqa: S608 - question marks only
    found: dict[str, None] = {}
    for number, key, value in tx.raw.execute(query, tuple(results)):
        if key in found or len(found) < MOST_METRICS:
            found[key] = None
            results[number][key] = value
    metrics = sorted(found, key=lambda key: (usual.get(key, len(usual)), key))
    if any(run.best_val is not None for run in runs):
        metrics.insert(0, "best/val_loss")
    configs = {run.id: run_query.flat(run.config) for run in runs}
    fields = dict.fromkeys(field for config in configs.values() for field in config)
    differing = [field for field in fields if len({repr(config.get(field)) for config in configs.values()}) > 1]
    return {
        "fields": differing,
        "metrics": metrics,
        "rows": [
            {
                "run": ids.show("run", run.id),
                "name": run.name,
                "settings": {field: configs[run.id].get(field) for field in differing},
                "results": results[run.id] | {"best/val_loss": run.best_val},
            }
            for run in runs
        ],
    }
