"""Posted forms as plain pairs, and the files in them where a form has some (multipart/form-data)."""

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse

from app import multipart
from app.errors import FieldError, Invalid
from app.multipart import Part


class Form:
    """What a browser sent. `one` strips blanks around; a missing field reads as empty."""

    def __init__(self, pairs: list[tuple[str, str]], files: dict[str, Part] | None = None) -> None:
        self.pairs = pairs
        self.files = files or {}

    def one(self, name: str) -> str:
        return next((value.strip() for key, value in self.pairs if key == name), "")

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.pairs if key == name]

    def has(self, name: str) -> bool:
        return any(key == name for key, _ in self.pairs)


async def _posted(request: Request) -> Form:
    body = await request.body()
    if (mark := multipart.boundary(request.headers.get("content-type", ""))) is not None:
        parts = multipart.parts(body, mark)
        pairs = [(part.name, part.data.decode("utf-8", "replace")) for part in parts if not part.filename]
        return Form(pairs, {part.name: part for part in parts if part.filename})
    try:
        return Form(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=10_000))
    except ValueError as error:
        raise Invalid([FieldError("", "The form is not readable text; send it from the page again.")]) from error


Posted = Annotated[Form, Depends(_posted)]


def back_to(request: Request, form: Form, fallback: str) -> RedirectResponse:
    """303 to the page named in the form, never to another site."""
    target = form.one("next")
    safe = target.startswith("/") and not target.startswith(("//", "/\\"))
    return RedirectResponse(target if safe else fallback, 303)
