"""The guide to weight decay: in five languages, with figures of the reader's own runs and a button where a claim can be tried."""

import re

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup, escape

from app import ready_made
from app.db import Database
from app.guide import languages
from app.guide.claims import CLAIMS
from app.guide.models import MODELS
from app.pages import guide_figures
from app.pages.rendering import page, speech_of

router = APIRouter(include_in_schema=False)
_SIGNS = "!-~\u0300-\u036fΑ-ω−·√₁₂²≤≥≈←→×±‖…"
_FORMULA = re.compile(f"[A-Za-z0-9(<\\[−√‖≈¬Α-ω-][{_SIGNS}]*(?: [{_SIGNS}]+)*")


def isolated(text: str, direction: str) -> Markup:
    """The sentence with its formulas and names set apart: between words that run from right to left they would be turned round."""
    if direction == "ltr":
        return Markup(escape(text))  # noqa: S704 - escaped
    pieces, at = [], 0
    for found in _FORMULA.finditer(text):
        end = found.end() - (found[0][-1] in ".:;,")
        pieces += [
            escape(text[at : found.start()]),
            Markup('<bdi dir="ltr">{}</bdi>').format(text[found.start() : end]),
        ]
        at = end
    return Markup("").join([*pieces, escape(text[at:])])


@router.get("/guide")
def guide(request: Request, lang: str = "") -> HTMLResponse:
    code = languages.chosen(lang[:20], speech_of(request).code)
    words = languages.words(code)
    db: Database = request.app.state.db
    with db.read() as tx:
        sizes, losses = guide_figures.sizes(tx, words.rms_caption), guide_figures.losses(tx, words.loss_caption)
    tries = {claim: one for one in ready_made.READY_MADE.values() for claim in one.claims}
    return page(
        request, "guide.html", words=words, claims=CLAIMS, models=MODELS, tries=tries, sizes=sizes, losses=losses, isolated=isolated,
        others={one: languages.words(one).name for one in languages.MODULES},
    )  # fmt: skip
