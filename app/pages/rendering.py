"""Turns a template and its values into a page in the reader's language and theme."""

import json
from datetime import UTC, datetime
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app import i18n, settings
from app.pages import assets, markdown

THEMES = ("system", "light", "dark")
THEME_COOKIE = "plateau_theme"


class Renderer:
    """The Jinja environment and the catalogues, made once by setup()."""

    def __init__(self) -> None:
        folder = settings.assets() / "templates"
        self.catalogues = i18n.Catalogues(folder)
        self.environment = Environment(
            loader=FileSystemLoader(folder),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.policies["json.dumps_function"] = _dumps
        self.environment.filters["iso"] = lambda at: datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
        self.environment.filters["markdown"] = markdown.render
        self.environment.filters["clock"] = lambda at: datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")

    def render(self, request: Request, template: str, **values: Any) -> str:
        speech = speech_of(request)
        theme = request.cookies.get(THEME_COOKIE, "system")
        context = {
            "_": speech,
            "plural": speech.plural,
            "fmt": speech,
            "theme": theme if theme in THEMES else "system",
            "languages": i18n.LANGUAGES,
            "path": request.url.path,
            "now": now(request),
            "icon_state": None,
            "plotly_url": assets.PLOTLY_URL,
            "modules": assets.modules,
        }
        return self.environment.get_template(template).render(context | values)


def _dumps(value: Any, **kwargs: Any) -> str:
    """JSON for a data block; NaN has no place in it, series send it as text."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"), **kwargs)


def speech_of(request: Request) -> i18n.Speech:
    renderer: Renderer = request.app.state.pages
    code = i18n.choose(request.cookies, request.headers.get("accept-language", ""))
    return i18n.Speech(code, renderer.catalogues.get(code, renderer.catalogues["en"]))


def now(request: Request) -> float:
    return float(request.app.state.clock())


HEADERS = {"Cache-Control": "no-store", "Vary": "Cookie, Accept-Language"}


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    renderer: Renderer = request.app.state.pages
    return HTMLResponse(renderer.render(request, template, **values), status, headers=HEADERS)
