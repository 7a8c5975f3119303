"""The run page's card of weight decay: numbers, a table by group, and small curves with the equilibria they should reach."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from app import run_decay, runs
from app.db import Database, Tx
from app.decay_outlook import Outlook
from app.i18n import N_, Speech
from app.pages import decay_words
from app.pages.decay_drawing import group_chart, outlook_chart
from app.pages.rendering import now, page, speech_of
from app.pages.view import RunView
from app.tables import Run

router = APIRouter(include_in_schema=False)
CHARTS = (
    ("rotation", N_("Rotation"), N_("radians per step, dashed: equilibrium"), "rotation_equilibrium", True, "rotation"),
    ("decay_share", N_("Decay share"), N_("of an update, dashed: equilibrium"), "share_equilibrium", False, "share"),
)
"""(metric, title, note, curve of the outlook that is drawn dashed, logarithmic, its word); RMS and update ratio have panels of
their own on the page."""
SPARED = ("norm", "bias")


@router.get("/runs/{text_id}/fragments/decay")
def fragment(request: Request, text_id: str) -> HTMLResponse:
    """The card again, for the live page."""
    speech = speech_of(request)
    db: Database = request.app.state.db
    with db.read() as tx:
        run = runs.get(tx, text_id)
        context = card(tx, run, speech)
        view = RunView(run, speech, now(request))
    return page(request, "_run_decay.html", **context, run=view)


def card(tx: Tx, run: Run, speech: Speech) -> dict[str, Any]:
    standing = run_decay.standing(tx, run)
    outlook = Outlook(**standing["outlook"])
    decays = {group["group"] for group in standing["groups"] if group["decays"]}
    drawn = [
        (speech(title), speech(note), _chart(tx, run, metric, speech(title), outlook, dashed, log, decays), word)
        for metric, title, note, dashed, log, word in CHARTS
    ]
    charts = [one for one in drawn if one[2]]
    if standing["total"] > 0:
        told = speech(
            "lr·λ over the run, up to %(peak)s per step, and what is left of the start: %(left)s at the end",
            peak=speech.rate(max(outlook.per_step)), left=speech.percent(standing["left"], 1),
        )  # fmt: skip
        whole = outlook_chart(outlook, told, speech.rate, run.step if run.step > outlook.step[0] else None)
        charts.insert(0, (speech("Decay over the run"), speech("line: lr·λ per step; area: start left"), whole, "left"))
    return {"decay": standing, "decay_charts": charts, "words": decay_words.WORDS, "run_words": decay_words.RUN}


def _chart(
    tx: Tx, run: Run, metric: str, title: str, outlook: Outlook, dashed: str, log: bool, decays: set[str]
) -> Markup:
    found = run_decay.curves(tx, run, metric)
    shared = metric == "decay_share"  # of what does not decay it is 0
    shown = {group: line for group, line in found.items() if group in decays or not (shared or group in SPARED)}
    order = [*sorted(found.keys() - set(SPARED)), *SPARED]
    colours = {group: f"var(--c{number % 8 + 1})" for number, group in enumerate(order)}
    balance = zip(outlook.step, getattr(outlook, dashed), strict=True)
    return group_chart(
        shown, [(step, value) for step, value in balance if value is not None], run.steps, title, colours, log=log
    )
