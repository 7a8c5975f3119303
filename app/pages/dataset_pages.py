"""Datasets: the list, the form that adds one, and what can be done to one."""

import re
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError

from app import datasets, freeing, leftovers, reports, workers
from app.contract import ids
from app.contract.dataset import DatasetSpec
from app.db import Database, Tx
from app.errors import Conflict, FieldError, Invalid, from_pydantic
from app.pages.dataset_form import GUESS, KINDS, MATTERS, DatasetForm
from app.pages.dataset_report import ReportView
from app.pages.forms import Posted
from app.pages.rendering import now, page, speech_of
from app.pages.view import DatasetView

router = APIRouter(include_in_schema=False)


@router.get("/datasets")
def dataset_list(request: Request, deleted: str = "", cleaned: str = "", files: str = "") -> HTMLResponse:
    told = (
        (int(files), int(cleaned)) if re.fullmatch(r"\d{1,15}", cleaned) and re.fullmatch(r"\d{1,9}", files) else None
    )
    return _list(request, "datasets.html", deleted, cleaned=told)


@router.get("/datasets/fragments/list")
def list_fragment(request: Request) -> HTMLResponse:
    return _list(request, "_datasets.html")


def _list(request: Request, template: str, deleted: str = "", **more: Any) -> HTMLResponse:
    speech = speech_of(request)
    db: Database = request.app.state.db
    with db.read() as tx:
        used = datasets.runs_on(tx)
        rows = [
            (DatasetView(one, speech, runs=used.get(one.id, 0)), ReportView(one.report, None, speech))
            for one in datasets.list_all(tx)
        ]
        gone = datasets.tombstone(tx, deleted)
        freed = freeing.of(tx, gone) if gone else None
    has_builtin = any(row.name == datasets.BUILTIN for row, _ in rows)
    return page(request, template, rows=rows, has_builtin=has_builtin, gone=gone, freed=freed, **more)


@router.get("/datasets/new")
def new(request: Request) -> HTMLResponse:
    """Empty, or with ?from=d-0001 filled with another dataset's files and settings."""
    speech, source = speech_of(request), request.query_params.get("from", "")
    if not source:
        return _form_page(request, DatasetForm(speech))
    db: Database = request.app.state.db
    with db.read() as tx:
        dataset = datasets.get(tx, source, deleted=True)
        form = DatasetForm(speech, dataset.spec, ids.show("dataset", dataset.id))
        form.name = _free_name(tx, dataset.spec.get("name") or dataset.name)
    return _form_page(request, form)


def _free_name(tx: Tx, name: str) -> str:
    """`name 2`, or the next number that no dataset has."""
    taken = {one.name for one in datasets.list_all(tx)}
    return next(candidate for n in range(2, len(taken) + 3) if (candidate := f"{name[:190]} {n}") not in taken)


@router.post("/datasets/new")
def add(request: Request, posted: Posted) -> Response:
    """Files that the page has uploaded (sha256 and name, pairwise), and paths on a worker, one a line."""
    moment = now(request)
    db: Database = request.app.state.db
    if posted.one("builtin"):
        made = db.write(lambda tx: datasets.ensure_builtin(tx, moment).id)
        return RedirectResponse(f"/datasets/{ids.show('dataset', made)}", 303)
    form = DatasetForm(speech_of(request), source=posted.one("source"))
    form.read(posted)
    try:
        spec = DatasetSpec.model_validate(form.spec())
        made = db.write(lambda tx: datasets.create(tx, spec, now=moment).id)
    except ValidationError as error:
        form.take(list(from_pydantic(error, model=DatasetSpec).errors))
    except Invalid as error:
        form.take(list(error.errors))
    except Conflict as error:
        form.take([FieldError("/name", error.detail)])
    else:
        return RedirectResponse(f"/datasets/{ids.show('dataset', made)}", 303)
    return _form_page(request, form, 422)


def _form_page(request: Request, form: DatasetForm, status: int = 200) -> HTMLResponse:
    db: Database = request.app.state.db
    with db.read() as tx:
        able = [one for one in workers.list_all(tx) if one.enabled]
        folders = dict.fromkeys(root for one in able for root in workers.data_roots(one))
        roots = [(root, ", ".join(one.name for one in able if root in workers.data_roots(one))) for root in folders]
    return page(
        request, "dataset_new.html", status, form=form, roots=roots, matters=MATTERS, kinds=(GUESS, *KINDS), refused=status == 422
    )  # fmt: skip


@router.post("/datasets/clean")
def clean(request: Request) -> Response:
    """Files that nothing refers to leave the server's disk."""
    state = request.app.state
    found = leftovers.clean(state.db, state.settings.store, now=now(request))
    return RedirectResponse(f"/datasets?cleaned={found.bytes}&files={found.files}", 303)


@router.post("/datasets/{text_id}/retry")
def retry(request: Request, text_id: str) -> Response:
    moment = now(request)
    request.app.state.db.write(lambda tx: datasets.retry(tx, datasets.get(tx, text_id), now=moment))
    return RedirectResponse(f"/datasets/{text_id}", 303)


@router.post("/datasets/{text_id}/report")
def report(request: Request, text_id: str) -> Response:
    """What is in it is read again."""
    moment = now(request)
    request.app.state.db.write(lambda tx: reports.ask(tx, datasets.get(tx, text_id), now=moment))
    return RedirectResponse(f"/datasets/{text_id}", 303)


@router.post("/datasets/{text_id}/delete")
def delete(request: Request, text_id: str) -> Response:
    moment = now(request)

    state = request.app.state
    dataset = freeing.delete(state.db, state.settings.store, text_id, now=moment)
    shown = ids.show("dataset", dataset.id)
    return RedirectResponse(f"/datasets/{shown}" if dataset.manifest else f"/datasets?deleted={shown}", 303)
