"""Which process may do what in PostgreSQL: one role for each, with no more than it needs.

The roles cannot log in and have no password: an account of the process is made a member of its role. Migrations run
as the owner of the tables, in none of these roles.
"""

from collections.abc import Iterator

import psycopg2.extensions
from sqlalchemy import Connection, text

from moderation.db.base import Base
from moderation.db.erasure import NOTHING
from moderation.db.models import SCORE_COLUMNS
from moderation.errors import InvalidInputError

ROLES = ("api", "monitor", "tools")

_READ = ("SELECT",)
_CHANGE = ("SELECT", "INSERT", "UPDATE", "DELETE")
# RETURNING and ON CONFLICT read the key of what is inserted.
_LOG = ("INSERT", "SELECT (created_at, id)")
_API: dict[str, tuple[str, ...]] = {
    # Feedback is held against the scores that were answered.
    "predictions": (*_LOG, f"SELECT (version, {', '.join(column.key for column in SCORE_COLUMNS.values())})"),
    "shadow_predictions": _LOG,
    "feedback": _LOG,
    "failures": _LOG,
    "rollups": ("SELECT", "INSERT", "UPDATE"),
    "erasures": ("SELECT", "INSERT", "UPDATE"),  # what comes late of an erased author is listed by its id
    "versions": ("SELECT", "INSERT", "UPDATE"),
    "api_keys": ("SELECT", "UPDATE (last_used_at)"),
    "quota_minutes": _CHANGE,
}
_HIDDEN_FROM_MONITOR = ("api_keys", "quota_minutes")
# People sign in, review and ask for jobs in the monitor; accounts are the operator's.
_MONITOR: dict[str, tuple[str, ...]] = {
    "review_items": ("SELECT", "INSERT", "UPDATE (state, labels, closed_at)"),
    "reviews": ("SELECT", "INSERT", "UPDATE"),
    "review_sessions": ("SELECT", "INSERT", "UPDATE (expires_at)", "DELETE"),
    "audit_log": ("SELECT", "INSERT"),
    "jobs": ("SELECT", "INSERT", "UPDATE (cancelled_at)"),
    # Admins erase texts there.
    "predictions": ("SELECT", f"UPDATE ({', '.join(NOTHING)})"),
    "feedback": ("SELECT", "DELETE"),
    "erasures": ("SELECT", "INSERT", "UPDATE"),
}
_ONLY_ADDED_TO = ("audit_log",)
# The driver writes values into its statements, comments among them, and the server logs the statement of an error.
_LOG_NO_STATEMENTS = (
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET log_min_error_statement = panic', current_database()); "
    "EXCEPTION WHEN insufficient_privilege THEN RAISE WARNING "
    "'not allowed to set log_min_error_statement = panic: comments can get into the log of PostgreSQL'; END $$"
)


def statements(prefix: str = "moderation") -> Iterator[str]:
    """Yield SQL that makes the roles ``<prefix>_api``, … and gives them exactly their rights; it can be run again.

    Sessions that begin afterwards leave no statement in the server's log, where a superuser runs it.
    """
    yield _LOG_NO_STATEMENTS
    tables = sorted(Base.metadata.tables)
    for role in ROLES:
        name = f"{prefix}_{role}"
        yield (
            f"DO $$ BEGIN CREATE ROLE {name} NOLOGIN; "
            f"EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )
        yield f"REVOKE ALL ON {', '.join((*tables, 'alembic_version'))} FROM {name}"
        yield f"GRANT SELECT ON alembic_version TO {name}"
        for table in tables:
            if rights := rights_on(table, role):
                yield f"GRANT {', '.join(rights)} ON {table} TO {name}"


def make_account(connection: Connection, role: str, name: str, password: str, prefix: str = "moderation") -> None:
    """Make an account that can log in as a member of ``role``, one of `ROLES`, or give it this password.

    The server gets a verifier of the password and not the password, which its log could keep. The caller commits.

    Raises:
        InvalidInputError: there is no such role, or ``name`` is the account that does this, the tables' owner.
    """
    if role not in ROLES:
        raise InvalidInputError(f"role is {role!r}; expected {', '.join(ROLES)}")
    if name == connection.execute(text("SELECT current_user")).scalar_one():
        raise InvalidInputError(f"{name!r} is the owner of the tables; expected an account of its own for {role}")
    driver = connection.connection.driver_connection
    verifier = psycopg2.extensions.encrypt_password(password, name, scope=driver)
    known = connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": name}).first()
    account = connection.dialect.identifier_preparer.quote_identifier(name)
    connection.exec_driver_sql(f"{'ALTER' if known else 'CREATE'} ROLE {account} LOGIN PASSWORD %s", (verifier,))
    connection.exec_driver_sql(f"GRANT {prefix}_{role} TO {account}")


def rights_on(table: str, role: str) -> tuple[str, ...]:
    """Return what ``role``, one of `ROLES`, may do with ``table``."""
    if role == "tools":
        return ("SELECT", "INSERT") if table in _ONLY_ADDED_TO else _CHANGE
    if role == "monitor":
        return () if table in _HIDDEN_FROM_MONITOR else _MONITOR.get(table, _READ)
    return _API.get(table, ())
