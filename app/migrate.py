"""Opens the home's database: one server at a time, backed up and upgraded if it is older than this program.

A new database gets the tables of app/tables at once. Alembic is imported only when there is something to upgrade: it
costs 0.15 s, and 11 MiB for as long as the server lives.
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TextIO

from sqlalchemy import URL, Connection, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from app.db import Database
from app.errors import PlateauError
from app.settings import Settings, assets
from app.tables import Base

HEAD = "0003"  #: the newest revision in migrations/versions; a test compares
VERSION_TABLE = "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"


class CannotOpen(PlateauError):
    """The database cannot be opened."""

    status, kind = 500, "cannot-open"


class HomeNotWritable(CannotOpen):
    """Plateau cannot write to its home folder."""


class DatabaseInUse(CannotOpen):
    """Another Plateau server has this database open."""


class DatabaseTooNew(CannotOpen):
    """The database was written by a newer Plateau."""


class NotADatabase(CannotOpen):
    """The file is not a Plateau database."""


class UpgradeFailed(CannotOpen):
    """The database could not be upgraded; it is as it was."""


def open_database(settings: Settings) -> Database:
    """The database of this home, made or upgraded as needed. Raises a CannotOpen whose text names the way out."""
    path = settings.database
    lock = _lock(settings.home, path)
    try:
        revision = _revision(path)
        if revision is None:
            _create(path)
        elif revision != HEAD:
            _upgrade(path, revision)
        database = _opened(path, settings.db_sync)
    except BaseException:
        lock.close()
        raise
    database.on_close.append(lock.close)
    return database


@contextmanager
def connection_for_upgrade(path: Path) -> Iterator[Connection]:
    """A connection whose BEGIN covers schema changes too, and on which tables may be rebuilt."""
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _connected(raw: sqlite3.Connection, _record: object) -> None:
        raw.isolation_level = None  # the driver itself would commit before each CREATE TABLE
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    with engine.connect() as connection:
        yield connection
    engine.dispose()


def _lock(home: Path, path: Path) -> TextIO:
    """The lock is the kernel's: it ends with the process, however that ends."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = open(path.with_name(path.name + ".lock"), "a+")  # noqa: SIM115 - it stays open as long as the database
    except OSError as error:
        raise HomeNotWritable(
            f"Plateau cannot write to {home} ({error.strerror}); make it writable or set PLATEAU_HOME to another folder."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        holder = lock.read(20).strip()
        lock.close()
        raise DatabaseInUse(
            f"Another Plateau server{f' (process {holder})' if holder else ''} uses {path}; "
            "stop it first or set PLATEAU_HOME to another folder."
        ) from error
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _opened(path: Path, sync: str) -> Database:
    try:
        return Database(path, sync)
    except (sqlite3.Error, DBAPIError) as error:
        raise HomeNotWritable(
            f"{path} cannot be opened for writing ({getattr(error, 'orig', error)}); make it and its folder writable."
        ) from error


def _revision(path: Path) -> str | None:
    """The revision the file is at; None if there is no file yet or an empty one."""
    if not path.exists() or not path.stat().st_size:
        return None
    not_ours = f"{path} is not a Plateau database; move it away or set PLATEAU_HOME to another folder."
    try:
        with path.open("rb") as file:  # SQLite itself takes a file of some bytes for an empty database
            if file.read(16) != b"SQLite format 3\0":
                raise NotADatabase(not_ours)
        with closing(sqlite3.connect(path)) as raw:
            tables = {name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                return None
            if not {"alembic_version", "runs"} <= tables:
                raise NotADatabase(not_ours)
            row = raw.execute("SELECT version_num FROM alembic_version").fetchone()
            return row[0] if row else None
    except (OSError, sqlite3.OperationalError) as error:
        raise HomeNotWritable(
            f"{path} cannot be opened ({error}); make it readable and writable or set PLATEAU_HOME to another folder."
        ) from error
    except sqlite3.DatabaseError as error:
        raise NotADatabase(not_ours) from error


def _create(path: Path) -> None:
    """All tables in one transaction: a kill anywhere leaves an empty file. A test compares them with what the revisions make."""
    try:
        with connection_for_upgrade(path) as connection, connection.begin():
            Base.metadata.create_all(connection, checkfirst=False)
            connection.exec_driver_sql(VERSION_TABLE)
            connection.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (HEAD,))
    except (sqlite3.Error, DBAPIError, OSError) as error:
        reason = getattr(error, "orig", None) or error
        raise HomeNotWritable(
            f"{path} could not be made ({reason}); see that its disk has space and start again."
        ) from error


def _upgrade(path: Path, revision: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(assets() / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    try:
        ScriptDirectory.from_config(config).get_revision(revision)
    except CommandError as error:
        raise DatabaseTooNew(
            f"{path} was written by a newer Plateau (its schema is {revision}, this program knows {HEAD}); "
            "install that version or restore a copy from backups."
        ) from error
    try:
        _back_up(path)
        with connection_for_upgrade(path) as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except (sqlite3.Error, DBAPIError, OSError) as error:
        reason = getattr(error, "orig", None) or error
        raise UpgradeFailed(
            f"{path} could not be brought up to date ({reason}) and is as it was; "
            "see that its disk has space for a second copy and start again."
        ) from error


def _back_up(path: Path) -> None:
    """A copy from before the upgrade, under its final name only once it is whole."""
    folder = path.parent / "backups"
    folder.mkdir(exist_ok=True)
    unfinished = folder / "unfinished.db"
    unfinished.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("VACUUM INTO ?", (str(unfinished),))
    unfinished.rename(folder / f"before-{HEAD}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.db")
