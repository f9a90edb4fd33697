"""What may be kept of a text and of its author, decided before anything is written anywhere.

Hashes are HMAC-SHA256 (RFC 2104) with the deployment's key: without it nobody can test whether a text or a name is
among them. A text is hashed as the model reads it (normalised), so that what looks the same has the same hash.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from moderation.settings import PrivacySettings
from moderation.text import normalize


@dataclass(frozen=True)
class Kept:
    """What is stored of one text: at most one of ``text`` and ``text_hash`` (64 hexadecimal digits)."""

    text: str | None = None
    text_hash: str | None = None
    author: str | None = None


NOTHING = Kept()


class Privacy:
    """A deployment's rules."""

    def __init__(self, settings: PrivacySettings) -> None:
        """Keep what ``settings`` allow."""
        self._store = settings.store_text
        self._key = None if settings.text_hash_key is None else settings.text_hash_key.get_secret_value().encode()

    @property
    def hashes_texts(self) -> bool:
        """Whether `keep` does work that grows with the texts."""
        return self._store == "hash"

    def keep(self, texts: Sequence[str], author_id: str | None) -> list[Kept]:
        """Return what is kept of each text of one author."""
        author = None if author_id is None else self.author(author_id)
        if self._store == "text":
            return [Kept(text=text, author=author) for text in texts]
        if self._store == "none" or self._key is None:
            return [Kept(author=author)] * len(texts)
        return [Kept(text_hash=_hash(self._key, "text", normalize(text)), author=author) for text in texts]

    def author(self, author_id: str) -> str:
        """Return what is stored of an author: a hash if there is a key, else the id as it came."""
        return author_id if self._key is None else _hash(self._key, "author", author_id)


def _hash(key: bytes, kind: str, value: str) -> str:
    # The kind is part of what is hashed: a name and a text that are equal have different hashes.
    return hmac.digest(key, f"{kind}\0{value}".encode("utf-8", "replace"), "sha256").hex()
