"""A run's whole log: search it, show only what is severe, page back, take it as a file."""

from typing import get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app import console, runs
from app.console import Severity
from app.db import Database
from app.i18n import N_
from app.pages.rendering import now, page, speech_of
from app.pages.view import RunView

router = APIRouter(include_in_schema=False)
LINES = 500
LEVELS: dict[Severity, str] = {
    "debug": N_("Everything"),
    "info": N_("Without details"),
    "warn": N_("Warnings and errors"),
    "error": N_("Errors only"),
}


@router.get("/runs/{text_id}/log")
def log(request: Request, text_id: str, q: str = "", level: str = "debug", before: str = "") -> HTMLResponse:
    """What cannot be meant (an unknown level, a number that is none) is read as not given: this is a page, not the API."""
    least: Severity = next((one for one in get_args(Severity) if one == level), "debug")
    front = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else 0
    q = q[:200]
    db: Database = request.app.state.db
    with db.read() as tx:
        run = runs.get(tx, text_id)
        lines = console.newest(tx, run.id, text=q, level=least, before=front, limit=LINES + 1)
        view = RunView(run, speech_of(request), now(request))
    filters = {key: value for key, value in {"q": q, "level": least if least != "debug" else ""}.items() if value}
    earlier = {**filters, "before": str(lines[1].id)} if len(lines) > LINES else None
    return page(
        request, "run_log.html", run=view, log=lines[-LINES:], q=q, level=least, levels=LEVELS,
        paged=bool(front), download=f"?{urlencode(filters)}" if filters else "",
        newest=f"?{urlencode(filters)}", earlier=f"?{urlencode(earlier)}" if earlier else None,
    )  # fmt: skip
