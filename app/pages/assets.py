"""Static files: ours re-checked at every load, Plotly's bundle from the installed package and cached for good."""

import hashlib
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from starlette.staticfiles import StaticFiles

from app import settings

router = APIRouter(include_in_schema=False)
PLOTLY_URL = f"/static/vendor/plotly.min.js?v={version('plotly')}"


class CheckedFiles(StaticFiles):
    """Modules import each other without a version in their names, so a browser asks each time and mostly hears 304."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


@cache
def _plotly() -> tuple[bytes, str]:
    """The bundle and its ETag. 4.8 MB, read at the first request for it."""
    body = (files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'


@router.get("/static/vendor/plotly.min.js")
def plotly(request: Request) -> Response:
    body, etag = _plotly()
    headers = {"ETag": etag, "Cache-Control": "public, max-age=31536000, immutable"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="text/javascript; charset=utf-8", headers=headers)


def mount(app: FastAPI) -> None:
    app.include_router(router)
    app.mount("/static", CheckedFiles(directory=settings.assets() / "static"), name="static")
