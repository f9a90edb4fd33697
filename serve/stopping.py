"""How long a server that is told to stop may take: whoever runs it has to wait so long before killing it."""

import math

DRAIN_S = 20
"""How long requests that are being answered may take at least after the signal to stop."""
FLUSH_S = 5.0
"""How long the outbox is emptied after that; what is left is shipped by the next start."""
CLOSE_S = 5
"""Ample for the rest: threads that end, files that are closed."""


def drain_s(deadline_s: float) -> int:
    """Return how long what was admitted may take after the signal to stop: until each has its answer or its 504."""
    return max(DRAIN_S, math.ceil(deadline_s) + 1)


def stop_s(deadline_s: float) -> int:
    """Return after how many seconds at most the whole process has ended."""
    return drain_s(deadline_s) + math.ceil(FLUSH_S) + CLOSE_S
