"""Requests that were refused or failed, counted per minute and logged with the predictions.

Prometheus has the same figures; the monitor reads the database alone. A process that is killed takes the counts of its
last minute with it.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from moderation import clock
from moderation.db.log import FailureRecord
from moderation.errors import ModerationError
from serve.ids import uuid7

CONNECTION = "connection"
"""What stands for the route of a connection that was refused before there was a request."""
FLUSH_S = 10.0
_FIRST_STATUS = 400

logger = logging.getLogger(__name__)


class Failures:
    """The counts of one server; used on the event loop alone."""

    def __init__(self, now: Callable[[], datetime] = clock.now) -> None:
        """Start with none."""
        self._now = now
        self._numbers: Counter[tuple[datetime, str, int]] = Counter()
        self._last: dict[tuple[datetime, str, int], datetime] = {}

    def count(self, route: str, status: int) -> None:
        """Count an answer if it is a refusal or a failure."""
        if status < _FIRST_STATUS:
            return
        now = self._now().replace(microsecond=0)  # SQLite rounds: what is just before an hour would count after it
        key = (now.replace(second=0), route, status)
        self._numbers[key] += 1
        self._last[key] = now

    async def flush(self, append: Callable[[Sequence[FailureRecord]], Awaitable[None]], all_: bool = False) -> None:
        """Log the minutes that are over, or all; what cannot be logged now is logged later."""
        minute = self._now().replace(second=0, microsecond=0)
        keys = [key for key in self._numbers if all_ or key[0] != minute]
        taken = {key: self._numbers.pop(key) for key in keys}
        records = [FailureRecord(uuid7(self._last[key]), self._last[key], *key[1:], taken[key]) for key in keys]
        if not records:
            return
        try:
            await append(records)
        except ModerationError as error:  # the outbox is full, or cannot be written: /ready says so
            logger.warning("counts of failed requests wait: %s", error)
            self._numbers.update(taken)
            return
        for key in keys:
            if key not in self._numbers:
                del self._last[key]

    async def keep_logging(
        self, append: Callable[[Sequence[FailureRecord]], Awaitable[None]], has_room: Callable[[], bool]
    ) -> None:
        """Log what is over every few seconds while there is room beside what was answered, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            if has_room():
                await self.flush(append)
