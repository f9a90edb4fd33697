"""Records on their way to the database: kept in a local SQLite file until the database has them.

`append` returns once the rows are committed, so an answer that follows it survives ``kill -9``. The file is
in WAL mode. With ``synchronous=NORMAL`` a commit is safe against the end of this process, not against power
loss or a crash of the machine, which may take the last commits (never corrupt the file); with ``FULL`` against
these as well.

One writer thread commits whatever has come together (group commit). `serve.shipper` takes rows out.
One process owns the file: a second one that is started on it is refused. What others may do in it is in
`serve.outbox_care`.
"""

import asyncio
import fcntl
import itertools
import json
import logging
import re
import sqlite3
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Literal

from moderation import clock
from moderation.db.log import FailureRecord, FeedbackRecord, LoggedScores, PredictionRecord, ShadowRecord
from moderation.errors import ConfigurationError, OverloadedError, UnavailableError

Record = PredictionRecord | FeedbackRecord | ShadowRecord | FailureRecord
PREDICTION, FEEDBACK, SHADOW, FAILURE = "prediction", "feedback", "shadow", "failure"
_KINDS = {PredictionRecord: PREDICTION, FeedbackRecord: FEEDBACK, ShadowRecord: SHADOW, FailureRecord: FAILURE}

_SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS outbox_id ON outbox (id);
CREATE TABLE IF NOT EXISTS refused (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL, reason TEXT NOT NULL);
"""
_BUSY_TIMEOUT_S = 10.0
_CREATED_AT = re.compile(r'"created_at":"([^"]+)"')
_APPENDS_PER_COMMIT = 256
_PROBE_S = 1.0
"""How often a file that cannot be written is tried while nothing is appended."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One record in the outbox; ``seq`` is its place in the order of commits."""

    seq: int
    kind: str
    id: str
    body: str


class _Append:
    """Records that one caller waits for."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self._loop = asyncio.get_running_loop()
        self.committed: asyncio.Future[None] = self._loop.create_future()

    def resolve(self, problem: str | None) -> None:
        """Wake the waiting caller; called from the writer thread."""
        with suppress(RuntimeError):  # the caller's event loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._set, problem)

    def _set(self, problem: str | None) -> None:
        if self.committed.done():
            return
        if problem is None:
            self.committed.set_result(None)
        else:
            self.committed.set_exception(UnavailableError(f"the outbox {problem}; try again later"))


class Outbox:
    """A bounded queue on disk, filled from the event loop and emptied by one shipper."""

    def __init__(self, path: Path, max_rows: int, sync: Literal["normal", "full"] = "normal") -> None:
        """Open or make the file at ``path``; rows left by an earlier process are still in it.

        Rows that the database refused then wait again: what they met may be mended.

        Raises:
            ConfigurationError: the file cannot be written, or another process has it.
        """
        self._max_rows = max_rows
        self._queue: SimpleQueue[_Append | None] = SimpleQueue()
        self._counts = threading.Lock()  # held for a few instructions only: the event loop takes it too
        self._queued_rows = 0
        self._problem: str | None = None
        self._closed = False
        self._shipping_lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._owned = _own(path.with_suffix(".lock"))
            self._writer, self._shipping = open_file(path, sync), open_file(path, sync)
            self._writer.executescript(_SCHEMA)
            _put_back_refused(self._writer)
            self._stored_rows = int(self._writer.execute("SELECT count(*) FROM outbox").fetchone()[0])
            self._oldest_at = self._read_oldest_at()
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(f"cannot write the outbox {path}: {error}; check MODERATION_STATE_DIR") from error
        self._thread = threading.Thread(target=self._write, name="outbox", daemon=True)

    @property
    def problem(self) -> str | None:
        """Why rows cannot be taken now; None when they can."""
        if self._problem is None and self.pending() >= self._max_rows:
            return f"is full with {self.pending()} rows"
        return self._problem

    @property
    def half_full(self) -> bool:
        """Whether what can be left out should be: the rest of the room is for answers."""
        return 2 * self.pending() >= self._max_rows

    def pending(self) -> int:
        """Return the number of rows that the database does not have yet."""
        return self._stored_rows + self._queued_rows

    def oldest_age_s(self) -> float:
        """Return how long the oldest row has been waiting for the database; 0 if none is."""
        oldest_at = self._oldest_at
        return 0.0 if oldest_at is None else max(0.0, clock.now().timestamp() - oldest_at)

    def start(self) -> None:
        """Start the writer thread."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more rows and commit what is queued; what is stored can still be shipped (blocking)."""
        with self._counts:
            self._closed = True
        self._queue.put(None)
        self._thread.join()

    def close(self) -> None:
        """Give the file back; nothing of this object can be used any more."""
        with self._shipping_lock:
            self._writer.close()
            self._shipping.close()
            self._owned.close()

    def require_room(self, rows: int) -> None:
        """Raise OverloadedError if ``rows`` more would not fit."""
        if self.pending() + rows > self._max_rows:
            raise OverloadedError(
                f"{self.pending()} rows wait for the database and at most {self._max_rows} are kept; try again later",
                retry_after_s=10,
            )

    async def append(self, records: Sequence[Record]) -> None:
        """Return when ``records`` are committed, all or none.

        Raises:
            OverloadedError: they would exceed the bound.
            UnavailableError: the file cannot be written, or the outbox is stopped.
        """
        append = _Append(records)
        with self._counts:
            if self._closed:
                raise UnavailableError("the server is shutting down")
            self.require_room(len(records))
            self._queued_rows += len(records)
            self._queue.put(append)
        await append.committed

    def find_scores(self, prediction_id: str) -> LoggedScores | None:
        """Return what was answered for the prediction; None if it does not wait here for the database (blocking)."""
        with self._shipping_lock:
            found = self._shipping.execute(
                "SELECT body FROM outbox WHERE id = ? AND kind = ?", (prediction_id, PREDICTION)
            ).fetchone()
        if found is None:
            return None
        fields = json.loads(found[0])
        return LoggedScores(fields["version"], fields["scores"])

    def oldest(self, limit: int, max_characters: int = sys.maxsize) -> list[Row]:
        """Return the oldest rows, in the order of their commits, up to either bound but at least one (blocking)."""
        found: list[Row] = []
        with self._shipping_lock:
            rows = self._shipping.execute("SELECT seq, kind, id, body FROM outbox ORDER BY seq LIMIT ?", (limit,))
            for row in itertools.starmap(Row, rows):
                max_characters -= len(row.body)
                if found and max_characters < 0:
                    break
                found.append(row)
            rows.close()
        return found

    def forget(self, rows: Sequence[Row]) -> None:
        """Delete ``rows``, the oldest ones, which the database has committed (blocking)."""
        with self._shipping_lock:
            deleted = self._shipping.execute("DELETE FROM outbox WHERE seq <= ?", (rows[-1].seq,)).rowcount
            oldest_at = self._read_oldest_at()
        with self._counts:
            self._stored_rows -= deleted
            self._oldest_at = oldest_at if self._stored_rows else None

    def set_aside(self, row: Row, reason: str) -> None:
        """Keep a row that the database refuses for good, out of the way of those behind it (blocking)."""
        with self._shipping_lock:
            self._shipping.execute(
                "INSERT OR REPLACE INTO refused VALUES (?, ?, ?, ?)", (row.id, row.kind, row.body, reason)
            )

    def _read_oldest_at(self) -> float | None:
        row = self._shipping.execute("SELECT body FROM outbox ORDER BY seq LIMIT 1").fetchone()
        made = _CREATED_AT.search(row[0]) if row else None
        return datetime.fromisoformat(made[1]).timestamp() if made else None

    def _write(self) -> None:
        stopping = False
        while not stopping:
            try:
                # Who follows /ready sends nothing while there is a problem: no append would find that it has passed.
                group = [self._queue.get(timeout=None if self._problem is None else _PROBE_S)]
            except Empty:
                self._probe()
                continue
            while len(group) < _APPENDS_PER_COMMIT and not self._queue.empty():
                group.append(self._queue.get())
            stopping = group[-1] is None  # nothing is put behind it
            self._commit([append for append in group if append is not None])

    def _commit(self, appends: Sequence[_Append]) -> None:
        problem = None
        # Nobody gets the answer of one whose caller has left: it is not logged as given.
        wanted = [append for append in appends if not append.committed.cancelled()]
        try:
            if wanted:
                self._insert([record for append in wanted for record in append.records])
        except Exception as error:  # the edge of this thread: every waiting caller hears of it
            problem = f"cannot be written ({type(error).__name__})"
            logger.error("the outbox %s", problem, exc_info=error)
        with self._counts:
            self._queued_rows -= _rows_of(appends)
            self._stored_rows += _rows_of(wanted) if problem is None else 0
            if self._oldest_at is None and self._stored_rows:
                self._oldest_at = clock.now().timestamp()
        if wanted:
            self._problem = problem
        for append in wanted:
            append.resolve(problem)

    def _probe(self) -> None:
        try:
            self._insert_lines([("probe", "", "")], keep=False)
        except sqlite3.Error:
            return
        self._problem = None
        logger.info("the outbox can be written again")

    def _insert(self, records: Sequence[Record]) -> None:
        self._insert_lines([(_KINDS[type(record)], record.id, record.to_json()) for record in records])

    def _insert_lines(self, lines: Sequence[tuple[str, str, str]], keep: bool = True) -> None:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            self._writer.executemany("INSERT INTO outbox (kind, id, body) VALUES (?, ?, ?)", lines)
            if not keep:  # committed nevertheless: a rollback would not reach the disk
                self._writer.execute("DELETE FROM outbox WHERE id = ''")
            self._writer.execute("COMMIT")
        except BaseException:
            self._writer.rollback()
            raise


def _rows_of(appends: Sequence[_Append]) -> int:
    return sum(len(append.records) for append in appends)


def _put_back_refused(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO outbox (kind, id, body) SELECT kind, id, body FROM refused")
    connection.execute("DELETE FROM refused")
    connection.execute("COMMIT")


def open_file(path: Path, sync: Literal["normal", "full"] = "normal") -> sqlite3.Connection:
    """Return a connection to an outbox's file; raises sqlite3.Error."""
    # Used by several threads, never by two at a time; without a transaction open, each statement is one.
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {sync.upper()}")
    connection.execute("PRAGMA secure_delete = ON")  # no text stays in the file once its row is gone
    return connection


def _own(path: Path) -> IO[str]:
    """Return the open lock file; the operating system gives the lock back when the process ends, however it ends."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ConfigurationError(
            f"another API server uses {path.parent}; stop it, or give this one its own MODERATION_STATE_DIR"
        ) from None
    return file
