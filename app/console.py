"""What a run's process printed: the newest lines, earlier ones, those that hold a word, and the whole as a text file."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal, get_args

from sqlalchemy import Select, select

from app.db import Database, Tx
from app.tables import LogRow

Severity = Literal["debug", "info", "warn", "error"]
AT_ONCE = 2000
"""Lines of a download read in one transaction: no snapshot stays open while a slow client reads."""


def newest(
    tx: Tx, run_id: int, *, text: str = "", level: Severity = "debug", before: int = 0, limit: int = 200
) -> list[LogRow]:
    """The last lines that match, oldest first; with `before`, the last in front of that number.

    `text` is found anywhere in a line, in upper or lower case alike (of ASCII letters); `level` is the least severe one shown.
    """
    query = _matching(run_id, text, level)
    if before:
        query = query.where(LogRow.id < before)
    return list(tx.session.scalars(query.order_by(LogRow.id.desc()).limit(limit)))[::-1]


def following(
    tx: Tx, run_id: int, after: int, *, text: str = "", level: Severity = "debug", limit: int = 200
) -> list[LogRow]:
    """The first lines that match behind number `after`."""
    query = _matching(run_id, text, level).where(LogRow.id > after)
    return list(tx.session.scalars(query.order_by(LogRow.id).limit(limit)))


def as_text(db: Database, run_id: int, *, text: str = "", level: Severity = "debug") -> Iterator[str]:
    """Every line that matches, some at a time: its time (UTC), attempt, level and text."""
    after = 0
    while True:
        with db.read() as tx:
            found = following(tx, run_id, after, text=text, level=level, limit=AT_ONCE)
            block = "".join(
                f"{datetime.fromtimestamp(row.at, UTC):%Y-%m-%dT%H:%M:%S.%fZ} {row.attempt} {row.level:5} {row.text}\n"
                for row in found
            )
            after = found[-1].id if found else 0
        if not found:
            return
        yield block


def _matching(run_id: int, text: str, level: Severity) -> Select[LogRow]:
    query = select(LogRow).where(LogRow.run_id == run_id)
    if level != "debug":
        severe = get_args(Severity)
        query = query.where(LogRow.level.in_(severe[severe.index(level) :]))
    return query.where(LogRow.text.icontains(text, autoescape=True)) if text else query
