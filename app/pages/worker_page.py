"""Workers: what each machine has, does and achieved; drain or enable it; how to connect another."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app import workers
from app.contract import ids
from app.db import Database, Tx
from app.pages.forms import Posted
from app.pages.rendering import now, page
from app.pages.view import WorkerView
from app.tables import Dataset, Job, Run

router = APIRouter(include_in_schema=False)


@router.get("/workers")
def worker_list(request: Request) -> HTMLResponse:
    return _workers(request, "workers.html")


@router.get("/workers/fragments/list")
def list_fragment(request: Request) -> HTMLResponse:
    return _workers(request, "_workers.html")


def _workers(request: Request, template: str) -> HTMLResponse:
    moment = now(request)
    db: Database = request.app.state.db
    with db.read() as tx:
        busy = workers.busy(tx)
        rows = [
            (
                WorkerView(one, moment, request.app.state.settings.lease_s),
                [_doing(tx, job) for job in busy.get(one.id, [])],
            )
            for one in workers.list_all(tx)
        ]
    return page(request, template, rows=rows, origin=str(request.base_url).rstrip("/"))


def _doing(tx: Tx, job: Job) -> tuple[str, str, str]:
    """(kind, address, name) of what a job works on."""
    if job.run_id is not None:
        return job.kind, f"/runs/{ids.show('run', job.run_id)}", tx.session.get_one(Run, job.run_id).name
    if job.dataset_id is not None:
        return (
            job.kind,
            f"/datasets/{ids.show('dataset', job.dataset_id)}",
            tx.session.get_one(Dataset, job.dataset_id).name,
        )
    return job.kind, "/workers", ids.show("job", job.id)


@router.post("/workers/{text_id}")
def switch(request: Request, text_id: str, form: Posted) -> Response:
    enabled = form.one("enabled") == "yes"
    request.app.state.db.write(lambda tx: workers.set_enabled(tx, workers.get(tx, text_id), enabled))
    return RedirectResponse("/workers", 303)
