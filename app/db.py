"""One SQLite file, many readers and one writer thread: whoever waits to write shares one commit.

A write is a function of a Tx. It runs on the writer thread in its own savepoint; everything that arrived
meanwhile goes into the same BEGIN IMMEDIATE … COMMIT, so that one fsync acknowledges all of it. Reads are
snapshots on pooled connections and never wait for the writer.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, QueuePool, RootTransaction, create_engine, inspect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.errors import Overloaded, PlateauError, StorageFull, beyond_storage

T = TypeVar("T")

WAITING = 500  #: requests that may wait for the writer; one more is refused
GROUP = 250  #: requests in one commit
GROUP_S = 0.010  #: and no more of them begin after this long, so that the first does not wait for the last
BUSY_S = 30.0  #: how long to wait for another process that holds the file, such as a backup
WAL_KEPT = 64 << 20  #: bytes the WAL file keeps after a checkpoint

_log = logging.getLogger(__name__)


class _Driver(sqlite3.Connection):
    """Transactions begin and end by SQL that Database sends: SQLAlchemy's calls of these two must not end them."""

    def commit(self) -> None: ...

    def rollback(self) -> None: ...


def _connect(path: Path, sync: str) -> sqlite3.Connection:
    raw = sqlite3.connect(
        path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, factory=_Driver, cached_statements=512
    )
    raw.execute("PRAGMA journal_mode = WAL")
    raw.execute(f"PRAGMA synchronous = {sync}")
    raw.execute("PRAGMA fullfsync = ON")  # macOS: a plain fsync stops at the drive's cache
    raw.execute("PRAGMA foreign_keys = ON")
    raw.execute(f"PRAGMA journal_size_limit = {WAL_KEPT}")
    raw.execute("PRAGMA query_only = ON")
    return raw


class Tx:
    """One transaction, read or write: the driver's connection for hot paths, an ORM session for everything else."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._raw = _driver(connection)
        self._session: Session | None = None
        self._outer: RootTransaction | None = None  #: SQLAlchemy's idea of this transaction; it sends no SQL

    @property
    def raw(self) -> sqlite3.Connection:
        """The driver connection; what the session has pending is flushed first, so that SQL sees it."""
        if self._session is not None:
            self._session.flush()
            if self._session.in_nested_transaction():
                self._session.connection()  # SQLAlchemy sends SAVEPOINT only when it is asked for a connection
        return self._raw

    @property
    def session(self) -> Session:
        if self._session is None:
            self._outer = self._connection.begin()
            self._session = Session(
                self._connection, join_transaction_mode="rollback_only", expire_on_commit=False, autoflush=True
            )
        return self._session

    def finish(self) -> None:
        """Flush, and load what a caller may still want to read from the objects it is handed."""
        if self._session is None:
            return
        self._session.flush()
        if self._outer is None or not self._outer.is_active:
            raise RuntimeError("the session was rolled back inside a write; use session.begin_nested() to try things")
        for kept in list(self._session.identity_map.values()):
            if inspect(kept).expired_attributes:
                self._session.refresh(kept)

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
        if self._outer is not None:
            self._outer.close()


Waiter = Future[Any] | asyncio.Future[Any]
"""Of a thread that waits, or of the event loop."""


class _Request(NamedTuple):
    fn: Callable[[Tx], Any]
    future: Waiter


class _Outcome(NamedTuple):
    future: Waiter
    result: Any = None
    error: BaseException | None = None


class Database:
    """Owns the file's connections and the writer thread; pass it in, never keep it in a module."""

    def __init__(self, path: Path, sync: str = "FULL") -> None:
        assert sync in {"FULL", "NORMAL"}, f"synchronous is FULL or NORMAL, not {sync}"
        self.path = path
        self.on_commit: list[Callable[[], None]] = []  #: called on the writer thread after every commit
        self.on_close: list[Callable[[], None]] = []
        self._engine = create_engine(
            "sqlite://",
            creator=partial(_connect, path, sync),
            poolclass=QueuePool,
            pool_size=8,
            max_overflow=-1,
            pool_reset_on_return=None,
        )
        self._writer = self._engine.connect()
        _driver(self._writer).execute("PRAGMA query_only = OFF")
        self._waiting: deque[_Request] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._write_loop, name="plateau-writer", daemon=True)
        self._thread.start()

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """A snapshot of committed data. Keep it short: while it is open the WAL cannot be reset."""
        with self._engine.connect() as connection:
            raw = _driver(connection)
            raw.execute("BEGIN")
            tx = Tx(connection)
            try:
                yield tx
            finally:
                tx.close()
                if raw.in_transaction:
                    raw.execute("ROLLBACK")

    def write(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` on the writer thread; returns once its work is on disk. What fn raises is raised here."""
        assert threading.current_thread() is not self._thread, "a write inside a write would wait for itself for ever"
        return self.submit(fn).result()

    def submit(self, fn: Callable[[Tx], T]) -> Future[T]:
        """The same without waiting. Cancelling the future before its turn drops the request."""
        future: Future[T] = Future()
        self._enqueue(_Request(fn, future))
        return future

    async def written(self, fn: Callable[[Tx], T]) -> T:
        """`write` for the event loop. All that one commit acknowledges wakes the loop once."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._enqueue(_Request(fn, future))
        return await future

    def _enqueue(self, request: _Request) -> None:
        with self._wake:
            if self._closing:
                raise Overloaded("The server is stopping; try again when it is back.")
            if len(self._waiting) >= WAITING:
                raise Overloaded(f"{WAITING} requests are waiting to be written already; try again in a moment.")
            self._waiting.append(request)
            self._wake.notify()

    def close(self) -> None:
        """Finish what waits, fold the WAL into the file and let go of it. Repeated calls do nothing."""
        with self._wake:
            if self._closing:
                return
            self._closing = True
            self._wake.notify()
        self._thread.join()
        try:
            _driver(self._writer).execute("PRAGMA busy_timeout = 1000")  # a reader that stays must not hold the stop up
            _driver(self._writer).execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.OperationalError as error:  # a reader outside, or a full disk: the WAL stays and is replayed
            _log.warning("the write-ahead log was not folded into %s: %s", self.path, error)
        self._writer.close()
        self._engine.dispose()
        for hook in self.on_close:
            hook()

    def _write_loop(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closing:
                    self._wake.wait()
                if not self._waiting:
                    return
            outcomes = self._commit_group()
            _deliver_all(outcomes)
            for hook in self.on_commit if outcomes else ():
                try:
                    hook()
                except Exception:  # the writer serves everybody: one bad listener must not end it
                    _log.exception("a listener for commits failed")

    def _commit_group(self) -> list[_Outcome]:
        """Everything that waits, in one transaction. Answers, refusals too, rest on rows that may not become
        durable, hence nobody hears anything before the commit; if it fails, all of them hear that."""
        raw = _driver(self._writer)
        taken: list[Waiter] = []
        outcomes: list[_Outcome] = []
        try:
            raw.execute("BEGIN IMMEDIATE")
            began = time.perf_counter()
            while self._waiting and len(taken) < GROUP and time.perf_counter() - began < GROUP_S:
                request = self._waiting.popleft()
                if _still_waits(request.future):
                    taken.append(request.future)
                    outcomes.append(self._run(raw, request))
            raw.execute("COMMIT")
        except (sqlite3.Error, PlateauError) as error:
            if raw.in_transaction:
                raw.execute("ROLLBACK")
            if not taken:  # BEGIN failed: the one that waited longest hears why, the others have their turn next
                first = self._waiting.popleft().future
                taken = [first] if _still_waits(first) else []
            return [_Outcome(future, error=translated(error)) for future in taken]
        return outcomes

    def _run(self, raw: sqlite3.Connection, request: _Request) -> _Outcome:
        raw.execute("SAVEPOINT request")
        tx = Tx(self._writer)
        try:
            result = request.fn(tx)
            tx.finish()
        except BaseException as error:  # whatever it is, it belongs to the caller, not to this thread
            tx.close()
            refused = translated(error)
            if not raw.in_transaction:  # SQLite gave the whole transaction up, and the others' rows with it
                raise (refused if isinstance(refused, PlateauError) else StorageFull(str(refused))) from error
            raw.execute("ROLLBACK TO request")
            raw.execute("RELEASE request")
            return _Outcome(request.future, error=refused)
        tx.close()
        raw.execute("RELEASE request")
        return _Outcome(request.future, result)


def _driver(connection: Connection) -> sqlite3.Connection:
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def _still_waits(future: Waiter) -> bool:
    return not future.cancelled() if isinstance(future, asyncio.Future) else future.set_running_or_notify_cancel()


def _deliver_all(outcomes: list[_Outcome]) -> None:
    of_loops: defaultdict[asyncio.AbstractEventLoop, list[_Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if isinstance(outcome.future, asyncio.Future):
            of_loops[outcome.future.get_loop()].append(outcome)
        else:
            _deliver(outcome)
    for loop, its in of_loops.items():
        with suppress(RuntimeError):  # it was closed: nobody waits any more
            loop.call_soon_threadsafe(_deliver_those_that_wait, its)


def _deliver_those_that_wait(outcomes: list[_Outcome]) -> None:
    """On the event loop, where a request can have been given up since."""
    for outcome in outcomes:
        if not outcome.future.done():
            _deliver(outcome)


def _deliver(outcome: _Outcome) -> None:
    if outcome.error is not None:
        outcome.future.set_exception(outcome.error)
    else:
        outcome.future.set_result(outcome.result)


def translated(error: BaseException) -> BaseException:
    """SQLite's complaints about the disk or a number as errors that a client can act upon; anything else as it is."""
    if isinstance(error, OverflowError):
        return beyond_storage()
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, PlateauError) or not isinstance(cause, sqlite3.Error):
        return error
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF  # the low byte is the family
    if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
        return StorageFull(
            f"The disk under the database cannot take more ({cause}); free some space. Everything acknowledged is kept.",
            headers={"Retry-After": "10"},
        )
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return Overloaded("Another program holds the database; try again in a moment.")
    return error
