"""Ids as people and URLs see them: r-0214, d-0003, j-000812, w-02. The server makes them; names are free text."""

import re

PREFIXES = {
    "run": "r", "dataset": "d", "job": "j", "worker": "w", "checkpoint": "c", "event": "e", "token": "t", "sample": "s", "sweep": "x", "alert": "a", "delivery": "y",
}  # fmt: skip
PATTERN = r"[a-z]-[0-9]{1,18}"
_ID = re.compile(r"([a-z])-([0-9]{1,18})")


def show(noun: str, number: int) -> str:
    """show("run", 214) == "r-0214"."""
    return f"{PREFIXES[noun]}-{number:04d}"


def parse(noun: str, text: str) -> int | None:
    """parse("run", "r-0214") == 214; None for anything that is not such an id."""
    match = _ID.fullmatch(text)
    return int(match[2]) if match and match[1] == PREFIXES[noun] else None
