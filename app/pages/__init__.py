"""What a person sees: HTML routes over the same domain functions as the API, and the files they load."""

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse

from app.errors import PlateauError
from app.pages import (
    alert_page,
    assets,
    compare,
    dataset_page,
    dataset_pages,
    diagnosis,
    exporting,
    guide,
    import_log,
    importing,
    launch,
    preferences,
    ready_made,
    run_decay,
    run_list,
    run_log,
    run_page,
    samples,
    sweep_export,
    sweep_new,
    sweep_page,
    worker_page,
)
from app.pages.rendering import Renderer, page

__all__ = ["render_error", "render_login", "router", "setup"]

router = APIRouter(include_in_schema=False)
# /runs/new and /runs/selected before /runs/{id}, /datasets/new before /datasets/{id}
for part in (
    run_list,
    guide,
    launch,
    importing,
    import_log,
    samples,
    run_log,
    diagnosis,
    run_decay,
    exporting,
    run_page,
    compare,
    ready_made,
    sweep_new,
    sweep_export,
    sweep_page,
    dataset_pages,
    dataset_page,
    worker_page,
    alert_page,
    preferences,
):
    router.routes.extend(part.router.routes)  # as app.routing.enter does


def setup(app: FastAPI) -> None:
    """Reads templates and catalogues, serves /static."""
    app.state.pages = Renderer()
    assets.mount(app)


def render_error(request: Request, error: PlateauError) -> HTMLResponse:
    """Says what happened and the way out; the caller sets headers."""
    return page(request, "error.html", error.status, error=error, request_id=getattr(request.state, "request_id", ""))


def render_login(request: Request, error: str | None) -> HTMLResponse:
    return page(request, "login.html", error=error, next=request.query_params.get("next", ""))
