"""Passwords of reviewers: argon2id with the library's parameters, those of RFC 9106's low-memory profile."""

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from moderation.errors import InvalidInputError

MIN_CHARACTERS, MAX_CHARACTERS = 12, 1_000
_HASHER = PasswordHasher()
# Of no password: what is verified where there is no account, so that the answer takes as long.
_NOBODYS = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNvbWVzb21lc29tZQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def hash_password(password: str) -> str:
    """Return what is kept of a password.

    Raises:
        InvalidInputError: it is too short or too long.
    """
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
        raise InvalidInputError(
            f"password has {len(password)} characters; expected {MIN_CHARACTERS} to {MAX_CHARACTERS}"
        )
    return _HASHER.hash(password)


def verify_password(password_hash: str | None, password: str) -> bool:
    """Return whether the hash is that of ``password``; without a hash it takes as long and is never."""
    if len(password) > MAX_CHARACTERS:
        return False
    try:
        _HASHER.verify(password_hash or _NOBODYS, password)
    except (VerificationError, InvalidHashError):
        return False
    return password_hash is not None
