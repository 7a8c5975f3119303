"""Acknowledged means durable, one bad write harms nobody else, and readers never wait."""

import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from writes import add, empty_database, held_writer, values

from app import db as db_module
from app.db import Database, Tx
from app.errors import Conflict, Overloaded, StorageFull
from app.tables import Base, Setting, Token


@pytest.fixture
def db(tmp_path):
    with empty_database(tmp_path / "plateau.db") as database:
        yield database


def test_requests_that_wait_share_one_commit(db, monkeypatch):
    monkeypatch.setattr(db_module, "GROUP_S", 60.0)
    commits = []
    db.on_commit.append(lambda: commits.append(1))
    release = held_writer(db)
    futures = [db.submit(add(number)) for number in range(100)]
    release.set()
    for future in futures:
        future.result(10)
    assert values(db) == list(range(100))
    db.write(lambda tx: None)  # listeners are called after the answers; this one comes after them
    assert len(commits) <= 2


def test_a_failed_write_rolls_back_itself_and_nobody_else(db):
    def fail(tx: Tx) -> None:
        add(13)(tx)
        raise Conflict("not like this")

    release = held_writer(db)
    before, failing, after = db.submit(add(1)), db.submit(fail), db.submit(add(2))
    release.set()
    before.result(10)
    after.result(10)
    with pytest.raises(Conflict, match="not like this"):
        failing.result(10)
    assert values(db) == [1, 2]


def test_a_commit_that_fails_is_told_to_everybody_in_it(db, monkeypatch):
    monkeypatch.setattr(db_module, "GROUP_S", 60.0)

    def dangling(tx: Tx) -> None:
        tx.raw.execute("PRAGMA defer_foreign_keys = ON")  # found out at COMMIT only
        tx.raw.execute("INSERT INTO series (run_id, key, count, last_step) VALUES (99, 'a/a', 0, -1)")

    release = held_writer(db)
    futures = [db.submit(add(1)), db.submit(dangling)]
    release.set()
    for future in futures:
        with pytest.raises(sqlite3.IntegrityError):
            future.result(10)
    assert values(db) == []
    db.write(add(2))
    assert values(db) == [2]


def test_a_commit_waits_for_the_disk_unless_told_otherwise(db):
    assert db.write(lambda tx: tx.raw.execute("PRAGMA synchronous").fetchone()) == (2,)  # FULL


def test_objects_returned_from_a_write_stay_readable(db):
    def launch(tx: Tx) -> tuple[Setting, Token]:
        setting = Setting(key="baseline")
        token = Token(sha256="ab", name="cli", scope="api", created_at=1.0)
        tx.session.add_all([setting, token])
        return setting, token

    setting, token = db.write(launch)
    assert (setting.key, setting.value, token.id, token.name, token.revoked_at) == ("baseline", {}, 1, "cli", None)
    with db.read() as tx:
        again = tx.session.scalars(select(Token)).one()
    assert (again.id, again.scope) == (1, "api")


def test_raw_sql_sees_what_the_session_has_pending(db):
    def count(tx: Tx) -> int:
        tx.session.add(Setting(key="a", value={"x": 1}))
        return tx.raw.execute("SELECT count(*) FROM settings").fetchone()[0]

    assert db.write(count) == 1


def test_a_conflict_inside_a_nested_transaction_leaves_the_rest_of_the_write(db):
    def twice(tx: Tx) -> None:
        tx.session.add(Setting(key="a", value={}))
        tx.session.flush()
        with suppress(IntegrityError), tx.session.begin_nested():
            add(9)(tx)
            tx.session.add(Token(sha256=None, name="n", scope="api", created_at=0.0))
        tx.session.add(Setting(key="b", value={}))

    db.write(twice)
    with db.read() as tx:
        assert tx.session.scalars(select(Setting.key).order_by(Setting.key)).all() == ["a", "b"]
    assert values(db) == []


def test_a_write_that_swallows_its_sessions_failure_is_refused_whole(db):
    def careless(tx: Tx) -> None:
        add(1)(tx)
        tx.session.add(Token(sha256=None, name="n", scope="api", created_at=0.0))
        try:
            tx.session.flush()
        except IntegrityError:
            tx.session.rollback()

    with pytest.raises(RuntimeError, match="begin_nested"):
        db.write(careless)
    assert values(db) == []
    db.write(add(2))
    assert values(db) == [2]


def test_a_read_cannot_write_and_leaves_nothing_open(db):
    with db.read() as tx, pytest.raises(sqlite3.OperationalError, match="readonly"):
        add(1)(tx)
    with db.read() as tx:
        assert tx.raw.in_transaction
    assert not tx.raw.in_transaction


def test_a_read_is_one_snapshot(db):
    db.write(add(1))
    with db.read() as tx:
        first = tx.raw.execute("SELECT count(*) FROM feed").fetchone()
        db.write(add(2))
        assert tx.raw.execute("SELECT count(*) FROM feed").fetchone() == first == (1,)
    assert values(db) == [1, 2]


def test_readers_and_writers_in_many_threads_never_see_a_locked_database(db):
    deadline = time.monotonic() + 1.0

    def reader(_: int) -> int:
        seen = 0
        while time.monotonic() < deadline:
            with db.read() as tx:
                count = tx.session.connection().exec_driver_sql("SELECT count(*) FROM feed").scalar_one()
                assert count >= seen, "a later snapshot holds less"
                seen = count
        return seen

    def writer(number: int) -> int:
        written = 0
        while time.monotonic() < deadline:
            db.write(add(number))
            written += 1
        return written

    with ThreadPoolExecutor(8) as pool:
        readers, writers = pool.map(reader, range(4)), pool.map(writer, range(4))
        written = sum(writers)
        assert max(readers) <= written
    assert len(values(db)) == written > 0


def test_more_than_the_queue_holds_is_refused_at_once(db, monkeypatch):
    monkeypatch.setattr(db_module, "WAITING", 3)
    release = held_writer(db)
    futures = [db.submit(add(number)) for number in range(3)]
    with pytest.raises(Overloaded) as refused:
        db.submit(add(4))
    assert "Retry-After" in refused.value.headers
    release.set()
    for future in futures:
        future.result(10)


def test_a_cancelled_request_is_not_written(db):
    release = held_writer(db)
    cancelled, kept = db.submit(add(1)), db.submit(add(2))
    assert cancelled.cancel()
    release.set()
    kept.result(10)
    assert values(db) == [2]


def test_a_write_inside_a_write_is_an_error_and_not_a_deadlock(db):
    with pytest.raises(AssertionError, match="inside a write"):
        db.write(lambda tx: db.write(add(1)))


def test_a_listener_that_fails_does_not_stop_the_writer(db, caplog):
    db.on_commit.append(lambda: 1 // 0)
    db.write(add(1))
    db.write(add(2))
    assert values(db) == [1, 2]
    assert "listener" in caplog.text


def test_close_finishes_what_waits_folds_the_log_and_refuses_more(tmp_path):
    database = Database(tmp_path / "x.db")
    database.write(lambda tx: Base.metadata.create_all(tx.session.connection()))
    release = held_writer(database)
    futures = [database.submit(add(number)) for number in range(10)]
    release.set()
    database.close()
    database.close()
    assert all(future.done() for future in futures)
    assert not (tmp_path / "x.db-wal").exists()
    with pytest.raises(Overloaded, match="stopping"):
        database.submit(add(1))
    with sqlite3.connect(f"file:{tmp_path / 'x.db'}?mode=ro", uri=True) as raw:
        assert raw.execute("SELECT count(*) FROM feed").fetchone() == (10,)
    raw.close()


def test_a_full_database_refuses_keeps_what_it_has_and_recovers(db):
    def limit(pages: int) -> None:
        db.write(lambda tx: tx.raw.execute(f"PRAGMA max_page_count = {pages}").fetchall())

    def much(tx: Tx) -> None:
        tx.session.add(Setting(key="much", value={"x": "y" * 1_000_000}))

    db.write(add(1))
    limit(50)
    with pytest.raises(StorageFull) as refused:
        db.write(much)
    assert refused.value.status == 507
    db.write(add(2))  # a small one still fits
    assert values(db) == [1, 2]
    limit(1 << 30)
    db.write(much)
    with db.read() as tx:
        assert len(tx.session.get_one(Setting, "much").value["x"]) == 1_000_000


FILLS_ITS_DISK = """
import resource, signal, sys
from pathlib import Path
from app.db import Database
from app.errors import StorageFull
database = Database(Path(sys.argv[1]))
database.write(lambda tx: tx.raw.execute("CREATE TABLE t (v)"))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
kept, refused = 0, 0
while not refused:
    try:
        database.write(lambda tx: tx.raw.execute("INSERT INTO t VALUES (zeroblob(5000))"))
        kept += 1
    except StorageFull as full:
        refused += 1
with database.read() as tx:
    assert tx.raw.execute("SELECT count(*) FROM t").fetchone() == (kept,)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
database.write(lambda tx: tx.raw.execute("INSERT INTO t VALUES (1)"))
database.close()
print(kept)
"""


def test_a_disk_that_takes_no_more_loses_nothing_acknowledged_and_works_again_when_freed(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FILLS_ITS_DISK, tmp_path / "x.db"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    kept = int(done.stdout)
    with sqlite3.connect(tmp_path / "x.db") as raw:
        assert raw.execute("SELECT count(*) FROM t").fetchone() == (kept + 1,)
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()
    assert kept > 5


ACKNOWLEDGES = """
import sys, threading
from pathlib import Path
from app.db import Database
database = Database(Path(sys.argv[1]))
database.write(lambda tx: tx.raw.execute("CREATE TABLE t (v INTEGER PRIMARY KEY)"))
def work(first):
    for number in range(first, 10_000_000, 4):
        database.write(lambda tx: tx.raw.execute("INSERT INTO t VALUES (?)", (number,)))
        sys.stdout.write(f"{number}\\n")
        sys.stdout.flush()
for first in range(4):
    threading.Thread(target=work, args=(first,), daemon=True).start()
threading.Event().wait()
"""


def test_every_acknowledged_write_is_there_after_kill_9(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", ACKNOWLEDGES, tmp_path / "x.db"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    acknowledged = {int(process.stdout.readline()) for _ in range(300)}
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split("\n")
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    acknowledged |= {int(line) for line in rest[:-1]}  # the last line may be torn
    with sqlite3.connect(tmp_path / "x.db") as raw:
        there = {row[0] for row in raw.execute("SELECT v FROM t")}
    raw.close()
    assert acknowledged <= there
    assert len(there - acknowledged) <= 8  # committed, but killed before saying so
