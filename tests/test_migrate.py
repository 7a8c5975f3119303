"""Opening the home's database: made, upgraded with a copy, or refused with a sentence that says what to do."""

import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from app import migrate
from app.migrate import HEAD, open_database
from app.settings import Settings, assets

LATER = """
from alembic import op
revision, down_revision = "9999", "{head}"
def upgrade():
    op.execute("CREATE TABLE added (id INTEGER PRIMARY KEY)")
    {more}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def rows(path: Path, sql: str) -> list[tuple]:
    raw = sqlite3.connect(path)
    try:
        return raw.execute(sql).fetchall()
    finally:
        raw.close()


def version(path: Path) -> str:
    return rows(path, "SELECT version_num FROM alembic_version")[0][0]


@pytest.fixture
def later_revision(tmp_path, monkeypatch):
    """A program one revision newer; call it with further lines for its upgrade()."""

    def add(more: str = "") -> None:
        shutil.copytree(assets() / "migrations", tmp_path / "migrations", dirs_exist_ok=True)
        (tmp_path / "migrations/versions/9999_later.py").write_text(LATER.format(more=more, head=HEAD))
        monkeypatch.setattr(migrate, "assets", lambda: tmp_path)
        monkeypatch.setattr(migrate, "HEAD", "9999")

    return add


def upgraded(path: Path, revision: str) -> None:
    """What Alembic makes of an empty file, through all revisions up to this one."""
    config = Config()
    config.set_main_option("script_location", str(assets() / "migrations"))
    config.set_main_option("path_separator", "os")
    with migrate.connection_for_upgrade(path) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def parts(sql: str) -> list[str]:
    """Columns and constraints of a CREATE statement in any order, then what stands after its last bracket."""
    head, _, rest = sql.partition("(")
    body, _, tail = rest.rpartition(")")
    items = re.split(r",(?![^(]*\))", body)  # no comma within brackets
    return [*sorted(" ".join(item.split()) for item in items), " ".join(head.split()), " ".join(tail.split())]


def test_a_new_home_has_to_the_letter_what_the_revisions_make_but_for_the_order_of_columns(settings, tmp_path):
    open_database(settings).close()
    upgraded(tmp_path / "upgraded.db", "head")
    made, grown = (
        {
            (kind, name): parts(sql) if sql else None
            for kind, name, sql in rows(path, "SELECT type, name, sql FROM sqlite_master")
        }
        for path in (settings.database, tmp_path / "upgraded.db")
    )
    assert len(made) > 40
    assert made == grown
    assert version(settings.database) == version(tmp_path / "upgraded.db") == HEAD
    assert not (settings.home / "backups").exists()


def test_the_head_written_down_is_the_newest_revision():
    config = Config()
    config.set_main_option("script_location", str(assets() / "migrations"))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == migrate.HEAD


def test_a_new_home_and_one_at_head_open_without_importing_alembic(settings):
    code = (
        "import sys; from pathlib import Path; from app.migrate import open_database; from app.settings import Settings;"
        "home = Settings(home=Path(sys.argv[1])); open_database(home).close(); open_database(home).close();"
        "assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, settings.home], check=True, timeout=60)


def test_an_older_database_is_copied_then_upgraded(settings, later_revision):
    database = open_database(settings)
    database.write(lambda tx: tx.raw.execute("INSERT INTO settings VALUES ('mine', '{}')"))
    database.close()
    later_revision()
    open_database(settings).close()
    assert version(settings.database) == "9999"
    assert rows(settings.database, "SELECT key FROM settings") == [("mine",)]
    (copy,) = (settings.home / "backups").iterdir()
    assert copy.name.startswith("before-9999-")
    assert version(copy) == HEAD
    assert rows(copy, "SELECT key FROM settings") == [("mine",)]


def test_a_home_of_the_first_release_keeps_its_runs(settings):
    settings.home.mkdir()
    upgraded(settings.database, "0001")
    raw = sqlite3.connect(settings.database)
    raw.execute(
        "INSERT INTO runs (id, name, state, detail, source, config, tags, notes, created_at, updated_at, step, steps, telemetry)"
        " VALUES (1, 'mine', 'finished', '', 'worker', '{}', '[]', '', 0, 0, 5, 5, '{}')"
    )
    raw.commit()
    raw.close()
    open_database(settings).close()
    assert rows(settings.database, "SELECT name, fork_checkpoint_id FROM runs") == [("mine", None)]


def test_an_upgrade_that_fails_leaves_the_database_as_it_was_and_says_so(settings, later_revision):
    open_database(settings).close()
    later_revision("op.execute('INSERT INTO nowhere VALUES (1)')")
    with pytest.raises(migrate.UpgradeFailed, match="is as it was"):
        open_database(settings)
    assert version(settings.database) == HEAD
    assert rows(settings.database, "SELECT name FROM sqlite_master WHERE name = 'added'") == []
    later_revision()
    open_database(settings).close()  # the lock was let go
    assert version(settings.database) == "9999"


KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from app.migrate import open_database
from app.settings import Settings
left = int(sys.argv[2])
@event.listens_for(Engine, "before_cursor_execute")
def count(connection, cursor, statement, *rest):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
open_database(Settings(home=Path(sys.argv[1])))
"""


@pytest.mark.parametrize("statement", [2, 8, 20, 30])
def test_a_kill_while_a_new_database_is_made_is_mended_by_starting_again(settings, statement):
    killed = subprocess.run([sys.executable, "-c", KILLED, settings.home, str(statement)], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert rows(settings.database, "SELECT count(*) FROM sqlite_master") == [(0,)]
    open_database(settings).close()
    assert version(settings.database) == migrate.HEAD


def test_a_kill_in_the_middle_of_a_later_upgrade_is_mended_by_starting_again(settings, later_revision):
    open_database(settings).close()
    later_revision("import os; os.kill(os.getpid(), 9) if os.environ.get('KILL') else None")
    code = (
        "import sys; from pathlib import Path; from app import migrate; from app.settings import Settings;"
        "migrate.HEAD = '9999'; migrate.assets = lambda: Path(sys.argv[2]);"
        "migrate.open_database(Settings(home=Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", code, settings.home, migrate.assets()]
    assert subprocess.run(command, env={"KILL": "1"}, timeout=60).returncode == -signal.SIGKILL
    assert version(settings.database) == HEAD
    open_database(settings).close()
    assert version(settings.database) == "9999"


def test_a_second_server_is_refused_and_told_who_holds_the_file(settings):
    database = open_database(settings)
    with pytest.raises(migrate.DatabaseInUse, match=r"Another Plateau server \(process \d+\) uses .*PLATEAU_HOME"):
        open_database(settings)
    database.close()
    open_database(settings).close()


def test_a_database_of_a_newer_program_is_left_alone(settings):
    open_database(settings).close()
    raw = sqlite3.connect(settings.database)
    raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.commit()
    raw.close()
    with pytest.raises(migrate.DatabaseTooNew, match=r"9999.*install that version"):
        open_database(settings)
    assert version(settings.database) == "9999"


@pytest.mark.parametrize("content", [b"garbage\n" * 1000, b"x", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_refused_and_kept(settings, content):
    settings.home.mkdir()
    settings.database.write_bytes(content)
    with pytest.raises(migrate.NotADatabase, match="move it away"):
        open_database(settings)
    assert settings.database.read_bytes() == content


def test_another_programs_database_is_refused(settings):
    settings.home.mkdir()
    raw = sqlite3.connect(settings.database)
    raw.execute("CREATE TABLE theirs (v)")
    raw.close()
    with pytest.raises(migrate.NotADatabase, match="not a Plateau database"):
        open_database(settings)


def test_a_home_that_cannot_be_made_is_named_with_the_way_out(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(migrate.HomeNotWritable, match=r"cannot write to .*file/home.*PLATEAU_HOME"):
        open_database(Settings(home=tmp_path / "file" / "home"))


def test_a_home_with_unusual_characters_works(tmp_path):
    home = tmp_path / "50% off? it's #1 — ünïcode"
    open_database(Settings(home=home)).close()
    assert version(home / "plateau.db") == migrate.HEAD
