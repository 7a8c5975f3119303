"""Compare: what the picture means first, then why it may not hold, the curves, the numbers, the configs."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from app import comparison, runs
from app.contract.config import RunConfig
from app.db import Database, Tx
from app.i18n import Speech
from app.pages import compare_groups, plots
from app.pages.launch_form import FIELDS
from app.pages.rendering import now, page, speech_of
from app.pages.view import RunView
from app.tables import Run

router = APIRouter(include_in_schema=False)
MOST_RUNS = 50
OFFERED = 30


@router.get("/compare")
def compare_page(request: Request, run: Annotated[list[str] | None, Query()] = None) -> HTMLResponse:
    return _comparison(request, "compare.html", run or [])


@router.get("/compare/fragments/groups")
def groups(request: Request, run: Annotated[list[str] | None, Query()] = None) -> HTMLResponse:
    """The groups' numbers and what their chart is drawn of."""
    return _comparison(request, "_compare_groups.html", run or [])


@router.get("/compare/fragments/numbers")
def numbers(request: Request, run: Annotated[list[str] | None, Query()] = None) -> HTMLResponse:
    """The sentence, the warnings and the table, for the live page."""
    return _comparison(request, "_compare_numbers.html", run or [])


def _comparison(request: Request, template: str, text_ids: list[str]) -> HTMLResponse:
    speech, moment = speech_of(request), now(request)
    db: Database = request.app.state.db
    with db.read() as tx:
        chosen = [runs.get(tx, text_id) for text_id in dict.fromkeys(text_ids[:MOST_RUNS])]
        pinned = runs.baseline(tx)
        found = comparison.compare(tx, chosen, pinned.id if pinned else None)
        views = [RunView(run, speech, moment) for run in chosen]
        page_data = _page_data(tx, chosen, views)
        offered = [] if chosen else _offered(tx, speech, moment)
        differing = [str(one["field"]) for one in found["differences"]]
        grouped = (
            {}
            if template == "_compare_numbers.html"
            else compare_groups.context(tx, request, chosen, differing, speech)
        )
    rows = {row["run"]: row for row in found["rows"]}
    return page(
        request, template,
        views=views, rows=rows, found=found, offered=offered, places=plots.places([view.number for view in views]),
        titles={key: speech(str(info.title)) for key, (_, info) in FIELDS.items()},
        query="&".join(f"run={view.id}" for view in views),
        page_data=page_data, **grouped,
    )  # fmt: skip


def _offered(tx: Tx, speech: Speech, moment: float) -> list[RunView]:
    return [RunView(run, speech, moment) for run in runs.find(tx, runs.RunQuery(limit=OFFERED)).rows]


def _equilibrium(run: Run) -> dict[str, Any]:
    config = RunConfig.model_validate(run.config)
    steps = plots.ahead(config, int(run.telemetry.get("first_step", 0)))
    return {"step": steps, "rms": plots.settling(config, steps)}


def _page_data(tx: Tx, chosen: list[Run], views: list[RunView]) -> dict[str, Any]:
    looks = plots.places([run.id for run in chosen])
    return {
        "runs": [
            plots.plan(tx, run)
            | {
                "colour": looks[run.id][0],
                "dash": looks[run.id][1],
                "resumes": [one["step"] for one in plots.marks(tx, run) if one["kind"] == "resume"],
                "active": not view.ended,
                "equilibrium": _equilibrium(run) if view.knows("schedule.lr") else None,
            }
            for run, view in zip(chosen, views, strict=True)
        ]
    }
