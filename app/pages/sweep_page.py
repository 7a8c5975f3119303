"""A sweep's page: the verdict with its uncertainty first, then the evidence; the same live, and as a file to send away."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from markupsafe import Markup, escape

from app.contract import ids
from app.contract.states import RunState
from app.contract.sweep import SweepState
from app.db import Database
from app.errors import FieldError, Invalid
from app.i18n import N_, Speech
from app.pages import sweep_figures
from app.pages.forms import Form, Posted
from app.pages.rendering import now, page, speech_of
from app.pages.sweep_form import numbers
from app.pages.view import LOOKS, Look
from app.sweeps import gather, launching, members, shapes, sharing, steering
from app.sweeps.analysis import analysis, fitted
from app.sweeps.arms import name_of, spell
from app.sweeps.launching import Addition

router = APIRouter(include_in_schema=False)
STATES: dict[str, Look] = {
    SweepState.running: Look("run", "run", N_("Running")),
    SweepState.paused: Look("t2", "pause", N_("Paused")),
    SweepState.cancelled: Look("t2", "stop", N_("Cancelled")),
    SweepState.finished: Look("ok", "ok", N_("Finished")),
}
GROUP_NAMES = {
    "network": N_("network"), "data": N_("data"), "order of the data": N_("order of the data"),
    "schedule and length": N_("schedule and length"), "optimiser": N_("optimiser"), "evaluation": N_("evaluation"),
    "arithmetic": N_("arithmetic"),
}  # fmt: skip


@router.get("/sweeps")
def sweeps(request: Request) -> HTMLResponse:
    return page(request, "sweeps.html", **_list(request))


@router.get("/sweeps/fragments/list")
def sweep_list(request: Request) -> HTMLResponse:
    return page(request, "_sweeps.html", **_list(request))


def _list(request: Request) -> dict[str, Any]:
    db: Database = request.app.state.db
    with db.read() as tx:
        rows = [(row, shapes.progress(tx, row)) for row in members.listing(tx)]
    return {"rows": [{"id": ids.show("sweep", row.id), "name": row.name, "look": STATES[row.state], "state": row.state, "progress": progress, "created_at": row.created_at, "spec": row.spec} for row, progress in rows], "factor_names": factor_names}  # fmt: skip


def factor_names(spec: Mapping[str, Any]) -> str:
    """ "λ 0, 0.1, 1, 3 × lr 1e-4 … 1e-2"."""
    parts = []
    for factor in spec["factors"]:
        values = ", ".join(spell(value) for value in factor["values"]) or f"{spell(factor['low'])} … {spell(factor['high'])}"  # fmt: skip
        parts.append(name_of({factor["field"]: ""}).strip() + " " + values)
    if spec["variants"]:
        parts.append(", ".join(one["name"] for one in spec["variants"]))
    return " × ".join(parts)


@router.get("/sweeps/{sweep_id}")
def sweep_page(request: Request, sweep_id: str, reference: str = "", slice: int = -1) -> HTMLResponse:
    return page(request, "sweep.html", **context(request, sweep_id, reference, slice))


@router.get("/sweeps/{sweep_id}/fragments/body")
def body(request: Request, sweep_id: str, reference: str = "", slice: int = -1) -> HTMLResponse:
    return page(request, "_sweep_body.html", **context(request, sweep_id, reference, slice))


def context(request: Request, sweep_id: str, reference: str = "", slice_: int = -1) -> dict[str, Any]:
    db: Database = request.app.state.db
    with db.read() as tx:
        row = members.get(tx, sweep_id)
        data = gather.gather(tx, row)
        head = {
            "id": sweep_id, "name": row.name, "state": row.state, "look": STATES[row.state], "spec": row.spec,
            "actions": steering.actions(row), "progress": shapes.progress(tx, row), "factors": factor_names(row.spec),
            "created_at": row.created_at, "shares": sharing.listing(tx, row),
        }  # fmt: skip
    query = urlencode(
        [(name, text) for name, text in (("reference", reference), ("slice", slice_)) if text not in ("", -1)]
    )
    return {
        "sweep": head,
        "query": query,
        "new_link": "",
        **said_context(analysis(data, reference or None, slice_), data, speech_of(request)),
    }


def said_context(said: dict[str, Any], data: Mapping[str, Any], speech: Speech) -> dict[str, Any]:
    """What the body's template needs, whether it is live or a file."""
    hue = sweep_figures.colours(said)
    return {
        "still": False,
        "said": said,
        "hue": hue,
        "tell": lambda sentence: tell(sentence, speech),
        "figures": sweep_figures.figures(said, speech),
        "bars": {row["key"]: _bar(row, said["arms"], hue) for row in said["arms"]},
        "slice_names": [name_of(one["values"]) for one in said["slices"]],
        "group_names": GROUP_NAMES,
        "runs": [{**point, "look": LOOKS[RunState(point["state"])], "label": next(row["label"] for row in said["arms"] if row["key"] == point["arm"])} for point in said["points"]],
        "seconds": sum(run["seconds"] or 0.0 for run in data["runs"]),
        "figure_data": figure_data(said, hue),
    }  # fmt: skip


def tell(sentence: Mapping[str, Any], speech: Speech) -> Markup:
    """A sentence of the analysis in the reader's language, its numbers bold and in their own order."""
    values = {name: Markup("<b><bdi dir=ltr>{}</bdi></b>").format(_worded(kind, value, speech)) for name, (kind, value) in sentence["values"].items()}  # fmt: skip
    return Markup(speech(sentence["message"], **values)) if values else escape(speech(sentence["message"]))  # noqa: S704 - escaped by speech


def _worded(kind: str, value: Any, speech: Speech) -> str:
    match kind:
        case "loss":
            return speech.number(value, 4)
        case "signed":
            return speech.signed(value, 4)
        case "count":
            return speech.number(value)
        case "p":
            return "< " + speech.number(0.001, 3) if value < 0.001 else speech.number(value, 3 if value < 0.1 else 2)
        case "setting":
            return speech.setting(value)
        case "rough":
            return speech.setting(float(f"{value:.2g}"))
        case "percent":
            return speech.percent(value, 1)
        case _:
            return str(value)


def _bar(row: Mapping[str, Any], rows: list[dict[str, Any]], hue: Mapping[str, str]) -> Markup:
    """The paired difference with its interval, all rows on one scale; a dotted line at zero."""
    found = row["paired"]
    if found is None or found["mean"] is None:
        return Markup("")
    ends = [value for one in rows if one["paired"] for value in (one["paired"]["low"], one["paired"]["high"], one["paired"]["mean"]) if value is not None]  # fmt: skip
    low, high = min(0.0, *ends), max(0.0, *ends)
    reach = (high - low) or 1.0

    def x(value: float) -> float:
        return 6 + 124 * float(value - low) / float(reach)

    line = f'<path d="M{x(found["low"]):.1f} 8H{x(found["high"]):.1f}" stroke="{hue[row["key"]]}" stroke-width="2"/>' if found["low"] is not None else ""  # fmt: skip
    return Markup(  # noqa: S704 - numbers and our own colours
        f'<svg class="bar" width="136" height="16" viewBox="0 0 136 16" aria-hidden="true"><path d="M{x(0):.1f} 0v16" stroke="var(--text-3)" stroke-dasharray="2 2"/>{line}'
        f'<circle cx="{x(found["mean"]):.1f}" cy="8" r="3.5" fill="{hue[row["key"]]}"/></svg>'
    )


def figure_data(said: Mapping[str, Any], hue: Mapping[str, str]) -> dict[str, Any]:
    """What the scripts draw: the arms of the chosen slice with their colours, and the curves."""
    rows = sweep_figures.shown(said)
    keys = {row["key"] for row in rows}
    at, log = sweep_figures.places(said, rows)
    minimum = said["slices"][said["slice"]]["minimum"] if said["slices"] else None
    positive = [at[row["key"]] for row in rows if log and row["arm"].get(said["main"]["field"]) != 0]
    curve = fitted(minimum, min(positive), max(positive)) if minimum and minimum["coefficients"] and len(positive) > 1 else []  # fmt: skip
    chosen = [
        {"key": row["key"], "name": sweep_figures.label_of(said, row), "x": at[row["key"]], "colour": hue[row["key"]][6:-1], "finals": row["finals"], "mean": row["mean"], "low": row["low"], "high": row["high"], "diverged": row["diverged"]}
        for row in rows
    ]  # fmt: skip
    weights = said["weights"]
    return {
        "arms": chosen, "log": log, "main": said["main"], "reference": said["reference"],
        "fit": {"curve": curve, "at": minimum["at"], "low": minimum["low"], "high": minimum["high"], "flat": minimum["flat"]} if minimum else None,
        "curves": [one for one in said["curves"] if one["key"] in keys],
        "rates": said["rates"], "gaps": [one for one in said["gaps"] if one["key"] in keys],
        "weights": {name: {group: [one for one in lines if one["key"] in keys] for group, lines in groups.items()} for name, groups in weights["groups"].items()},
        "gradNorm": [one for one in weights["grad_norm"] if one["key"] in keys],
        "equilibrium": [one for one in weights["equilibrium"] if one["key"] in keys],
        "heat": said["heat"], "tokensPerStep": said["tokens_per_step"], "trainTokens": said["dataset"]["train_tokens"],
    }  # fmt: skip


@router.post("/sweeps/{sweep_id}/add")
def add(request: Request, sweep_id: str, posted: Posted) -> RedirectResponse:
    """More seeds, or more values of one factor."""
    addition = _addition(posted)
    return _act(request, sweep_id, lambda tx, row, at: launching.add(tx, row, addition, now=at))


def _addition(posted: Form) -> Addition:
    from pydantic import ValidationError

    seeds, field, values = posted.one("seeds") or "0", posted.one("field"), posted.one("values")
    try:
        more = [{"field": field, **numbers(values)}] if values else []
        return Addition.model_validate(
            {"seeds": int(seeds), "factors": more, "trials": int(posted.one("trials") or "0")}
        )
    except (ValueError, ValidationError) as error:
        raise Invalid([FieldError("/values", f"are not readable: {str(error)[:200]}")]) from None


@router.post("/sweeps/{sweep_id}/{verb}")
def act(request: Request, sweep_id: str, verb: str) -> RedirectResponse:
    deeds = {"pause": steering.pause, "resume": steering.resume, "cancel": steering.cancel, "delete": steering.delete}
    if verb not in deeds:
        raise Invalid([FieldError("/verb", f"must be one of {', '.join(deeds)}")])
    done = _act(request, sweep_id, lambda tx, row, at: deeds[verb](tx, row, now=at))
    return RedirectResponse("/sweeps", 303) if verb == "delete" else done


def _act(request: Request, sweep_id: str, deed: Any) -> RedirectResponse:
    db: Database = request.app.state.db
    moment = now(request)
    db.write(lambda tx: deed(tx, members.get(tx, sweep_id), moment))
    return RedirectResponse(f"/sweeps/{sweep_id}", 303)
