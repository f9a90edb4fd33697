import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, text

from moderation.db.database import connect, describe, migrate, require_current
from moderation.db.models import Base
from moderation.errors import ConfigurationError, UnavailableError

REPOSITORY = Path(__file__).parents[3]
MIGRATE = "import sys; from moderation.db.database import connect, migrate; migrate(connect(sys.argv[1]))"


def test_a_migrated_database_is_current_and_migrating_it_again_changes_nothing(engine: Engine) -> None:
    require_current(engine)
    migrate(engine)
    require_current(engine)
    found = {name for name in inspect(engine).get_table_names() if not name[-1].isdigit() and "default" not in name}
    assert found == {"alembic_version", *Base.metadata.tables}


def test_an_empty_database_is_refused_and_the_command_named(database_url: str) -> None:
    engine = connect(database_url)
    with pytest.raises(ConfigurationError, match=r"^database is at revision none, this release needs \d+: run `moder"):
        require_current(engine)
    engine.dispose()


def test_a_database_behind_is_refused_and_the_command_named(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM alembic_version"))
    advice = "run `moderation migrate`, and `moderation registry seed`"
    with pytest.raises(ConfigurationError, match=rf"^database is at revision none.*: {advice}"):
        require_current(engine)


@pytest.mark.parametrize("step", [require_current, migrate])
def test_a_newer_release_that_does_not_say_who_may_work_on_its_tables_is_refused(engine: Engine, step: type) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999', oldest = NULL"))
    with pytest.raises(ConfigurationError, match="at revision 9999, which this release does not know") as caught:
        step(engine)
    assert "\n" not in str(caught.value)


def test_a_migration_that_fails_leaves_nothing_behind(database_url: str) -> None:
    engine = connect(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE versions (version TEXT)"))
    with pytest.raises(Exception, match="versions"):
        migrate(engine)
    assert inspect(engine).get_table_names() == ["versions"]
    engine.dispose()


def test_processes_that_migrate_at_once_all_succeed(database_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATE, database_url],
            cwd=REPOSITORY,
            env={"PATH": os.environ["PATH"]},
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outcomes = [(process.communicate(timeout=120)[1], process.returncode) for process in processes]
    assert outcomes == [("", 0)] * 2
    engine = connect(database_url)
    require_current(engine)
    engine.dispose()


def test_sqlite_makes_its_folder_and_keeps_a_write_ahead_log(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'new' / 'folder' / 'moderation.db'}")
    with pytest.raises(ConfigurationError, match="is at revision none"):
        require_current(engine)
    assert not (tmp_path / "new").exists()  # to look makes nothing
    migrate(engine)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000
    engine.dispose()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"^cannot make the database's folder .*file/folder: Not a "):
        migrate(connect(f"sqlite:///{tmp_path / 'file' / 'folder' / 'moderation.db'}"))


def test_a_database_that_cannot_be_opened_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "moderation.db").mkdir()  # what a folder that cannot be read looks like to the superuser too
    engine = connect(f"sqlite:///{tmp_path / 'moderation.db'}")
    with pytest.raises(UnavailableError, match=r"unable to open database file; check MODERATION_STATE_DIR$"):
        require_current(engine)


@pytest.mark.parametrize("step", [require_current, migrate])
def test_a_file_that_is_no_database_is_one_clear_line(tmp_path: Path, step: type) -> None:
    path = tmp_path / "moderation.db"
    path.write_text("not a database, but long enough to be looked at" * 50)
    engine = connect(f"sqlite:///{path}")
    with pytest.raises(UnavailableError, match=rf"^cannot use database sqlite:///{path}: file is not a database$"):
        step(engine)
    engine.dispose()


def test_a_locked_sqlite_database_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "moderation.db"
    engine = connect(f"sqlite:///{path}?timeout=0.1")
    migrate(engine)
    with sqlite3.connect(path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match=r"^cannot use database .*: database is locked$"):
            migrate(engine)
    other.close()
    engine.dispose()


@pytest.mark.parametrize("step", [require_current, migrate])
def test_a_server_that_is_down_is_one_clear_line_without_the_password(step: type) -> None:
    engine = connect("postgresql://me:secret@127.0.0.1:1/moderation")
    with pytest.raises(UnavailableError) as caught:
        step(engine)
    message = str(caught.value)
    assert message.startswith("cannot use database postgresql://me@127.0.0.1:1/moderation: connection")
    assert message.endswith("Connection refused; start it, or correct MODERATION_DATABASE_URL")
    assert "secret" not in message
    engine.dispose()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2", "postgresql+asyncpg"])
def test_every_way_to_write_a_postgresql_url_means_the_driver_that_is_installed(scheme: str) -> None:
    assert connect(f"{scheme}://me:secret@host/name").url.drivername == "postgresql+psycopg2"


@pytest.mark.parametrize(
    ("url", "described"),
    [
        ("sqlite:////var/moderation.db", "sqlite:////var/moderation.db"),
        ("postgresql+psycopg2://me:secret@host:5432/name", "postgresql://me@host:5432/name"),
        ("postgresql://host/name?user=me&password=secret", "postgresql://host/name"),
    ],
)
def test_a_database_is_described_without_its_password(url: str, described: str) -> None:
    assert describe(url) == described


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "cannot be read"),
        ("me:secret@host", "cannot be read"),
        ("postgresql://me:secret@host:port/name", "cannot be read"),
        ("postgresql://me:half@secret@host/name", "cannot be read"),
        ("sqlite://", "names no SQLite file"),
        ("sqlite:///:memory:", "names no SQLite file"),
        ("mysql://me:secret@host/name", "is for mysql"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_repeating_it(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        connect(url)
    assert "secret" not in str(caught.value)
