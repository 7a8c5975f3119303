"""The theme and language switches: two cookies, so that the server renders the right page at once."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app import i18n
from app.pages.forms import Posted, back_to
from app.pages.rendering import THEME_COOKIE, THEMES

router = APIRouter(include_in_schema=False)
YEAR_S = 365 * 86400


@router.post("/preferences")
def save(request: Request, form: Posted) -> Response:
    response = back_to(request, form, "/runs")
    if (theme := form.one("theme")) in THEMES:
        response.set_cookie(THEME_COOKIE, theme, max_age=YEAR_S, samesite="lax")
    if (language := form.one("language")) in i18n.LANGUAGES:
        response.set_cookie(i18n.COOKIE, language, max_age=YEAR_S, samesite="lax")
    return response
