"""Posted forms: urlencoded bodies as plain pairs, without a multipart parser."""

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse

from app.errors import FieldError, Invalid


class Form:
    """What a browser sent. `one` strips blanks around; a missing field reads as empty."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self.pairs = pairs

    def one(self, name: str) -> str:
        return next((value.strip() for key, value in self.pairs if key == name), "")

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.pairs if key == name]

    def has(self, name: str) -> bool:
        return any(key == name for key, _ in self.pairs)


async def _posted(request: Request) -> Form:
    body = await request.body()
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
