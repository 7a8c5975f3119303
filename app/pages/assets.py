"""Static files: ours re-checked at every load, Plotly's bundle cached for good; and which modules a page's scripts import."""

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from app import settings

PLOTLY_URL = "/static/vendor/plotly-basic-4.1.1.min.js"
"""Curves, points and bars: all that the charts here draw, in a quarter of the full bundle's size and of its start."""
SMALL = 64 * 1024
"""Bytes of a file that is read at once: a page has forty such files, and a thread for each takes longer than the reading."""
IMPORTED = re.compile(r'^(?:import|export) (?:[^"\n]* from )?"\./(\w+\.js)";', re.MULTILINE)


class CheckedFiles(StaticFiles):
    """Modules import each other without a version in their names, so a browser asks each time and mostly hears 304.
    What stands in vendor/ carries its version in its name."""

    def file_response(self, full_path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(full_path, *args, **kwargs)
        if isinstance(response, FileResponse) and int(response.headers["content-length"]) <= SMALL:
            headers = {name: response.headers[name] for name in ("content-type", "etag", "last-modified")}
            response = Response(Path(full_path).read_bytes(), response.status_code, headers=headers)
        vendored = Path(full_path).parent.name == "vendor"
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if vendored else "no-cache"
        return response


@cache
def modules(*entries: str) -> tuple[str, ...]:
    """`entries` and all that they import, each once: a page that names them in its head gets them in one round."""
    found: dict[str, None] = {}

    def visit(name: str) -> None:
        if name not in found:
            found[name] = None
            for one in _imports(name):
                visit(one)

    for name in entries:
        visit(name)
    return tuple(found)


def _imports(name: str) -> Iterator[str]:
    text = (settings.assets() / "static" / name).read_text(encoding="utf-8")
    return (found[1] for found in IMPORTED.finditer(text))


def mount(app: FastAPI) -> None:
    app.mount("/static", CheckedFiles(directory=settings.assets() / "static"), name="static")
