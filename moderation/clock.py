"""The time of day, asked for in one place.

It can jump, back as well as ahead, when a machine's clock is set; what must not is timed by `time.monotonic`.
"""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the time by this machine's clock, in UTC."""
    return datetime.now(UTC)
