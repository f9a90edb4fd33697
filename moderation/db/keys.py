"""API keys in the database: who may ask for what, and how much of it.

A key is ``mod_<id>_<secret>``: the id finds the row, the secret is 256 random bits that are shown once and kept
as their SHA-256. A slow hash such as argon2 protects secrets that people choose, by making each guess dear; nobody
guesses 256 bits, and a slow hash on every request would cost more than the scoring does.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from sqlalchemy import Connection, Engine, bindparam, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from moderation import clock
from moderation.db.models import ApiKey
from moderation.errors import InvalidInputError, NotFoundError

Scope = Literal["predict", "feedback", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
Registered = Literal["made", "replaced", "kept"]
MAX_QUOTA = 1_000_000_000
ANONYMOUS = "anonymous"
"""Who asks where no key is needed; no key can have this name."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKEN = re.compile(r"mod_([0-9a-f]{12})_([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True)
class Key:
    """What is known of a key; ``name`` is what the log knows its owner by, and stays that owner's."""

    id: str
    name: str
    secret_hash: str = field(repr=False)
    scopes: tuple[Scope, ...]
    quota_per_minute: int | None
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def holds(self, now: datetime) -> bool:
        """Return whether the key is neither revoked nor, at ``now``, expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True)
class Keys:
    """Every key, as the database had them at ``read_at`` by the database's clock."""

    read_at: datetime
    keys: tuple[Key, ...]


def create(
    connection: Connection,
    name: str,
    scopes: Sequence[Scope],
    quota_per_minute: int | None = None,
    expires_at: datetime | None = None,
) -> str:
    """Make a key and return it, the only time that it can be seen; the caller commits.

    Raises:
        InvalidInputError: the name is taken or unfit, there is no scope, or a bound is out of range.
    """
    key_id, secret = secrets.token_hex(6), secrets.token_hex(32)
    row = _row(connection, name, scopes, quota_per_minute, expires_at)
    try:
        connection.execute(insert(ApiKey).values(**row, id=key_id, secret_hash=hash_of(secret)))
    except IntegrityError:
        raise InvalidInputError(f"key name {name!r} is taken, if only by a revoked key; choose another") from None
    return f"mod_{key_id}_{secret}"


def register(
    connection: Connection,
    name: str,
    scopes: Sequence[Scope],
    token: str,
    quota_per_minute: int | None = None,
    expires_at: datetime | None = None,
) -> Registered:
    """Take ``token``, a key that was made elsewhere, in the place of the one that had this name; the caller commits.

    The same key stays as it is, so that this can be repeated; one that was revoked stays so. Another one gets what is
    given here, and holds: what was revoked was the key before.

    Raises:
        InvalidInputError: as `create` says, or ``token`` is no key, or its id is that of another name.
    """
    parts = split(token)
    if parts is None:  # never repeated
        raise InvalidInputError("that is no API key; expected mod_<12 hexadecimal digits>_<64 hexadecimal digits>")
    row = {
        **_row(connection, name, scopes, quota_per_minute, expires_at),
        "id": parts[0],
        "secret_hash": hash_of(parts[1]),
    }
    former = connection.execute(select(ApiKey.id, ApiKey.secret_hash).where(ApiKey.name == name)).one_or_none()
    if former is not None and (former.id, former.secret_hash) == (row["id"], row["secret_hash"]):
        return "kept"
    try:
        if former is None:
            connection.execute(insert(ApiKey).values(row))
            return "made"
        connection.execute(update(ApiKey).where(ApiKey.name == name).values(**row, revoked_at=None, last_used_at=None))
    except IntegrityError:
        raise InvalidInputError(f"the id {parts[0]} of this key is another key's; expected one of its own") from None
    return "replaced"


def _row(
    connection: Connection,
    name: str,
    scopes: Sequence[Scope],
    quota_per_minute: int | None,
    expires_at: datetime | None,
) -> dict[str, Any]:
    """Return the row of a key but for what it is; raises if it cannot be."""
    if not _NAME.fullmatch(name) or name == ANONYMOUS:
        raise InvalidInputError(f"key name is {name!r}; expected 1 to 64 of A-Z a-z 0-9 . _ -, and not {ANONYMOUS!r}")
    if not scopes or not set(scopes) <= set(SCOPES):
        raise InvalidInputError(f"scopes are {', '.join(scopes) or 'none'}; expected some of {', '.join(SCOPES)}")
    if quota_per_minute is not None and not 1 <= quota_per_minute <= MAX_QUOTA:
        raise InvalidInputError(f"quota is {quota_per_minute}; expected 1 to {MAX_QUOTA} comments per minute")
    now = database_time(connection)
    if expires_at is not None and expires_at <= now:
        raise InvalidInputError(f"expiry is {expires_at.isoformat()}; expected a time to come")
    return {
        "name": name,
        "scopes": [scope for scope in SCOPES if scope in scopes],
        "quota_per_minute": quota_per_minute,
        "created_at": now,
        "expires_at": expires_at,
    }


def revoke(connection: Connection, name: str) -> None:
    """Revoke a key for good; one that is revoked already stays as it is. The caller commits.

    Raises:
        NotFoundError: no key has this name.
    """
    moment = func.coalesce(ApiKey.revoked_at, database_time(connection))
    if not connection.execute(update(ApiKey).where(ApiKey.name == name).values(revoked_at=moment)).rowcount:
        raise NotFoundError(f"no key is named {name!r}; `moderation keys list` shows those there are")


def read(engine: Engine) -> Keys:
    """Return every key, oldest first."""
    with engine.connect() as connection:
        rows = connection.execute(select(ApiKey.__table__).order_by(ApiKey.created_at, ApiKey.id)).mappings().all()
        keys = tuple(Key(**{**row, "scopes": tuple(row["scopes"])}) for row in rows)
        return Keys(database_time(connection), keys)


def note_use(engine: Engine, used: Mapping[str, datetime]) -> None:
    """Write when keys were used last; ``used`` maps ids to times, and an earlier one changes nothing."""
    statement = (
        update(ApiKey)
        .where(ApiKey.id == bindparam("key_id"))
        .where(or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < bindparam("at")))
        .values(last_used_at=bindparam("at"))
    )
    with engine.begin() as connection:
        # By id: replicas that write the same keys in different orders would wait for each other.
        connection.execute(statement, [{"key_id": key_id, "at": used[key_id]} for key_id in sorted(used)])


def split(token: str) -> tuple[str, str] | None:
    """Return id and secret of what has the form of a key, else None."""
    match = _TOKEN.fullmatch(token)
    return None if match is None else (match[1], match[2])


def hash_of(secret: str) -> str:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode("ascii")).hexdigest()


def database_time(connection: Connection) -> datetime:
    """Return the time by the clock that all replicas share: the database's, on SQLite this machine's."""
    if connection.dialect.name == "sqlite":
        return clock.now()
    moment: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return moment.astimezone(UTC)
