"""What commands do in an outbox's file, also beside the server that owns it: erase, count and expire.

They never add or delete rows that wait, which the server counts; those that the database refused are nobody's else.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence, Set
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from moderation.db.erasure import NOTHING
from moderation.errors import UnavailableError
from serve.outbox import FEEDBACK, PREDICTION, open_file

ROWS_PER_ERASURE = 1_000
"""How many rows an erasure reads at once, which bounds its memory and what a commit of the server waits for."""

_MADE_AT = "CASE WHEN json_valid(body) THEN json_extract(body, '$.created_at') END"  # ISO 8601 in UTC sorts by time
_EMPTIED = "json_set(body, " + ", ".join(f"'$.{name}', NULL" for name in NOTHING) + ")"
_HOLDS = "coalesce(" + ", ".join(f"json_extract(body, '$.{name}')" for name in NOTHING) + ") IS NOT NULL"


@dataclass(frozen=True)
class Refused:
    """How many refused rows there are, and among them predictions with a text, hash or author."""

    rows: int
    texts: int


def count_refused(path: Path) -> int:
    """Return how many rows of the outbox at ``path`` the database refused; they wait for the server's next start.

    Raises:
        UnavailableError: the file cannot be read.
    """
    if not path.exists():
        return 0
    try:
        with closing(open_file(path)) as connection:
            return int(connection.execute("SELECT count(*) FROM refused").fetchone()[0])
    except sqlite3.Error as error:
        raise UnavailableError(f"cannot read the outbox {path}: {error}; try again") from error


def expire_refused(
    path: Path, rows_before: datetime | None, texts_before: datetime | None, dry_run: bool = False
) -> Refused:
    """Delete refused rows older than ``rows_before``, and text, hash and author of those older than ``texts_before``.

    Returns how many those are; a ``dry_run`` changes nothing.

    Raises:
        UnavailableError: the file cannot be written.
    """
    rows = texts = 0
    if not path.exists():
        return Refused(rows, texts)
    old = f"{_MADE_AT} < ?"
    clear = f"UPDATE refused SET body = {_EMPTIED} WHERE kind = '{PREDICTION}' AND {old} AND {_HOLDS}"  # noqa: S608
    try:
        with closing(open_file(path)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            if texts_before is not None:
                texts = connection.execute(clear, (texts_before.isoformat(),)).rowcount
            if rows_before is not None:
                delete = f"DELETE FROM refused WHERE {old}"  # noqa: S608 - constants
                rows = connection.execute(delete, (rows_before.isoformat(),)).rowcount
            connection.execute("ROLLBACK" if dry_run else "COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the write-ahead log still has the old pages
    except sqlite3.Error as error:
        raise UnavailableError(f"cannot write the outbox {path}: {error}; try again") from error
    return Refused(rows, texts)


def erase_waiting(path: Path, ids: Sequence[str], authors: Sequence[str]) -> list[str]:
    """Erase text, hash and author of predictions that wait in an outbox, or were refused; return their ids.

    Refused feedback on them goes as well; feedback that waits is dropped by the database, if it knows the ids. May run
    beside the server that owns the file. A file that does not exist holds nothing.

    Raises:
        UnavailableError: the file cannot be written.
    """
    if not path.exists():
        return []
    erased: list[str] = []
    try:
        with closing(open_file(path)) as connection:
            for table in ("outbox", "refused"):
                for rows in _predictions(connection, table):
                    erased += _erase(connection, table, rows, set(ids), set(authors))
            _erase_refused_feedback(connection, {*ids, *erased})
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the write-ahead log still has the old pages
    except sqlite3.Error as error:
        raise UnavailableError(f"cannot erase in the outbox {path}: {error}; try again") from error
    return erased


def _predictions(connection: sqlite3.Connection, table: str) -> Iterator[list[tuple[int, str, str]]]:
    """Yield place, id and body of the predictions that are there now, some at a time; nothing is locked meanwhile."""
    last, after = connection.execute(f"SELECT max(rowid) FROM {table}").fetchone()[0] or 0, 0  # noqa: S608 - a constant
    while after < last:
        rows = connection.execute(
            f"SELECT rowid, id, body, kind FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT ?",  # noqa: S608
            (after, ROWS_PER_ERASURE),
        ).fetchall()
        after = rows[-1][0] if rows else last
        yield [row[:3] for row in rows if row[3] == PREDICTION]


def _erase(
    connection: sqlite3.Connection,
    table: str,
    rows: Sequence[tuple[int, str, str]],
    ids: Set[str],
    authors: Set[str],
) -> list[str]:
    changed = []
    for place, prediction_id, body in rows:
        fields = json.loads(body)
        holds = any(fields.get(name) is not None for name in NOTHING)
        if holds and (prediction_id in ids or fields.get("author") in authors):
            changed.append((json.dumps(fields | NOTHING, separators=(",", ":")), place, prediction_id))
    if not changed:
        return []
    connection.execute("BEGIN IMMEDIATE")
    # What was shipped since it was read is gone, its place perhaps another's: then its id is not found there.
    update = f"UPDATE {table} SET body = ? WHERE rowid = ? AND id = ?"  # noqa: S608
    erased = [each[2] for each in changed if connection.execute(update, each).rowcount]
    connection.execute("COMMIT")
    return erased


def _erase_refused_feedback(connection: sqlite3.Connection, ids: Set[str]) -> None:
    # Not that of the outbox: the server that owns it counts its rows.
    rows = connection.execute("SELECT id, body FROM refused WHERE kind = ?", (FEEDBACK,))
    found = [(each,) for each, body in rows if json.loads(body)["prediction_id"] in ids]
    connection.executemany("DELETE FROM refused WHERE id = ?", found)
