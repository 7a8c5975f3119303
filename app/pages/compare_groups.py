"""The compare page's groups and its settings against results: what was chosen in the address, tables, and data for the drawings."""

from collections.abc import Sequence
from typing import Any, get_args

from fastapi import Request

from app import axes, grouping, landscape, runs
from app.contract import ids
from app.contract.metrics import METRICS
from app.db import Tx
from app.grouping import Band
from app.i18n import N_, Speech
from app.pages.launch_form import FIELDS
from app.tables import Run

BANDS: dict[Band, str] = {
    "ci95": N_("95 % interval of the mean"),
    "se": N_("Standard error"),
    "std": N_("Standard deviation"),
    "range": N_("Smallest to largest"),
}
NOT_FIRST = ("system.", "eval.", "checkpoint.")
"""Settings that nobody means by default when they group: the seed is what groups average over."""


def context(
    tx: Tx, request: Request, chosen: Sequence[Run], differing: Sequence[str], speech: Speech
) -> dict[str, Any]:
    """`grouped`: the groups with their numbers; what cannot be meant in the address is read as not given."""
    asked = request.query_params
    offered = [field for field in differing if field in FIELDS]
    usual = next((field for field in offered if not field.startswith(NOT_FIRST)), "")
    by = asked.get("by", usual)
    by = by if by in offered or by == "" else usual
    band: Band = next((one for one in get_args(Band) if one == asked.get("band")), "ci95")
    axis = asked.get("x", "tokens")
    pinned = runs.baseline(tx)
    reference = next((run for run in chosen if pinned and run.id == pinned.id), chosen[0]) if chosen else None
    minus = reference if asked.get("less") and len(chosen) > 1 else None
    axis = axis if axis in axes.AXES else "tokens"
    return {
        "grouped": grouping.groups(tx, chosen, by=by, axis=axis, band=band, minus=minus),
        "bands": BANDS,
        "by_offered": [(field, speech(str(FIELDS[field][1].title))) for field in offered],
        "by_title": speech(str(FIELDS[by][1].title)) if by else speech("Run"),
        "reference": ids.show("run", reference.id) if reference else "",
        "less": minus is not None,
        "landscape": _titled(landscape.table(tx, chosen), speech),
    }


def _titled(table: dict[str, Any], speech: Speech) -> dict[str, Any]:
    """With `titles`: what people call its fields and metrics, where that is known."""
    known = {field: str(info.title) for field, (_, info) in FIELDS.items()}
    known |= {metric.key: metric.title for metric in METRICS} | {"best/val_loss": N_("Best val")}
    return table | {
        "titles": {key: speech(known[key]) for key in (*table["fields"], *table["metrics"]) if key in known}
    }
