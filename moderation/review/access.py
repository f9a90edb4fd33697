"""Who may do what: sign-ins, their sessions, and the check that every function makes at the moment it is called.

A session's token is 256 random bits, kept as its SHA-256 (moderation/db/keys.py says why that is enough). What a page
or a cookie believes counts for nothing: role, expiry and whether the reviewer still exists are read here each time.
A session that is ended early is kept until it would have ended: so what an identity provider once said, which a cookie
repeats for weeks, opens one session and no second one (docs/adr/0014-who-is-signed-in.md).
"""

import hashlib
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Connection, Engine, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

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
_TRIED, _SIGN_IN, _REFUSED = "sign-in tried", "sign-in", "sign-in refused"
_WRONG = "name and password do not fit"


@dataclass(frozen=True)
class Session:
    """A sign-in. ``role`` is what it was then, for the page to show; what counts is read from the database."""

    token: str = field(repr=False)
    reviewer: str
    role: Role
    expires_at: datetime


@dataclass(frozen=True)
class Identity:
    """Who an identity provider says that somebody is: a verified ``email``, said ``at`` that moment.

    ``proof`` is of this one sign-in there and cannot be guessed (it holds the provider's nonce).
    """

    email: str
    proof: str = field(repr=False)
    at: datetime


def sign_in(engine: Engine, name: str, password: str, now: datetime) -> Session:
    """Open a session for whoever knows the password.

    Raises:
        UnauthorizedError: no such reviewer, a wrong password, or an account that is disabled or has expired; it is
            not said which.
        OverQuotaError: `MAX_FAILURES` wrong passwords within `FAILURES_WITHIN`, those that are being tried among them.
    """
    with engine.begin() as connection:
        begin_exclusive(connection, f"sign-in {name}")
        found = connection.execute(select(Reviewer.__table__).where(Reviewer.name == name)).one_or_none()
        if found is not None:
            if _tries(connection, name, now) >= MAX_FAILURES:
                seconds = int(FAILURES_WITHIN.total_seconds())
                raise OverQuotaError(f"too many wrong passwords; try again in {seconds // 60} minutes", seconds)
            # Counted before it is looked at: else all that come at once would find that there is room.
            audit.write(connection, now, name, _TRIED, "password")
    fits = verify_password(None if found is None else found.password_hash, password)  # slow: in no transaction
    with engine.begin() as connection:
        if found is not None and fits and _holds(found, now):
            return _open(connection, found, now, _SIGN_IN)
        if found is not None:  # the names of others are not kept: people type passwords there
            audit.write(connection, now, name, _REFUSED, "password")
    raise UnauthorizedError(_WRONG)


def session_for_identity(engine: Engine, identity: Identity, now: datetime) -> Session:
    """Return the session of one sign-in at an identity provider, which ends `SESSION_LIFE` after it.

    Raises:
        ForbiddenError: the address is no reviewer's, or the reviewer is disabled or has expired.
        UnauthorizedError: the session has ended, also by `sign_out`; the provider has to be asked again.
    """
    with engine.connect() as connection:
        query = select(Reviewer.__table__).where(Reviewer.email == identity.email.strip().lower())
        found = connection.execute(query).one_or_none()
    if found is None or not _holds(found, now):
        raise ForbiddenError(
            "this address is no reviewer's; an admin can add it with `moderation reviewers add NAME --email`"
        )
    token, since = _hash(f"{found.name} {identity.proof}"), min(identity.at, now)
    if now < since + SESSION_LIFE:
        with suppress(IntegrityError), engine.begin() as connection:  # there is one already, ended or not
            return _open(connection, found, now, "sign-in by identity", token, since)
    return resume(engine, token, now)


def local_session(engine: Engine, now: datetime) -> Session:
    """Open a session for whoever sits at this machine, an admin; for pages that answer loopback alone.

    Raises:
        ForbiddenError: there are accounts, if only disabled ones, so people sign in.
    """
    with engine.begin() as connection:
        begin_exclusive(connection)
        rows = connection.execute(select(Reviewer.__table__)).all()
        # Disabled ones as well: whoever is shut out of his account must not come in as an admin.
        if any(row.name != LOCAL for row in rows):
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
        if end_sessions(connection, ReviewSession.token_hash == _hash(session.token), now):
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


def end_sessions(connection: Connection, which: ColumnElement[bool], now: datetime) -> int:
    """End the sessions that ``which`` is true of and that have not ended; return how many."""
    ended = update(ReviewSession).where(which, ReviewSession.expires_at > now).values(expires_at=now)
    return connection.execute(ended).rowcount


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


def _open(
    connection: Connection,
    row: Row[Any],
    now: datetime,
    action: str,
    token: str | None = None,
    since: datetime | None = None,
) -> Session:
    token, since = token or secrets.token_urlsafe(32), since or now
    expires_at = since + SESSION_LIFE
    connection.execute(delete(ReviewSession).where(ReviewSession.created_at <= now - SESSION_LIFE))
    values = {"token_hash": _hash(token), "reviewer": row.name, "created_at": since, "expires_at": expires_at}
    connection.execute(insert(ReviewSession).values(values))
    audit.write(connection, now, row.name, action, row.name)
    return Session(token, row.name, row.role, expires_at)


def _tries(connection: Connection, name: str, now: datetime) -> int:
    """Count passwords tried of late, but none from before the last right one."""
    signed_in = select(func.max(AuditEntry.at)).where(AuditEntry.reviewer == name, AuditEntry.action == _SIGN_IN)
    since = max(now - FAILURES_WITHIN, connection.scalar(signed_in) or now - FAILURES_WITHIN)
    mine = (AuditEntry.reviewer == name, AuditEntry.action == _TRIED, AuditEntry.at > since)
    return connection.scalar(select(func.count()).where(*mine)) or 0


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
