"""Connecting to the database and bringing its tables to this release's revision.

SQLite (embedded, one machine) and PostgreSQL behave alike from here on: bounded waits, UTC, UTF-8, and
`UnavailableError` with one line whenever the database cannot be used.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, inspect, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError

from moderation.errors import ConfigurationError, UnavailableError

T = TypeVar("T")
Progress = Callable[[Iterator[T], int], Iterator[T]]
"""Shows how far an iteration over so many items is, and gives them on."""
CONNECT_TIMEOUT_S = 5
LOCK_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 30
SQLITE_BUSY_TIMEOUT_S = 30
SQLITE_STATEMENTS = 16
"""Kept compiled per connection. Each number of rows is an insert of its own; Python's 128 of them hold 20 MB."""
MIGRATION_WAIT_S = 600
"""How long one migration waits for another that runs on the same PostgreSQL database."""
ADVISORY_LOCK = 0x6D6F6465
"""What they wait for: any number that no other program on the database is likely to use."""
ERASURE_LOCK, ROLLUP_LOCK, TURN_LOCK = ADVISORY_LOCK + 1, ADVISORY_LOCK + 2, ADVISORY_LOCK + 3


def connect(url: str, variable: str = "MODERATION_DATABASE_URL") -> Engine:
    """Return an engine for ``url`` (``sqlite:///file`` or ``postgresql://…``); nothing is connected or made yet.

    ``variable`` is where it was read, for messages.

    Raises:
        ConfigurationError: not a URL of a SQLite file or a PostgreSQL database.
    """
    parsed = _parse(url)
    engine = _sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed)
    where = describe(url)

    @event.listens_for(engine, "handle_error")
    def report(context: ExceptionContext) -> None:
        # A failed ping is the pool's own business: it connects again.
        if not context.is_pre_ping and _means_unavailable(context.sqlalchemy_exception):
            error = context.original_exception
            raise UnavailableError(
                f"cannot use database {where}: {_first_line(error)}{_advice(context, error, variable)}"
            )

    return engine


def describe(url: str) -> str:
    """Return ``url`` without password and parameters, for messages and logs."""
    parsed = _parse(url)
    kept = URL.create(parsed.get_backend_name(), parsed.username, None, parsed.host, parsed.port, parsed.database)
    return kept.render_as_string()


def migrate(engine: Engine, progress: Progress[Any] = lambda items, _: items) -> bool:
    """Bring the tables to this release's revision, all of it or nothing; processes that do so at once take turns.

    ``progress`` gets what takes long: the existing rows that a migration reads, and their number.

    Returns:
        Whether they are at it now; if not, they are at a newer one on which this release works, and stay there.

    Raises:
        ConfigurationError: a newer release migrated the database, and this one no longer works on it; or it is not in
            UTF-8; or SQLite's folder cannot be made.
        UnavailableError: it cannot be reached, or a lock was not got in time.
    """
    if (file := _sqlite_file(engine)) is not None:
        _make_folder(file.parent)
    with engine.begin() as connection:
        _take_turn(connection)
        if _is_newer(connection):
            return False
        config = _config()
        config.attributes.update(connection=connection, progress=progress)
        command.upgrade(config, "head")
        _note_oldest(connection)
    return True


def begin_writing(connection: Connection) -> None:
    """Begin a transaction that an erasure waits for, or that waits for it; nothing is done in one that has begun so."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock_shared({ERASURE_LOCK})")
    elif not connection.connection.dbapi_connection.in_transaction:  # type: ignore[union-attr]
        # The driver would begin only before the first INSERT, after what is asked before it.
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def begin_reading(connection: Connection) -> None:
    """Begin a transaction whose queries all see the database as it is now; called first."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    else:
        connection.exec_driver_sql("BEGIN")


def begin_exclusive(connection: Connection, turn: str | None = None) -> None:
    """Begin a transaction that reads before it writes; on SQLite it alone may write, PostgreSQL locks row by row.

    On PostgreSQL those with the same ``turn`` follow each other.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif turn is not None:
        connection.execute(text(f"SELECT pg_advisory_xact_lock({TURN_LOCK}, hashtext(:turn))"), {"turn": turn})


def lift_time_limit(connection: Connection) -> None:
    """Let the statements of this transaction take as long as they need; waits for locks stay bounded."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")


def forget_deleted(engine: Engine) -> None:
    """Take what was deleted out of SQLite's write-ahead log too; PostgreSQL's vacuum does the like in its own time."""
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def require_current(engine: Engine) -> None:
    """Make sure that the tables are at this release's revision, or at a newer one on which it works.

    Makes nothing: a SQLite file that is not there stays so, for a folder with one is not new.

    Raises:
        ConfigurationError: they are not; the message says what to do.
        UnavailableError: the database cannot be reached.
    """
    found, file = None, _sqlite_file(engine)
    if file is None or file.exists():
        with engine.connect() as connection:
            if _is_newer(connection):
                return
            found = MigrationContext.configure(connection).get_current_revision()
    needed = ScriptDirectory.from_config(_config()).get_current_head()
    if found != needed:
        new = (
            ", and `moderation registry seed` where the registry is new as well "
            "(`moderation up`, and `moderation serve` in an empty state folder, do both)"
        )
        raise ConfigurationError(
            f"database is at revision {found or 'none'}, this release needs {needed}: run `moderation migrate`"
            f"{new if found is None else ''}"
        )


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or "@" in (parsed.host or ""):
        # Never repeated: it may hold a password.
        raise ConfigurationError(
            "database URL cannot be read; expected postgresql://user:password@host/name, with @ : / % written as %40 …"
        )
    if parsed.get_backend_name() == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise ConfigurationError("database URL names no SQLite file; expected sqlite:///path/to/file.db")
        return parsed.set(drivername="sqlite+pysqlite")
    if parsed.get_backend_name() in ("postgresql", "postgres"):
        # The plain scheme would mean whichever driver SQLAlchemy prefers, and since 2.1 that is another one.
        return parsed.set(drivername="postgresql+psycopg2")
    raise ConfigurationError(
        f"database URL is for {parsed.get_backend_name()}; this release works with sqlite and postgresql"
    )


def _sqlite(url: URL) -> Engine:
    # hide_parameters: messages of the driver would hold the comments.
    url = _with_defaults(url, timeout=SQLITE_BUSY_TIMEOUT_S, cached_statements=SQLITE_STATEMENTS)
    engine = create_engine(url, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _: object) -> None:
        cursor = connection.cursor()
        _write_ahead(cursor)
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA secure_delete = ON")  # what is erased is overwritten in the file
        cursor.close()

    return engine


def _sqlite_file(engine: Engine) -> Path | None:
    return Path(str(engine.url.database)) if engine.dialect.name == "sqlite" else None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"cannot make the database's folder {folder}: {error.strerror}; check MODERATION_STATE_DIR"
        ) from error


def _write_ahead(cursor: DBAPICursor) -> None:
    """Switch to a write-ahead log; SQLite's busy timeout does not cover two processes that switch at once."""
    give_up = time.monotonic() + SQLITE_BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.01)


def _postgresql(url: URL) -> Engine:
    # tcp_user_timeout (ms): a host that vanishes without a word is noticed then, and not after two hours.
    patient_ms = STATEMENT_TIMEOUT_S * 1000
    url = _with_defaults(url, connect_timeout=CONNECT_TIMEOUT_S, client_encoding="utf8", tcp_user_timeout=patient_ms)
    engine = create_engine(url, hide_parameters=True, pool_pre_ping=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _: object) -> None:
        # Not as libpq "options": those would replace the options in a user's URL.
        cursor = connection.cursor()
        cursor.execute(f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'; SET statement_timeout = '{STATEMENT_TIMEOUT_S}s'")
        cursor.execute("SET timezone = 'UTC'")
        cursor.close()
        connection.commit()

    return engine


def _with_defaults(url: URL, **parameters: object) -> URL:
    return url.set(query={name: str(value) for name, value in parameters.items()} | dict(url.query))


def _advice(context: ExceptionContext, error: BaseException, variable: str) -> str:
    if context.connection is None and context.dialect.name == "postgresql":
        return f"; start it, or correct {variable}"
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF  # the rest says more of the same
    return "; check MODERATION_STATE_DIR" if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY) else ""


def _means_unavailable(error: BaseException | None) -> bool:
    # The bare DatabaseError is SQLite's for a file that is damaged or no database.
    return isinstance(error, OperationalError | InterfaceError) or type(error) is DatabaseError


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _take_turn(connection: Connection) -> None:
    """Hold a lock on the whole database until the transaction ends, and bound the waits for other locks."""
    if connection.dialect.name == "sqlite":
        # Explicitly: the driver would begin a transaction only before INSERT and its like, not before CREATE TABLE.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        return
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        raise ConfigurationError(f"database has encoding {encoding}; create it with ENCODING 'UTF8'")
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '{MIGRATION_WAIT_S}s'")
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
    # Waiting for a table's lock stops everyone behind: give up soon, the service runs on, and try again later.
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'")


def _is_newer(connection: Connection) -> bool:
    """Return whether a newer release migrated the tables, which says that this one still works on them.

    Raises:
        ConfigurationError: it says that this one does not, or nothing.
    """
    scripts = ScriptDirectory.from_config(_config())
    known = {script.revision for script in scripts.walk_revisions()}
    unknown = [it for it in MigrationContext.configure(connection).get_current_heads() if it not in known]
    if not unknown:
        return False
    oldest, own = _oldest(connection), str(scripts.get_current_head())
    if oldest is not None and int(oldest) <= int(own):
        return True
    bound = "" if oldest is None else f" for releases from revision {oldest} on, this one is of {own}"
    raise ConfigurationError(
        f"database is at revision {unknown[0]}, which this release does not know: "
        f"a newer release migrated it{bound}; run that one or restore a backup"
    )


def _oldest(connection: Connection) -> str | None:
    """Return the revision of the oldest release that works on the tables; None: they do not say."""
    if not _says_oldest(connection):
        return None
    found: str | None = connection.execute(text("SELECT oldest FROM alembic_version")).scalar_one()
    return found


def _note_oldest(connection: Connection) -> None:
    """Keep beside the revision what its migration states as ``oldest``; one that states nothing is for itself alone."""
    if not _says_oldest(connection):
        # Here and not in a migration: it is no table of this release's, and its rights are there already.
        connection.execute(text("ALTER TABLE alembic_version ADD COLUMN oldest VARCHAR(32)"))
    head = ScriptDirectory.from_config(_config()).get_revision("head")
    oldest = getattr(head.module, "oldest", head.revision)
    connection.execute(text("UPDATE alembic_version SET oldest = :oldest"), {"oldest": oldest})


def _says_oldest(connection: Connection) -> bool:
    return any(column["name"] == "oldest" for column in inspect(connection).get_columns("alembic_version"))


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config
