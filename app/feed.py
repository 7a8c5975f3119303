"""The server-wide event number: what changed, in the order it was committed.

A row says only where to read (noun, kind, ref); the data stay in their own tables. Streams replay from
here, so a lost connection heals with nothing missing; a stream that is older than the oldest row reloads.
"""

import sqlite3
from typing import Literal, NamedTuple

from app.db import Tx

Noun = Literal["run", "dataset", "worker"]
Kind = Literal["state", "points", "truncate", "log", "event", "sample"]


class FeedRow(NamedTuple):
    id: int
    noun: str
    noun_id: int
    kind: str
    ref: int


def post(tx: Tx, noun: Noun, noun_id: int, kind: Kind, ref: int = 0) -> None:
    """Note a change. `ref`: first step for points and truncate, first row's id for log, the event's id for event, the sample's for sample."""
    tx.raw.execute(
        "INSERT INTO feed (noun, noun_id, kind, ref) VALUES (?, ?, ?, ?)", (noun, noun_id, kind, ref)
    )  # fmt: skip


def after(raw: sqlite3.Connection, cursor: int, limit: int = 5000) -> list[FeedRow]:
    """Rows newer than `cursor`, oldest first."""
    rows = raw.execute(
        "SELECT id, noun, noun_id, kind, ref FROM feed WHERE id > ? ORDER BY id LIMIT ?", (cursor, limit)
    )  # fmt: skip
    return [FeedRow(*row) for row in rows]


def head(raw: sqlite3.Connection) -> int:
    """The newest event number ever given out; 0 before the first."""
    row = raw.execute("SELECT seq FROM sqlite_sequence WHERE name = 'feed'").fetchone()
    return int(row[0]) if row else 0


def oldest(raw: sqlite3.Connection) -> int:
    """The oldest row kept; a cursor below `oldest() - 1` has missed something. head + 1 when there is none."""
    row = raw.execute("SELECT min(id) FROM feed").fetchone()
    return int(row[0]) if row[0] is not None else head(raw) + 1


def prune(tx: Tx, keep: int = 200_000) -> int:
    """Drop all but about the newest `keep` rows; returns how many went."""
    return tx.raw.execute("DELETE FROM feed WHERE id <= ?", (head(tx.raw) - keep,)).rowcount
