"""Identifiers of predictions, feedback and requests: UUIDv7 (RFC 9562, section 5.7).

The first 48 bits are the time, so rows written one after another lie side by side in an index.
Within a millisecond the order is random.
"""

import os
import re
import time
import uuid

_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def uuid7() -> str:
    """Return a new identifier in canonical form, 36 characters."""
    bits = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10), "big")
    bits = bits & ~(0xF << 76) | 0x7 << 76  # version
    bits = bits & ~(0x3 << 62) | 0x2 << 62  # variant
    return str(uuid.UUID(int=bits))


def age_s(identifier: str) -> float:
    """Return how long ago `uuid7` gave out ``identifier``, in seconds; negative if another clock is ahead."""
    return time.time() - int(identifier[:8] + identifier[9:13], 16) / 1000


def is_uuid7(text: str) -> bool:
    """Return whether ``text`` has the form that `uuid7` gives out."""
    return _CANONICAL.fullmatch(text) is not None
