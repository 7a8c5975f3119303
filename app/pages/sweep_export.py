"""A sweep's page as one file that opens anywhere, and the same behind a link that needs no sign-in."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from markupsafe import Markup

from app import settings
from app.db import Database
from app.pages.rendering import now, page, speech_of
from app.pages.sweep_page import context, factor_names, said_context
from app.sweeps import gather, members, sharing
from app.sweeps.analysis import analysis

router = APIRouter(include_in_schema=False)
STYLES = ("tokens.css", "plateau.css", "sweep.css")


@router.get("/sweeps/{sweep_id}/page.html")
def download(request: Request, sweep_id: str) -> HTMLResponse:
    """One self-contained file: styles and figures in it, no script, nothing loaded from anywhere."""
    db: Database = request.app.state.db
    with db.read() as tx:
        made = as_file(request, gather.gather(tx, members.get(tx, sweep_id)))
    made.headers["Content-Disposition"] = f'attachment; filename="{sweep_id}.html"'
    return made


@router.get("/share/{token}")
def shared(request: Request, token: str) -> HTMLResponse:
    """The page behind a link: read-only, for nobody's search index."""
    db: Database = request.app.state.db
    with db.read() as tx:
        made = as_file(request, gather.gather(tx, sharing.open_(tx, token)))
    made.headers["X-Robots-Tag"] = "noindex, nofollow"
    return made


def as_file(request: Request, data: Mapping[str, Any]) -> HTMLResponse:
    """A sweep's page from its numbers alone (app/sweeps/gather.py), whoever gathered them and when."""
    said = said_context(analysis(data), data, speech_of(request))
    folder = settings.assets() / "static"
    styles = Markup("\n".join((folder / name).read_text(encoding="utf-8") for name in STYLES))  # noqa: S704 - our own files
    at = datetime.fromtimestamp(now(request), UTC).strftime("%Y-%m-%d %H:%M")
    spec = data["sweep"]["spec"]
    sweep = {"id": data["sweep"]["id"], "spec": spec, "factors": factor_names(spec)}
    whole = {**said, "still": True, "sweep": sweep, "numbers": data, "styles": styles, "at": at}
    return page(request, "sweep_static.html", **whole)


@router.post("/sweeps/{sweep_id}/share")
def share(request: Request, sweep_id: str) -> HTMLResponse:
    """Make a link and show it, this once."""
    db: Database = request.app.state.db
    moment = now(request)
    secret = db.write(lambda tx: sharing.make(tx, members.get(tx, sweep_id), now=moment)[1])
    link = str(request.base_url).rstrip("/") + f"/share/{secret}"
    shown: dict[str, Any] = context(request, sweep_id) | {"new_link": link}
    return page(request, "sweep.html", **shown)


@router.post("/sweeps/{sweep_id}/shares/{number}/revoke")
def revoke(request: Request, sweep_id: str, number: int) -> RedirectResponse:
    db: Database = request.app.state.db
    moment = now(request)
    db.write(lambda tx: sharing.revoke(tx, members.get(tx, sweep_id), number, now=moment))
    return RedirectResponse(f"/sweeps/{sweep_id}", 303)
