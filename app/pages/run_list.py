"""The runs list: tabs by state, filter, sort, sparklines; the selection's actions as one plain form."""

from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app import runs, series
from app.contract.states import RunState
from app.db import Database, Tx
from app.errors import Conflict, Invalid
from app.i18n import Speech
from app.pages.drawing import sparkline
from app.pages.forms import Posted, back_to
from app.pages.rendering import now, page, speech_of
from app.pages.view import LOOKS, RunView

router = APIRouter(include_in_schema=False)
PER_PAGE = 50
TABS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("running", ("starting", "running", "stopping")),
    ("queued", ("queued",)),
    ("finished", ("finished",)),
    ("failed", ("failed",)),
    ("lost", ("lost",)),
    ("paused", ("paused",)),
    ("stopped", ("stopped",)),
)


@router.get("/")
def home() -> Response:
    return RedirectResponse("/runs", 307)


@router.get("/runs")
def run_list(request: Request, q: str = "", tab: str = "", sort: str = "-created", offset: int = 0) -> HTMLResponse:
    return _listing(request, "runs.html", q, tab, sort, offset)


@router.get("/runs/fragments/table")
def run_table(request: Request, q: str = "", tab: str = "", sort: str = "-created", offset: int = 0) -> HTMLResponse:
    """The table alone, for the live page."""
    return _listing(request, "_runs_table.html", q, tab, sort, offset)


def _listing(request: Request, template: str, q: str, tab: str, sort: str, offset: int) -> HTMLResponse:
    speech, moment = speech_of(request), now(request)
    states = dict(TABS).get(tab, ())
    offset = max(0, min(offset, 10_000_000))
    db: Database = request.app.state.db
    with db.read() as tx:
        query = runs.RunQuery(text=q[:500], states=states, sort=sort, offset=offset, limit=PER_PAGE)
        found, problem = _find(tx, query)
        baseline = runs.baseline(tx)
        rows = [RunView(run, speech, moment) for run in found.rows]
        counts = {key: sum(found.counts.get(state, 0) for state in states) for key, states in TABS}
        context: dict[str, Any] = {
            "rows": rows,
            "sparks": {view.id: spark(tx, view, speech) for view in rows},
            "baseline": RunView(baseline, speech, moment) if baseline else None,
            "total": found.total,
            "counts": counts,
            "all_count": sum(found.counts.values()),
            "any_runs": bool(found.rows) or bool(runs.find(tx, runs.RunQuery(limit=1)).total),
            "tabs": [(key, LOOKS[key]) for key, _ in TABS if counts[key] or key in ("running", tab)],
            "problem": problem,
            "q": q,
            "tab": tab,
            "sort": sort,
            "offset": offset,
            "per_page": PER_PAGE,
            "link": Links(q=q, tab=tab, sort=sort, offset=offset),
        }
    return page(request, template, **context)


def _find(tx: Tx, query: runs.RunQuery) -> tuple[runs.RunPage, str]:
    """The page of runs; a filter or sort that is not understood shows nothing and says why."""
    try:
        return runs.find(tx, query), ""
    except Invalid as error:
        return runs.RunPage([], 0, runs.find(tx, runs.RunQuery(limit=1)).counts), "; ".join(
            e.message for e in error.errors
        )


class Links:
    """The list's own address with one thing changed; what stands at its default is left out."""

    DEFAULTS: dict[str, Any] = {"q": "", "tab": "", "sort": "-created", "offset": 0}  # noqa: RUF012

    def __init__(self, **values: Any) -> None:
        self.values = values

    def __call__(self, base: str = "/runs", **changes: Any) -> str:
        merged = {**self.values, "offset": 0, **changes}
        query = urlencode({k: v for k, v in merged.items() if v != self.DEFAULTS[k]})
        return f"{base}?{query}" if query else base

    def sorted_by(self, column: str, descending_first: bool = False) -> str:
        first, second = (f"-{column}", column) if descending_first else (column, f"-{column}")
        return self(sort=second if self.values["sort"] == first else first)


def spark(tx: Tx, view: RunView, speech: Speech) -> str:
    if view.best_val is None:
        return ""
    points = series.read(tx.raw, view.number, "val/loss", buckets=48)
    label = speech("val loss, best %(value)s", value=speech.number(view.best_val, 3))
    return sparkline(points.step.tolist(), points.value.tolist(), view.steps, _spark_colour(view), label)


def _spark_colour(view: RunView) -> str:
    return view.colour if view.tone in ("run", "bad", "warn") else "var(--text-2)"


@router.post("/runs/selected")
def act_on_selected(request: Request, form: Posted) -> Response:
    """Compare, stop, pin or delete what is ticked. A run that cannot be stopped any more is passed over."""
    chosen = form.all("run")[:PER_PAGE]
    match form.one("action"):
        case "compare":
            return RedirectResponse("/compare?" + urlencode([("run", text_id) for text_id in chosen]), 303)
        case "stop":
            _each(request, chosen, runs.stop)
        case "delete":
            _each(request, chosen, runs.trash)
        case "baseline" if len(chosen) == 1:
            db: Database = request.app.state.db
            db.write(lambda tx: runs.pin_baseline(tx, runs.get(tx, chosen[0])))
        case "no-baseline":
            db = request.app.state.db
            db.write(lambda tx: runs.pin_baseline(tx, None))
    return back_to(request, form, "/runs")


def _each(request: Request, chosen: list[str], act: Any) -> None:
    moment = now(request)

    def work(tx: Tx) -> None:
        for text_id in chosen:
            try:
                act(tx, runs.get(tx, text_id), now=moment)
            except Conflict:
                continue  # it ended between the tick and the press

    request.app.state.db.write(work)


assert set(dict(TABS)) <= set(RunState), "every tab is named after its first word's state"
