"""What a registry of bundles can do; `moderation.registry.local` is one on a plain directory."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from moderation.errors import NotFoundError, RegistryError

_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_VERSION_PREFIX = re.compile(r"[0-9a-f]{8,64}")
ANYTHING = "anything"
"""As ``expected_previous`` of `Registry.point`: whatever the alias points to."""


@dataclass(frozen=True)
class Move:
    """Who moves an alias, and why."""

    by: str
    reason: str


@dataclass(frozen=True)
class AliasEvent:
    """One move of an alias; ``previous`` is None for the first."""

    alias: str
    version: str
    previous: str | None
    moved_at: datetime
    moved_by: str
    reason: str


def happened(events: Sequence[AliasEvent], current: str | None) -> list[AliasEvent]:
    """Return the moves of one alias, which points to ``current`` now (None: to nothing), that took place, oldest first.

    One after which the alias pointed to what it had before never did: its writer was stopped after the record.
    """
    after = [*(event.previous for event in events[1:]), current]
    return [
        event for event, pointed in zip(events, after, strict=False) if not pointed == event.previous != event.version
    ]


class Registry(Protocol):
    """Content-addressed bundles, the aliases that point to them, and what is known of both."""

    def publish(self, directory: Path) -> str:
        """Verify the bundle in ``directory``, keep a copy, and return its version."""

    def resolve(self, alias: str) -> str:
        """Return the version that ``alias`` points to."""

    def fetch(self, version: str) -> Path:
        """Return a local directory that holds ``version``."""

    def point(self, alias: str, version: str, move: Move, expected_previous: str | None = ANYTHING) -> AliasEvent:
        """Make ``alias`` point to a published ``version``, and keep the event.

        Only while it points to ``expected_previous`` (None: to nothing yet), so that of two who looked at the same
        state one moves it and the other is told.
        """

    def versions(self) -> list[str]:
        """Return every published version, oldest first."""

    def aliases(self) -> dict[str, str]:
        """Return every alias with its version."""

    def events(self, alias: str) -> list[AliasEvent]:
        """Return the recorded moves of ``alias``, oldest first; `happened` tells which took place."""

    def keep_report(self, version: str, directory: Path) -> None:
        """Keep a gate report on ``version``: a directory with ``report.json`` and ``report.html``."""

    def reports(self, version: str) -> list[Path]:
        """Return the directories of the gate reports on ``version``, oldest first."""


def check_alias(alias: str) -> str:
    """Return ``alias`` if it is a valid name.

    Raises:
        RegistryError: other characters than a-z, 0-9, '-' and '_', or more than 64 of them.
    """
    if not _ALIAS.fullmatch(alias):
        raise RegistryError(f"alias {alias!r} is not a name of 1 to 64 characters a-z, 0-9, '-' or '_'")
    return alias


def check_unmoved(alias: str, expected: str | None, found: str | None) -> None:
    """Make sure that ``alias`` points to what the caller of `Registry.point` saw.

    Raises:
        RegistryError: it was moved meanwhile.
    """
    if expected not in (ANYTHING, found):
        was, now = (each[:12] if each else "nothing" for each in (expected, found))
        raise RegistryError(f"{alias} was moved from {was} to {now} meanwhile; it stays there: run the command again")


def is_version(version: str) -> bool:
    """Return whether ``version`` is a whole content address."""
    return len(version) == 64 and _VERSION_PREFIX.fullmatch(version) is not None


def match_version(version: str, known: list[str]) -> str:
    """Return the one known version that starts with ``version`` (at least 8 hexadecimal digits).

    Raises:
        NotFoundError: no known version starts so, or several do.
    """
    if not _VERSION_PREFIX.fullmatch(version):
        raise NotFoundError(f"version {version!r} is not 8 to 64 hexadecimal digits")
    found = [candidate for candidate in known if candidate.startswith(version)]
    if len(found) != 1:
        reason = f"{len(found)} versions start with it" if found else "not in the registry"
        raise NotFoundError(f"version {version!r}: {reason}")
    return found[0]
