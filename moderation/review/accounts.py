"""Accounts of reviewers, as `moderation reviewers` keeps them: for operators, who have the database anyway."""

import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from moderation.db.review_models import Reviewer, ReviewSession
from moderation.errors import InvalidInputError, NotFoundError
from moderation.review import audit
from moderation.review.access import LOCAL, ROLES, Role, end_sessions
from moderation.review.passwords import hash_password

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


@dataclass(frozen=True)
class Account:
    """A reviewer; ``has_password`` says whether he can sign in without an identity provider."""

    name: str
    role: Role
    email: str | None
    has_password: bool
    created_at: datetime
    expires_at: datetime | None
    disabled_at: datetime | None

    def holds(self, now: datetime) -> bool:
        """Return whether the account is neither disabled nor, at ``now``, expired."""
        return self.disabled_at is None and (self.expires_at is None or now < self.expires_at)


def check_name(name: str) -> None:
    """Refuse a name that no reviewer can have.

    Raises:
        InvalidInputError: other characters, or the name of the local reviewer.
    """
    if not _NAME.fullmatch(name) or name == LOCAL:
        raise InvalidInputError(
            f"reviewer's name is {name!r}; expected 1 to 64 letters, digits, '.', '_' or '-', and not {LOCAL!r}"
        )


def add(
    engine: Engine,
    account: tuple[str, str],
    now: datetime,
    by: str,
    email: str | None = None,
    password: str | None = None,
    expires_at: datetime | None = None,
) -> None:
    """Add the reviewer ``account`` (name and role), with a password, an e-mail address, or both.

    Raises:
        InvalidInputError: a name or address that is taken or unfit, an unknown role, neither address nor password, a
            password that is too short, or an expiry that is past.
    """
    name, role = account
    check_name(name)
    if role not in ROLES:
        raise InvalidInputError(f"role is {role!r}; expected one of {', '.join(ROLES)}")
    if email is None and password is None:
        raise InvalidInputError("a reviewer needs a password or an e-mail address to sign in with")
    if email is not None and not _EMAIL.fullmatch(email.strip()):
        raise InvalidInputError(f"e-mail address is {email!r}; expected name@host")
    if expires_at is not None and expires_at <= now:
        raise InvalidInputError(f"expiry is {expires_at:%Y-%m-%d %H:%M} UTC; expected a time to come")
    row = {
        "name": name,
        "role": role,
        "email": None if email is None else email.strip().lower(),
        "password_hash": None if password is None else hash_password(password),
        "created_at": now,
        "expires_at": expires_at,
    }
    try:
        with engine.begin() as connection:
            connection.execute(insert(Reviewer).values(row))
            audit.write(connection, now, by, f"add {role}", name)
    except IntegrityError:
        raise InvalidInputError(f"name {name!r} or its e-mail address is taken, if only by a disabled one") from None


def accounts(engine: Engine) -> list[Account]:
    """Return every reviewer, oldest first."""
    names = [name for name in Account.__dataclass_fields__ if name != "has_password"]
    columns = (Reviewer.__table__.c[name] for name in names)
    query = select(*columns, Reviewer.password_hash.is_not(None).label("has_password")).order_by(
        Reviewer.created_at, Reviewer.name
    )
    with engine.connect() as connection:
        return [Account(**row) for row in connection.execute(query).mappings()]


def disable(engine: Engine, name: str, now: datetime, by: str) -> None:
    """Disable a reviewer for good; his next call is refused, also in mid-session.

    Raises:
        NotFoundError: nobody has this name.
    """
    with engine.begin() as connection:
        _change(connection, name, {"disabled_at": now})
        audit.write(connection, now, by, "disable reviewer", name)


def set_password(engine: Engine, name: str, password: str, now: datetime, by: str) -> None:
    """Give a reviewer another password; whoever signed in with the old one is signed out.

    Raises:
        InvalidInputError: it is too short or too long.
        NotFoundError: nobody has this name.
    """
    check_name(name)
    password_hash = hash_password(password)
    with engine.begin() as connection:
        _change(connection, name, {"password_hash": password_hash})
        end_sessions(connection, ReviewSession.reviewer == name, now)
        audit.write(connection, now, by, "set password", name)


def _change(connection: Connection, name: str, values: dict[str, object]) -> None:
    if not connection.execute(update(Reviewer).where(Reviewer.name == name).values(values)).rowcount:
        raise NotFoundError(f"no reviewer is named {name!r}; `moderation reviewers list` shows those there are")
