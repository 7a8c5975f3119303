"""One dataset: how its preparation goes, what it holds in numbers and drawings, its documents as tokens, who used it."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import select

from app import datasets, freeing
from app.contract.dataset import Manifest
from app.db import Database, Tx
from app.errors import NotFound
from app.i18n import Speech
from app.pages.dataset_report import ReportView, languages_chart, split_chart
from app.pages.launch_form import amount
from app.pages.rendering import now, page, speech_of
from app.pages.token_text import documents
from app.pages.view import DatasetView, RunView
from app.repetition import Repetition, repetition
from app.tables import Dataset, LogRow, Run

router = APIRouter(include_in_schema=False)
RUNS_SHOWN = 20
LOG_LINES = 100
PARTS = ("head", "body", "report", "epochs")


@router.get("/datasets/{text_id}")
def dataset_page(request: Request, text_id: str) -> HTMLResponse:
    return _page(request, text_id, "dataset.html")


@router.get("/datasets/{text_id}/fragments/{name}")
def fragment(request: Request, text_id: str, name: str) -> HTMLResponse:
    """A part of the page by itself, for the live page: the same template, the same numbers."""
    if name not in PARTS:
        raise NotFound(f"The dataset page has no part named {name[:40]}.")
    return _page(request, text_id, f"_dataset_{name}.html")


def _page(request: Request, text_id: str, template: str) -> HTMLResponse:
    speech, moment = speech_of(request), now(request)
    db: Database = request.app.state.db
    with db.read() as tx:
        dataset = datasets.get(tx, text_id, deleted=True)
        manifest = Manifest.model_validate(dataset.manifest) if dataset.manifest else None
        view = DatasetView(dataset, speech, runs=datasets.runs_on(tx).get(dataset.id, 0))
        report = ReportView(dataset.report, manifest, speech)
        context: dict[str, Any] = {
            "dataset": view,
            "report": report,
            "manifest": manifest,
            "used_by": _used_by(tx, dataset, speech, moment),
            "log": _log(tx, dataset),
            "freed": freeing.of(tx, dataset) if dataset.deleted_at else None,
        }
    if manifest:
        preview = (dataset.manifest or {}).get("preview", [])
        context["split"] = split_chart(manifest, speech)
        context["spoken"] = languages_chart(manifest, speech)
        context["shown"] = {chosen: documents(preview, chosen) for chosen in ("first", "random")}
    return page(request, template, **context, **_epochs(request, manifest, report))


def _used_by(tx: Tx, dataset: Dataset, speech: Speech, moment: float) -> list[RunView]:
    query = select(Run).where(Run.dataset_id == dataset.id, Run.deleted_at.is_(None)).order_by(Run.id.desc())
    return [RunView(run, speech, moment) for run in tx.session.scalars(query.limit(RUNS_SHOWN))]


def _log(tx: Tx, dataset: Dataset) -> list[LogRow]:
    query = select(LogRow).where(LogRow.dataset_id == dataset.id).order_by(LogRow.id.desc()).limit(LOG_LINES)
    return list(tx.session.scalars(query))[::-1]


def _epochs(request: Request, manifest: Manifest | None, report: ReportView) -> dict[str, Any]:
    """The small calculator: a run of ?tokens=2.5B; one epoch until somebody asks."""
    typed = request.query_params.get("tokens", "")[:40]
    found: Repetition | None = None
    wrong = False
    if manifest and manifest.train.tokens:
        tokens = amount(typed) if typed else float(manifest.train.tokens)
        wrong = not tokens
        found = repetition(tokens, manifest.train.tokens, report.repeated_share) if tokens else None
    return {"typed_tokens": typed, "repeats": found, "tokens_wrong": wrong}
