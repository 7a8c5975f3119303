"""The page that takes a checkpoint from elsewhere: uploaded, or by its path on a worker's disk."""

from pathlib import PurePath
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError

from app import datasets, imports, workers
from app.contract import ids
from app.contract.exchange import GPT2_FILES, CheckpointImport
from app.contract.states import DatasetState
from app.db import Database, Tx
from app.errors import Conflict, FieldError, Invalid, from_pydantic
from app.pages.forms import Form, Posted
from app.pages.rendering import now, page

router = APIRouter(include_in_schema=False)


@router.get("/runs/import")
def form(request: Request) -> HTMLResponse:
    return _form(request, {}, [])


@router.post("/runs/import")
def take_in(request: Request, posted: Posted) -> Response:
    moment = now(request)
    try:
        asked = CheckpointImport.model_validate(read(posted))
        run = request.app.state.db.write(lambda tx: imports.create(tx, asked, now=moment))
    except ValidationError as error:
        return _form(request, dict(posted.pairs), list(from_pydantic(error, model=CheckpointImport).errors))
    except Invalid as error:
        return _form(request, dict(posted.pairs), list(error.errors))
    except Conflict as error:
        return _form(request, dict(posted.pairs), [FieldError("", error.detail)])
    return RedirectResponse(f"/runs/{ids.show('run', run.id)}", 303)


def read(posted: Form) -> dict[str, Any]:
    """What was asked for: uploads as pairs of sha256 and file_name, else the path; two files or a folder are a GPT-2."""
    uploaded = list(zip(posted.all("sha256"), posted.all("file_name"), strict=False))
    files = [{"name": name, "sha256": sha256} for sha256, name in uploaded if sha256]
    path = PurePath(posted.one("path"))
    gpt2 = len(files) > 1
    if not files and posted.one("path"):
        gpt2 = path.suffix != ".pt"
        each = [path / name for name in GPT2_FILES] if gpt2 else [path]
        files = [{"name": one.name, "path": str(one)} for one in each]
    asked = {"format": "gpt2" if gpt2 else "nanogpt", "files": files}
    return asked | {key: posted.one(key) for key in ("name", "dataset") if posted.one(key)}


def _form(request: Request, typed: dict[str, str], wrong: list[FieldError]) -> HTMLResponse:
    db: Database = request.app.state.db

    def look(tx: Tx) -> dict[str, Any]:
        ready = [one.name for one in datasets.list_all(tx) if one.state == DatasetState.ready]
        roots = [(one.name, workers.data_roots(one)) for one in workers.list_all(tx)]
        return {"names": ready, "roots": [(name, folders) for name, folders in roots if folders]}

    with db.read() as tx:
        context = look(tx)
    messages = [f"{pointer.strip('/')} {message}".strip() for pointer, message in wrong]
    return page(request, "run_import.html", 422 if wrong else 200, typed=typed, wrong=messages, **context)
