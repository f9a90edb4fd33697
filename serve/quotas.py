"""Quotas of keys: comments per minute, shared by every server on the database.

A server leases a block of a key's minute at first need, off the event loop, and the next one before that is used
up; within its block it grants without asking. While the database is away, or slow, it grants its share of the
quota alone: the quota divided by the number of servers.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from moderation.db.quotas import Lease
from moderation.errors import BeyondQuotaError, OverQuotaError

BLOCKS = 20
"""A minute's quota is leased in this many blocks, or in larger ones where a request needs more."""
WAIT_S = 1.0
"""How long a request waits for a lease before its server goes on alone."""
ALONE_S = 5.0
"""How long it then goes on without asking again."""
MINUTE_S = 60.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Standing:
    """What a key may still ask for: ``left`` comments, as far as this server knows, for ``reset_s`` more seconds."""

    quota: int
    left: int
    reset_s: int


class _Account:
    """One key's minute on this server.

    ``granted`` comments were the server's to grant in it, ``left`` of them still are, and ``debt`` of them it took
    without a lease; ``unleased`` were still in the database when it was last asked. ``minute`` is the shared one, None
    while it is a minute of this server's own.
    """

    def __init__(self, key_id: str, quota: int) -> None:
        self.key_id, self.quota = key_id, quota
        self.block = math.ceil(quota / BLOCKS)
        self.leasing: asyncio.Task[None] | None = None
        self.number = 0
        self.open(None, -math.inf)

    def open(self, minute: datetime | None, ends: float, debt: int = 0) -> None:
        """Begin another minute; a ``debt`` of comments was granted alone just before."""
        self.minute, self.ends = minute, ends
        self.number += 1
        self.left, self.granted, self.debt = 0, debt, debt
        self.unleased = self.quota

    def add_share(self, share: int) -> None:
        """Take what is missing to ``share`` without a lease."""
        missing = max(0, share - self.granted)
        self.left += missing
        self.granted += missing
        self.debt += missing

    def add_lease(self, lease: Lease, ends: float) -> None:
        """Take what was leased, of which what was taken without a lease is paid first."""
        if lease.minute != self.minute:
            self.open(lease.minute, ends, debt=max(0, self.debt - self.left))
        paid = min(self.debt, lease.granted)
        self.debt -= paid
        self.left += lease.granted - paid
        self.granted += lease.granted - paid
        self.unleased = lease.left


def _over_quota(now: Standing, texts: int) -> OverQuotaError:
    quota = f"the quota of this key, {now.quota} comments per minute,"
    if now.left:
        left = f"{quota} has {now.left} left, and the request counts as {texts}; send fewer, or try again later"
        return OverQuotaError(left, now.reset_s, now.quota)
    return OverQuotaError(f"{quota} is used up; try again later", now.reset_s, now.quota)


class Quotas:
    """The accounts of the keys; used on one event loop."""

    def __init__(
        self,
        lease: Callable[[str, int, int], Lease],
        replicas: int = 1,
        reachable: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Lease with ``lease(key id, quota, comments)``, which may block.

        ``replicas`` servers share a quota while the database is away; ``reachable`` says whether it is known to be.
        ``clock`` counts seconds and never jumps.
        """
        self._lease, self._reachable, self._clock = lease, reachable, clock
        self._replicas = replicas
        self._accounts: dict[str, _Account] = {}
        self._alone_until = -math.inf
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="quota")

    def close(self) -> None:
        """Lease no more; does not wait for a database that hangs."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def take(self, key_id: str, quota: int, texts: int) -> int:
        """Charge ``texts`` comments to a key, and return the number of the minute that they were charged to.

        Raises:
            BeyondQuotaError: more than the quota of a minute: waiting would not help.
            OverQuotaError: more than what is left of this minute.
        """
        if texts > quota:
            raise BeyondQuotaError(
                f"the request counts as {texts} comments, and the quota of this key is {quota} per minute", quota
            )
        account = self._account(key_id, quota)
        while account.left < texts and account.unleased and not self._alone():
            await self._leased(account, texts)
            account = self._account(key_id, quota)
        if account.left < texts and self._alone():
            account.add_share(self._share(quota))
        if account.left < texts:
            raise _over_quota(self.standing(key_id, quota), texts)
        account.left -= texts
        if account.left < account.block / 2 and account.unleased and not account.leasing and not self._alone():
            account.leasing = asyncio.create_task(self._ask(account, account.block))
        return account.number

    def require_left(self, key_id: str, quota: int) -> None:
        """Raise OverQuotaError if, as far as this server knows, nothing is left of this minute."""
        now = self.standing(key_id, quota)
        if now.left == 0:
            raise _over_quota(now, 1)

    def give_back(self, key_id: str, texts: int, number: int) -> None:
        """Undo a charge whose comments the server failed to score, if its minute has not passed."""
        account = self._accounts[key_id]
        if account.number == number:
            account.left += texts

    def standing(self, key_id: str, quota: int) -> Standing:
        """Return what the key may still ask for."""
        account = self._account(key_id, quota)
        left = account.left
        if self._alone():
            left += max(0, self._share(quota) - account.granted)
        else:
            left += account.unleased
        return Standing(quota, min(left, quota), max(1, math.ceil(account.ends - self._clock())))

    def _account(self, key_id: str, quota: int) -> _Account:
        account = self._accounts.get(key_id)
        if account is None:
            account = self._accounts[key_id] = _Account(key_id, quota)
        if self._clock() >= account.ends:
            account.open(None, self._clock() + MINUTE_S)
        return account

    def _share(self, quota: int) -> int:
        return math.ceil(quota / self._replicas)

    def _alone(self) -> bool:
        return self._clock() < self._alone_until or not self._reachable()

    async def _leased(self, account: _Account, texts: int) -> None:
        """Wait for the lease that is under way or a new one; whoever waits in vain makes the server go on alone."""
        if account.leasing is None:
            wanted = max(account.block, texts - account.left)
            account.leasing = asyncio.create_task(self._ask(account, wanted))
        _, late = await asyncio.wait((account.leasing,), timeout=WAIT_S)
        if late:
            self._go_alone("a lease takes long")

    async def _ask(self, account: _Account, wanted: int) -> None:
        try:
            loop = asyncio.get_running_loop()
            asked_at, lease = await loop.run_in_executor(self._pool, self._timed, account, wanted)
        except Exception as error:  # noqa: BLE001 - whatever the database says, callers are served
            self._go_alone(type(error).__name__)
        else:
            # Counted from before the question: this server's minute may end early, never late.
            account.add_lease(lease, asked_at + lease.left_s)
        finally:
            account.leasing = None

    def _timed(self, account: _Account, wanted: int) -> tuple[float, Lease]:
        return self._clock(), self._lease(account.key_id, account.quota, wanted)

    def _go_alone(self, reason: str) -> None:
        logger.warning("quotas are not leased for %g s: %s", ALONE_S, reason)
        self._alone_until = self._clock() + ALONE_S
