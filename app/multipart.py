"""multipart/form-data, whole and in memory: what a browser's form with a file in it sends, and curl -F."""

import re
from email.message import Message
from typing import NamedTuple

from app.errors import BadRequest

MOST_PARTS = 40
_NAME = re.compile(rb'(?i)content-disposition:\s*form-data[^\r\n]*?[; ]name="([^"\r\n]*)"')
_FILE = re.compile(rb'(?i)content-disposition:[^\r\n]*?filename="([^"\r\n]*)"')


class Part(NamedTuple):
    name: str
    filename: str  #: "" for a plain field
    data: bytes


def boundary(content_type: str) -> bytes | None:
    """Of a Content-Type header; None where it is not multipart/form-data."""
    message = Message()
    message["Content-Type"] = content_type
    found = message.get_param("boundary")
    if message.get_content_type() != "multipart/form-data" or not isinstance(found, str) or not 0 < len(found) <= 200:
        return None
    return found.encode("latin-1", "replace")


def parts(body: bytes, boundary: bytes) -> list[Part]:
    """In their order. Raises BadRequest."""
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise BadRequest("The multipart body has no end; send it again.")
    if len(pieces) > MOST_PARTS:
        raise BadRequest(f"The multipart body has more than {MOST_PARTS} parts.")
    found = []
    for piece in pieces[1:-1]:
        head, gap, data = piece.partition(b"\r\n\r\n")
        name, filename = _NAME.search(head), _FILE.search(head)
        if not gap or name is None:
            raise BadRequest("A part of the multipart body has no name.")
        found.append(Part(_text(name[1]), _text(filename[1]) if filename else "", data))
    return found


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
