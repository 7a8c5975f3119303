"""A database to write into, small writes, and a way to keep its writer busy."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.db import Database, Tx
from app.tables import Base


@contextmanager
def empty_database(path: Path) -> Iterator[Database]:
    database = Database(path)
    database.write(lambda tx: Base.metadata.create_all(tx.session.connection()))
    yield database
    database.close()


def add(value):
    return lambda tx: tx.raw.execute(
        "INSERT INTO feed (noun, noun_id, kind, ref) VALUES ('run', ?, 'log', 0)", (value,)
    )


def values(database) -> list[int]:
    with database.read() as tx:
        return [row[0] for row in tx.raw.execute("SELECT noun_id FROM feed ORDER BY noun_id")]


def held_writer(database) -> threading.Event:
    """Keeps the writer thread busy until the event is set."""
    entered, release = threading.Event(), threading.Event()

    def wait(tx: Tx) -> None:
        entered.set()
        release.wait(10)

    database.submit(wait)
    entered.wait(10)
    return release
