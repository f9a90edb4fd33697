"""Who may do what: sign-ins, their sessions, and the check that every function makes at the moment it is called.

A session's token is 256 random bits, kept as its SHA-256 (moderation/db/keys.py says why that is enough). What a page
or a cookie believes counts for nothing: role, expiry and whether the reviewer still exists are read here each time.
"""

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from sqlalchemy import Connection, Engine, Row, delete, func, insert, select

from moderation.db.database import begin_exclusive
from moderation.db.review_models import AuditEntry, Reviewer, ReviewSession
from moderation.errors import ForbiddenError, OverQuotaError, UnauthorizedError
from moderation.review import audit
from moderation.review.passwords import verify_password

Role = Literal["viewer", "reviewer", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""Each may do what those before it may."""
LOCAL = "local"
SESSION_LIFE = timedelta(hours=12)
MAX_FAILURES, FAILURES_WITHIN = 5, timedelta(minutes=15)
_SIGN_IN, _REFUSED = "sign-in", "sign-in refused"
_WRONG = "name and password do not fit"


@dataclass(frozen=True)
class Session:
    """A sign-in. ``role`` is what it was then, for the page to show; what counts is read from the database."""

    token: str = field(repr=False)
    reviewer: str
    role: Role
    expires_at: datetime


def sign_in(engine: Engine, name: str, password: str, now: datetime) -> Session:
    """Open a session for whoever knows the password.

    Raises:
        UnauthorizedError: no such reviewer, a wrong password, or an account that is disabled or has expired; it is
            not said which.
        OverQuotaError: `MAX_FAILURES` wrong passwords within `FAILURES_WITHIN`.
    """
    with engine.begin() as connection:
        begin_exclusive(connection)
        found = connection.execute(select(Reviewer.__table__).where(Reviewer.name == name)).one_or_none()
        if found is not None and _failures(connection, name, now) >= MAX_FAILURES:
            seconds = int(FAILURES_WITHIN.total_seconds())
            raise OverQuotaError(f"too many wrong passwords; try again in {seconds // 60} minutes", seconds)
    fits = verify_password(None if found is None else found.password_hash, password)  # slow: in no transaction
    with engine.begin() as connection:
        if found is not None and fits and _holds(found, now):
            return _open(connection, found, now, _SIGN_IN)
        if found is not None:  # the names of others are not kept: people type passwords there
            audit.write(connection, now, name, _REFUSED, "password")
    raise UnauthorizedError(_WRONG)


def session_for_identity(engine: Engine, email: str, now: datetime) -> Session:
    """Open a session for an e-mail address that an identity provider has verified.

    Raises:
        ForbiddenError: it is no reviewer's, or the reviewer is disabled or has expired.
    """
    with engine.begin() as connection:
        query = select(Reviewer.__table__).where(Reviewer.email == email.strip().lower())
        found = connection.execute(query).one_or_none()
        if found is None or not _holds(found, now):
            raise ForbiddenError(
                "this address is no reviewer's; an admin can add it with `moderation reviewers add NAME --email`"
            )
        return _open(connection, found, now, "sign-in by identity")


def local_session(engine: Engine, now: datetime) -> Session:
    """Open a session for whoever sits at this machine, an admin; for pages that answer loopback alone.

    Raises:
        ForbiddenError: there are accounts, so people sign in.
    """
    with engine.begin() as connection:
        begin_exclusive(connection)
        rows = connection.execute(select(Reviewer.__table__)).all()
        if any(row.name != LOCAL and _holds(row, now) for row in rows):
            raise ForbiddenError("there are reviewers with accounts: sign in")
        if not rows or all(row.name != LOCAL for row in rows):
            connection.execute(insert(Reviewer).values(name=LOCAL, role="admin", created_at=now))
            audit.write(connection, now, LOCAL, "add reviewer", LOCAL)
        row = connection.execute(select(Reviewer.__table__).where(Reviewer.name == LOCAL)).one()
        if not _holds(row, now):
            raise ForbiddenError(f"reviewer {LOCAL} is disabled")
        return _open(connection, row, now, "sign-in without password")


def resume(engine: Engine, token: str, now: datetime) -> Session:
    """Return the session of a token, as it is now.

    Raises:
        UnauthorizedError, ForbiddenError: as `require`.
    """
    with engine.connect() as connection:
        found = _account(connection, token, now)
    return Session(token, found.name, found.role, found.ends_at)


def sign_out(engine: Engine, session: Session, now: datetime) -> None:
    """End a session; one that has ended already stays so."""
    with engine.begin() as connection:
        gone = delete(ReviewSession).where(ReviewSession.token_hash == _hash(session.token))
        if connection.execute(gone).rowcount:
            audit.write(connection, now, session.reviewer, "sign-out", session.reviewer)


def require(connection: Connection, session: Session, role: Role, now: datetime) -> str:
    """Return the reviewer's name if, at this moment, the session may do what ``role`` may.

    Raises:
        UnauthorizedError: the session has ended.
        ForbiddenError: the reviewer is disabled, has expired, or has a lesser role.
    """
    found = _account(connection, session.token, now)
    if ROLES.index(found.role) < ROLES.index(role):
        raise ForbiddenError(f"reviewer {found.name} has role {found.role}; this needs {role}")
    name: str = found.name
    return name


def is_admin(connection: Connection, name: str) -> bool:
    """Return whether a reviewer is an admin."""
    return connection.scalar(select(Reviewer.role).where(Reviewer.name == name)) == "admin"


def _account(connection: Connection, token: str, now: datetime) -> Row[Any]:
    query = (
        select(Reviewer.__table__, ReviewSession.expires_at.label("ends_at"))
        .join(ReviewSession, ReviewSession.reviewer == Reviewer.name)
        .where(ReviewSession.token_hash == _hash(token))
    )
    found = connection.execute(query).one_or_none()
    if found is None or found.ends_at <= now:
        raise UnauthorizedError("the session has ended; sign in again")
    if not _holds(found, now):
        raise ForbiddenError(f"reviewer {found.name} is disabled or has expired")
    return found


def _holds(row: Row[Any], now: datetime) -> bool:
    return row.disabled_at is None and (row.expires_at is None or now < row.expires_at)


def _open(connection: Connection, row: Row[Any], now: datetime, action: str) -> Session:
    token, expires_at = secrets.token_urlsafe(32), now + SESSION_LIFE
    connection.execute(delete(ReviewSession).where(ReviewSession.expires_at <= now))
    values = {"token_hash": _hash(token), "reviewer": row.name, "created_at": now, "expires_at": expires_at}
    connection.execute(insert(ReviewSession).values(values))
    audit.write(connection, now, row.name, action, row.name)
    return Session(token, row.name, row.role, expires_at)


def _failures(connection: Connection, name: str, now: datetime) -> int:
    """Count wrong passwords of late, but none from before the last right one."""
    signed_in = select(func.max(AuditEntry.at)).where(AuditEntry.reviewer == name, AuditEntry.action == _SIGN_IN)
    since = max(now - FAILURES_WITHIN, connection.scalar(signed_in) or now - FAILURES_WITHIN)
    mine = (AuditEntry.reviewer == name, AuditEntry.action == _REFUSED, AuditEntry.at > since)
    return connection.scalar(select(func.count()).where(*mine)) or 0


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
