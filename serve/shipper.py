"""Moves rows from the outbox to the database, in order and in bulk, for as long as there are any.

A row is deleted after the database has committed it, and inserts are idempotent: whenever this process
or the database dies, every row arrives, once. What the database refuses for good is set aside: it says so, or it fails
on a row, again and again, and takes the rows behind it or, where there are none, one made to try it.
"""

import base64
import logging
import os
import random
import threading
import time
from collections.abc import Sequence

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

from moderation import clock
from moderation.db.log import FailureRecord, FeedbackRecord, PredictionRecord, ShadowRecord
from moderation.errors import InvalidInputError, UnavailableError
from serve.ids import uuid7
from serve.outbox import FAILURE, FEEDBACK, PREDICTION, SHADOW, Outbox, Row
from serve.prediction_log import PredictionLog

ROWS_PER_INSERT, CHARACTERS_PER_INSERT = 1_000, 16_000_000
LINGER_S = 0.5
"""How long rows come together before they are shipped. At 200 comments/s, every 0.1 s a row costs three times the CPU:
each insert brings the roll-ups up to date (docs/EXPERIMENTS.md)."""
PING_S = 5.0
MIN_BACKOFF_S, MAX_BACKOFF_S = 0.2, 10.0
FAILURES_BEFORE_NARROWING = 5
TRIES_ALONE = 10
"""How often a row that waits alone is tried, most of a minute, while the database takes another one like it."""

logger = logging.getLogger(__name__)


class Shipper:
    """One thread between an outbox and a database."""

    def __init__(self, outbox: Outbox, log: PredictionLog, ping_s: float = PING_S) -> None:
        """Ship from ``outbox`` to ``log``; when idle, ask every ``ping_s`` seconds whether the database is there."""
        self._outbox = outbox
        self._log = log
        self._ping_s = ping_s
        self._stopping = threading.Event()
        self._flush_s = 0.0
        self._failures = 0
        self._behind = False  # whether there is more to ship than one insert takes
        self._asked_at = time.monotonic()
        self._refused_rows = 0
        self._tries_alone = 0
        self._rows_at_once = ROWS_PER_INSERT
        self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)

    @property
    def database_reachable(self) -> bool:
        """Whether the last attempt to reach the database succeeded."""
        return self._failures == 0

    @property
    def refused_rows(self) -> int:
        """Rows set aside since the start."""
        return self._refused_rows

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, flush_s: float) -> None:
        """Ship what is there for at most about ``flush_s`` seconds and end the thread (blocking)."""
        self._flush_s = flush_s
        self._stopping.set()
        self._thread.join(flush_s + 1)
        if left := self._outbox.pending():
            logger.warning("%d rows stay in the outbox; the next start ships them", left)

    def _run(self) -> None:
        wait_s = LINGER_S
        while not self._stopping.wait(wait_s):
            if not self._attempt():
                wait_s = self._backoff_s()
            else:
                wait_s = 0 if self._behind else LINGER_S
        deadline = time.monotonic() + self._flush_s
        while self._outbox.pending() and time.monotonic() < deadline and self._attempt():
            pass

    def _backoff_s(self) -> float:
        longest = min(MAX_BACKOFF_S, MIN_BACKOFF_S * 2.0 ** min(self._failures, 16))
        # Half to whole, so that servers that lost the same database do not come back in step.
        return longest * random.uniform(0.5, 1)  # noqa: S311 - no secret

    def _attempt(self) -> bool:
        """Ship once, or ask whether the database is there; return False if it is not."""
        try:
            if self._outbox.pending():
                self._ship()
            elif self._failures or time.monotonic() - self._asked_at >= self._ping_s:
                self._log.ping()
            else:
                return True
        except Exception as error:  # the edge of this thread: whatever it is, the rows stay and it is tried again
            if self.database_reachable:
                logger.error("the database is away; predictions wait in the outbox", exc_info=error)
            self._failures += 1
            return False
        if not self.database_reachable:
            logger.info("the database is back")
        self._failures = 0
        self._asked_at = time.monotonic()
        return True

    def _ship(self) -> None:
        rows = self._outbox.oldest(self._rows_at_once, CHARACTERS_PER_INSERT)
        if rows:
            try:
                self._insert(rows)
            except Exception as fault:
                if self._failures < FAILURES_BEFORE_NARROWING:
                    raise
                self._log.ping()  # it raises: the database is away, and no row is at fault
                if len(rows) > 1:
                    self._rows_at_once = len(rows) // 2
                    raise
                self._pass_over(rows[0], fault)
            self._outbox.forget(rows)
            self._tries_alone = 0
            self._rows_at_once = min(ROWS_PER_INSERT, 2 * self._rows_at_once)
        self._behind = self._outbox.pending() >= self._rows_at_once

    def _pass_over(self, head: Row, fault: Exception) -> None:
        """Set the oldest row aside if the database takes the next one, and this one still not."""
        behind = self._outbox.oldest(2)[1:]
        if not behind:
            self._pass_over_alone(head, fault)
            return
        self._insert(behind)  # a full disk, for one, refuses this as well
        try:
            self._insert([head])
        except (UnavailableError, DBAPIError) as error:
            self._log.ping()
            self._set_aside(head, error)

    def _pass_over_alone(self, only: Row, fault: Exception) -> None:
        """Set the only row aside once the database has taken another as large beside it, again and again."""
        self._log.rehearse(_probe(len(only.body)))
        self._tries_alone += 1
        if self._tries_alone < TRIES_ALONE:
            raise fault
        self._set_aside(only, fault)

    def _insert(self, rows: Sequence[Row]) -> None:
        """Insert ``rows``; if one of them is refused, halve until it is alone and set it aside."""
        try:
            predictions = [PredictionRecord.from_json(row.body) for row in rows if row.kind == PREDICTION]
            feedback = [FeedbackRecord.from_json(row.body) for row in rows if row.kind == FEEDBACK]
            shadows = [ShadowRecord.from_json(row.body) for row in rows if row.kind == SHADOW]
            failures = [FailureRecord.from_json(row.body) for row in rows if row.kind == FAILURE]
            self._log.insert(predictions, feedback, shadows, failures)
        except Exception as error:
            if not _is_refusal(error):
                raise
            if len(rows) == 1:
                self._set_aside(rows[0], error)
                return
            middle = len(rows) // 2
            self._insert(rows[:middle])
            self._insert(rows[middle:])

    def _set_aside(self, row: Row, error: Exception) -> None:
        self._outbox.set_aside(row, type(error).__name__)
        self._refused_rows += 1
        logger.error("the database refuses %s %s; set aside", row.kind, row.id, exc_info=error)


def _probe(characters: int) -> PredictionRecord:
    """Return a prediction that nobody asked for, with a text of that length that cannot be compressed."""
    at = clock.now()
    return PredictionRecord(
        id=uuid7(at), created_at=at, request_id="probe", client="probe", route="probe", version="probe",
        scores={}, decision="allow", reasons=[], latency_ms=0.0, tokens_read=0, truncated=False,
        text=base64.b85encode(os.urandom(characters)).decode()[:characters],
    )  # fmt: skip


def _is_refusal(error: Exception) -> bool:
    """Return whether the fault is a row's and not the connection's: sending it again would not help."""
    if isinstance(error, DBAPIError):
        return isinstance(error, DataError | IntegrityError)
    return isinstance(error, StatementError | InvalidInputError | ValueError)
