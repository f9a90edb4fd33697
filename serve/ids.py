"""Identifiers of predictions, feedback and requests: UUIDv7 (RFC 9562, section 5.7).

The first 48 bits are the time, so rows written one after another lie side by side in an index.
Within a millisecond the order is random.
"""

import os
import re
import uuid
from datetime import UTC, datetime, timedelta

from moderation import clock

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RANDOM_BYTES = 10
_PER_CALL = 256
_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


_drawn: list[bytes] = []
os.register_at_fork(after_in_child=_drawn.clear)  # or a child would give out its parent's identifiers


def uuid7(at: datetime | None = None) -> str:
    """Return a new identifier of this moment, or of ``at``, in canonical form, 36 characters."""
    milliseconds = ((at or clock.now()) - _EPOCH) // timedelta(milliseconds=1)
    bits = milliseconds << 80 | int.from_bytes(_random_bytes(), "big")
    bits = bits & ~(0xF << 76) | 0x7 << 76  # version
    bits = bits & ~(0x3 << 62) | 0x2 << 62  # variant
    return str(uuid.UUID(int=bits))


def _random_bytes() -> bytes:
    """Return bytes that nobody else gets; thread-safe.

    The system is asked for many at a time: each call lets Python's lock go, and a busy server's event loop then waits
    for another thread to give it back (docs/EXPERIMENTS.md).
    """
    try:
        return _drawn.pop()
    except IndexError:
        drawn = os.urandom(_RANDOM_BYTES * _PER_CALL)
        parts = [drawn[start : start + _RANDOM_BYTES] for start in range(0, len(drawn), _RANDOM_BYTES)]
        last = parts.pop()
        _drawn.extend(parts)
        return last


def age_s(identifier: str) -> float:
    """Return how long ago `uuid7` gave out ``identifier``, in seconds; negative if another clock is ahead."""
    return clock.now().timestamp() - int(identifier[:8] + identifier[9:13], 16) / 1000


def is_uuid7(text: str) -> bool:
    """Return whether ``text`` has the form that `uuid7` gives out."""
    return _CANONICAL.fullmatch(text) is not None
