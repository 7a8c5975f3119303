"""Datasets: the list with its form, and one dataset's numbers, first documents and tokens."""

from itertools import zip_longest
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from sqlalchemy import select

from app import datasets
from app.contract import ids
from app.contract.dataset import DatasetSpec
from app.db import Database
from app.errors import Conflict, FieldError, Invalid, from_pydantic
from app.pages.forms import Form, Posted
from app.pages.rendering import now, page, speech_of
from app.pages.view import DatasetView, RunView
from app.tables import Run

router = APIRouter(include_in_schema=False)
RUNS_SHOWN = 20
DEFAULTS = {
    "kind": "text",
    "tokenizer": "bpe",
    "vocab_size": "4096",
    "val_share": "0.1",
    "text_column": "text",
    "layout": "plateau",
}


@router.get("/datasets")
def dataset_list(request: Request) -> HTMLResponse:
    return _list_page(request, "datasets.html", DEFAULTS, {})


@router.get("/datasets/fragments/list")
def list_fragment(request: Request) -> HTMLResponse:
    return _list_page(request, "_datasets.html", DEFAULTS, {})


def _list_page(
    request: Request, template: str, typed: dict[str, str], errors: dict[str, str], status: int = 200
) -> HTMLResponse:
    speech = speech_of(request)
    db: Database = request.app.state.db
    with db.read() as tx:
        rows = [DatasetView(one, speech) for one in datasets.list_all(tx)]
    has_builtin = any(row.name == datasets.BUILTIN for row in rows)
    return page(request, template, status, rows=rows, typed=typed, errors=errors, has_builtin=has_builtin)


@router.post("/datasets/new")
def add(request: Request, form: Posted) -> Response:
    """The form: files that the page has uploaded (sha256 and name, pairwise), or paths on the worker, one a line."""
    moment = now(request)
    db: Database = request.app.state.db
    if form.one("kind") == "builtin":
        made = db.write(lambda tx: datasets.ensure_builtin(tx, moment).id)
        return RedirectResponse(f"/datasets/{ids.show('dataset', made)}", 303)
    typed = DEFAULTS | {key: form.one(key) for key in (*DEFAULTS, "name", "paths") if form.has(key)}
    try:
        spec = DatasetSpec.model_validate(_spec(form, typed))
        made = db.write(lambda tx: datasets.create(tx, spec, now=moment).id)
    except ValidationError as error:
        errors = list(from_pydantic(error, model=DatasetSpec).errors)
    except Invalid as error:
        errors = list(error.errors)
    except Conflict as error:
        errors = [FieldError("/name", error.detail)]
    else:
        return RedirectResponse(f"/datasets/{ids.show('dataset', made)}", 303)
    by_field = {pointer.split("/")[1] if "/" in pointer else "": message for pointer, message in errors}
    return _list_page(request, "datasets.html", typed, by_field, 422)


def _spec(form: Form, typed: dict[str, str]) -> dict[str, Any]:
    uploads = [
        {"sha256": sha, "name": name or "upload"}
        for sha, name in zip_longest(form.all("sha256"), form.all("file_name"), fillvalue="")
        if sha
    ]
    paths = [
        {"path": line.strip(), "name": line.strip().rsplit("/", 1)[-1]}
        for line in typed.get("paths", "").splitlines()
        if line.strip()
    ]
    tokenizer: dict[str, Any] = {"kind": typed["tokenizer"]}
    if typed["tokenizer"] == "bpe":
        tokenizer["vocab_size"] = typed["vocab_size"]
    return {
        "name": typed.get("name", ""), "kind": typed["kind"], "files": uploads + paths, "tokenizer": tokenizer,
        "val_share": typed["val_share"], "text_column": typed["text_column"] or "text", "layout": typed["layout"],
    }  # fmt: skip


@router.get("/datasets/{text_id}")
def dataset_page(request: Request, text_id: str) -> HTMLResponse:
    return _one(request, text_id, "dataset.html")


@router.get("/datasets/{text_id}/fragments/body")
def body_fragment(request: Request, text_id: str) -> HTMLResponse:
    return _one(request, text_id, "_dataset_body.html")


def _one(request: Request, text_id: str, template: str) -> HTMLResponse:
    speech, moment = speech_of(request), now(request)
    db: Database = request.app.state.db
    with db.read() as tx:
        dataset = datasets.get(tx, text_id)
        view = DatasetView(dataset, speech)
        query = select(Run).where(Run.dataset_id == dataset.id, Run.deleted_at.is_(None)).order_by(Run.id.desc())
        used_by = [RunView(run, speech, moment) for run in tx.session.scalars(query.limit(RUNS_SHOWN))]
    return page(request, template, dataset=view, used_by=used_by)


@router.post("/datasets/{text_id}/retry")
def retry(request: Request, text_id: str) -> Response:
    moment = now(request)
    request.app.state.db.write(lambda tx: datasets.retry(tx, datasets.get(tx, text_id), now=moment))
    return RedirectResponse(f"/datasets/{text_id}", 303)


@router.post("/datasets/{text_id}/delete")
def delete(request: Request, text_id: str) -> Response:
    moment = now(request)
    request.app.state.db.write(lambda tx: datasets.delete(tx, datasets.get(tx, text_id), now=moment))
    return RedirectResponse("/datasets", 303)
