"""Compare: what the picture means first, then why it may not hold, the curves, the numbers, the configs."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from app import comparison, runs
from app.db import Database, Tx
from app.i18n import Speech
from app.pages.launch_form import FIELDS
from app.pages.rendering import now, page, speech_of
from app.pages.view import RunView

router = APIRouter(include_in_schema=False)
MOST_RUNS = 20
OFFERED = 30


@router.get("/compare")
def compare_page(request: Request, run: Annotated[list[str] | None, Query()] = None) -> HTMLResponse:
    return _comparison(request, "compare.html", run or [])


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
        offered = [] if chosen else _offered(tx, speech, moment)
    rows = {row["run"]: row for row in found["rows"]}
    return page(
        request, template,
        views=views, rows=rows, found=found, offered=offered, places=places(views),
        titles={key: speech(str(info.title)) for key, (_, info) in FIELDS.items()},
        query="&".join(f"run={view.id}" for view in views),
        page_data=_page_data(views),
    )  # fmt: skip


def _offered(tx: Tx, speech: Speech, moment: float) -> list[RunView]:
    return [RunView(run, speech, moment) for run in runs.find(tx, runs.RunQuery(limit=OFFERED)).rows]


def places(views: list[RunView]) -> dict[str, int]:
    """A colour from 1 to 8 for each run: its own by id, the next free one where two runs would share it."""
    taken: dict[str, int] = {}
    for view in sorted(views, key=lambda one: one.number):
        start = (view.number - 1) % 8
        free = next((i for i in range(8) if (start + i) % 8 + 1 not in taken.values()), 0)
        taken[view.id] = (start + free) % 8 + 1
    return taken


def _page_data(views: list[RunView]) -> dict[str, Any]:
    colours = places(views)
    return {
        "runs": [
            {
                "run": view.id,
                "name": view.name,
                "colour": colours[view.id],
                "dash": index // 8,
                "weightDecay": view.weight_decay,
                "steps": view.steps,
                "tokensPerStep": view.tokens_per_step,
                "active": not view.ended,
            }
            for index, view in enumerate(views)
        ]
    }
