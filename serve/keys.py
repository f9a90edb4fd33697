"""The API keys that this server knows: in memory for requests, read from the database by a thread, kept on disk.

A request never waits for the database to check a key it knows. While the database is away the last known keys go
on, for a bounded time; a copy in the state folder (hashes only, readable by its owner alone) lets a server restart
meanwhile. A key that is revoked meanwhile cannot be known to be.
"""

import asyncio
import hmac
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from moderation import clock
from moderation.db.keys import Key, Keys, hash_of, split
from moderation.errors import UnavailableError

REFRESH_S = 5.0
"""How old what is known may be: a revoked key stops within this and the time of one query."""
EARLY_S = 1.0
"""An unknown key is looked up before it is refused, but all of them together not more often than this."""
MAX_WAITING = 64
"""How many callers with unknown keys wait for that look; the others are refused at once."""
NOTE_S = 60.0
"""How often it is written when a key was used last, and how old the copy on disk may be."""

_NO_HASH = "0" * 64
_COPY = TypeAdapter(Keys)

logger = logging.getLogger(__name__)


class KeyRing:
    """Finds the key that a caller shows; `start` keeps what it knows fresh."""

    def __init__(
        self,
        read: Callable[[], Keys],
        note_use: Callable[[Mapping[str, datetime]], None],
        copy: Path,
        max_age_s: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = clock.now,
    ) -> None:
        """Ask ``read`` for the keys, tell ``note_use`` which were used when; both may block and fail.

        A copy is kept at ``copy``. What is older than ``max_age_s`` opens nothing. ``monotonic`` counts seconds and
        never jumps, ``wall`` may.
        """
        self.problem: str | None = None
        self._read, self._write_use = read, note_use
        self._copy, self._max_age_s = copy, max_age_s
        self._monotonic, self._wall = monotonic, wall
        self._known = Keys(wall(), ())
        self._by_id: dict[str, Key] = {}
        self._now_at_take, self._age_at_take_s = self._known.read_at, 0.0
        self._taken_at = -max_age_s * 2 + monotonic()  # nothing is known yet
        self._tried_at = -EARLY_S * 2 + monotonic()
        self._copied_at = self._noted_at = -NOTE_S * 2 + monotonic()
        self._used: dict[str, float] = {}
        self._refreshing = threading.Lock()
        self._early: asyncio.Future[None] | None = None
        self._waiting = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keys", daemon=True)

    @property
    def age_s(self) -> float:
        """How old what is known is, in seconds."""
        return self._age_at_take_s + self._monotonic() - self._taken_at

    @property
    def usable(self) -> bool:
        """Whether what is known is young enough to open anything."""
        return self.age_s <= self._max_age_s

    @property
    def empty(self) -> bool:
        """Whether no key holds."""
        return not any(key.holds(self.now()) for key in self._known.keys)

    def now(self) -> datetime:
        """Return the time by the database's clock when it was last read, carried on by one that cannot jump."""
        return self._moment(self._monotonic())

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; does not wait for a database that hangs."""
        self._stopping.set()

    async def find(self, token: str) -> Key | None:
        """Return the key that ``token`` is, None if there is none that holds.

        For one that was made since the last look, there is another look first.

        Raises:
            UnavailableError: what is known is too old to go by.
        """
        parts = split(token)
        if parts is None:
            return None
        if parts[0] not in self._by_id:
            await self._look_again()
        if not self.usable:
            raise UnavailableError("keys cannot be checked: the database has been away for too long; try again later")
        key = self._by_id.get(parts[0])
        # Also without a key to compare with, so that both ways take the same time.
        right = hmac.compare_digest(hash_of(parts[1]), _NO_HASH if key is None else key.secret_hash)
        if key is None or not right or not key.holds(self.now()):
            return None
        self._used[key.id] = self._monotonic()
        return key

    async def _look_again(self) -> None:
        """Wait for the next look at the database; callers share one, and of a flood most do not wait at all."""
        if self._waiting >= MAX_WAITING:
            return
        if self._early is None or self._early.done():
            self._early = asyncio.ensure_future(self._look_soon())
        self._waiting += 1
        try:
            await asyncio.wait((self._early,), timeout=2 * EARLY_S)
        finally:
            self._waiting -= 1

    async def _look_soon(self) -> None:
        await asyncio.sleep(self._tried_at + EARLY_S - self._monotonic())
        await asyncio.to_thread(self.refresh)

    def refresh(self) -> None:
        """Read every key, or say in `problem` why that failed (blocking)."""
        with self._refreshing:
            self._tried_at = self._monotonic()
            try:
                keys = self._read()
            except Exception as error:  # the edge of a thread: what is known goes on
                if self.problem is None:
                    logger.error("keys cannot be read; the last known ones go on", exc_info=error)
                self.problem = self._stale()
                return
            if self.problem is not None:
                logger.info("keys can be read again")
            changed = keys.keys != self._known.keys
            self._take(keys, keys.read_at)
            self.problem = None
            if changed or self._monotonic() - self._copied_at >= NOTE_S:
                self._keep_copy()

    def load_copy(self) -> bool:
        """Take the copy on disk, and return whether there is one that is young enough (blocking)."""
        try:
            keys = _COPY.validate_json(self._copy.read_bytes())
        except FileNotFoundError:
            return False
        except (OSError, ValidationError) as error:
            logger.warning("the copy of the keys cannot be read (%s)", type(error).__name__)
            return False
        # A clock that was set back must not make the copy younger than new.
        self._take(keys, max(self._wall(), keys.read_at))
        self.problem = self._stale()
        return self.usable

    def _moment(self, at: float) -> datetime:
        return self._now_at_take + timedelta(seconds=at - self._taken_at)

    def _stale(self) -> str:
        return f"cannot be read, those of {self._known.read_at:%Y-%m-%d %H:%M:%S} UTC go on"

    def _take(self, keys: Keys, now: datetime) -> None:
        self._known = keys
        self._now_at_take, self._taken_at = now, self._monotonic()
        self._age_at_take_s = (now - keys.read_at).total_seconds()
        self._by_id = {key.id: key for key in keys.keys}

    def _keep_copy(self) -> None:
        staging = self._copy.with_suffix(".new")
        try:
            staging.unlink(missing_ok=True)
            with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(_COPY.dump_json(self._known))
            staging.replace(self._copy)
        except OSError as error:
            logger.warning("no copy of the keys could be kept: %s", error.strerror)
        self._copied_at = self._monotonic()

    def _run(self) -> None:
        while not self._stopping.wait(REFRESH_S):
            self.look()

    def look(self) -> None:
        """Read every key and, now and then, write which were used when (blocking)."""
        self.refresh()
        if self.problem is None and self._used and self._monotonic() - self._noted_at >= NOTE_S:
            self._note_use()

    def _note_use(self) -> None:
        used, self._used = self._used, {}
        self._noted_at = self._monotonic()
        try:
            self._write_use({key_id: self._moment(at) for key_id, at in used.items()})
        except Exception as error:  # noqa: BLE001 - the edge of this thread: it is only a hint for people
            logger.warning("cannot note when keys were used (%s)", type(error).__name__)
