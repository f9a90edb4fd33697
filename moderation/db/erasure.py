"""Erasing what is stored of a text and of its author, by id or by author.

The row stays with its scores, for it is counted; its text, text hash, author and language go, and so does feedback on
it.
Rows that still wait in the outbox of some replica are erased when they arrive: every insert looks into ``erasures``,
which lists every erased prediction, also those that were found by their author, so that feedback on it is dropped.
An erasure holds for what was written until then: what an author writes later is stored as before.

Erasures are forgotten in time (`prune`). Nobody knows how long a row may wait in an outbox, so from then on everything
made before the newest of those forgotten counts as erased when it arrives: no late row escapes.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import ColumnElement, Connection, Engine, Table, and_, delete, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from moderation import clock
from moderation.db.database import ERASURE_LOCK, forget_deleted, lift_time_limit
from moderation.db.ids import made_near
from moderation.db.models import Erasure, Feedback, Prediction

if TYPE_CHECKING:
    from moderation.db.log import FeedbackRecord, PredictionRecord

ID, AUTHOR = "id", "author"
KEPT = timedelta(days=90)
"""How long erasures are remembered one by one."""
NOTHING: dict[str, Any] = {"text": None, "text_hash": None, "author": None, "language": None}
_IDS_PER_STATEMENT = 500
_TABLE = cast(Table, Erasure.__table__)
Subject = tuple[str, str]
"""What `Erasure` names: its kind, and an id or the fingerprint of an author."""
FORGOTTEN: Subject = (ID, "")
"""Its time is that until which erasures were forgotten; no id is empty."""


@dataclass(frozen=True)
class Erased:
    """How many rows were erased."""

    predictions: int
    feedback: int


def erase(engine: Engine, ids: Sequence[str] = (), authors: Sequence[str] = ()) -> Erased:
    """Erase the predictions with these ids and all of these authors, as ``author`` is stored; again does no harm.

    Waits for inserts that are under way; those that come later see the erasure.
    """
    now = clock.now()
    with engine.begin() as connection:
        _lock(connection)
        found = set(ids)
        for some in _slices(authors):
            # Whatever is here was written before, even if the clock that its row had was ahead.
            found.update(connection.scalars(select(Prediction.id).where(Prediction.author.in_(some))))
        _record(
            connection, {(ID, each): now for each in found} | {(AUTHOR, fingerprint(each)): now for each in authors}
        )
        counts = [_clear(connection, some) for some in _slices(sorted(found))]
    forget_deleted(engine)
    return Erased(sum(count.predictions for count in counts), sum(count.feedback for count in counts))


def prune(engine: Engine, before: datetime) -> int:
    """Forget the erasures from before ``before``, and return how many those were.

    What was made before the newest of them and arrives later is stored without text and author, feedback not at all.
    """
    old = and_(Erasure.erased_at < before, Erasure.subject != FORGOTTEN[1])
    with engine.begin() as connection:
        _lock(connection)
        lift_time_limit(connection)
        newest: datetime | None = connection.scalar(select(func.max(Erasure.erased_at)).where(old))
        if newest is None:
            return 0
        already = _read(connection, [FORGOTTEN]).get(FORGOTTEN, newest)
        _record(connection, {FORGOTTEN: max(newest, already)})
        return connection.execute(delete(Erasure).where(old)).rowcount


def redact(connection: Connection, records: "Sequence[PredictionRecord]") -> "Sequence[PredictionRecord]":
    """Return ``records``, without their texts and authors where those were erased after they were made.

    What is erased for its author is recorded by its id.
    """
    subjects = {(ID, record.id) for record in records if any(getattr(record, name) for name in NOTHING)}
    subjects |= {(AUTHOR, fingerprint(record.author)) for record in records if record.author}
    erased = _read(connection, subjects | {FORGOTTEN}) if subjects else {}
    if not erased:
        return records
    authors = [(each.id, (AUTHOR, fingerprint(each.author))) for each in records if each.author]
    late = {(ID, id_): erased[author] for id_, author in authors if author in erased}
    _record(connection, {subject: at for subject, at in late.items() if subject not in erased})
    return [replace(each, **NOTHING) if is_erased(each, erased) else each for each in records]


def without_erased(connection: Connection, feedback: "Sequence[FeedbackRecord]") -> "Sequence[FeedbackRecord]":
    """Return ``feedback`` but for what was said, before its erasure, of a prediction that was erased."""
    if not feedback:
        return feedback
    erased = _read(connection, {FORGOTTEN, *((ID, record.prediction_id) for record in feedback)})
    never = datetime.min.replace(tzinfo=UTC)
    forgotten = erased.get(FORGOTTEN, never)
    return [each for each in feedback if each.created_at > max(forgotten, erased.get((ID, each.prediction_id), never))]


def is_erased(record: "PredictionRecord", erased: dict[Subject, datetime]) -> bool:
    """Return whether one of the erasures (kind and subject to time) holds for ``record``."""
    subjects = [FORGOTTEN, *([(AUTHOR, fingerprint(record.author))] if record.author else [])]
    # A prediction that is named is erased whatever its clock says of the order.
    return (ID, record.id) in erased or any(record.created_at <= erased[each] for each in subjects if each in erased)


def fingerprint(author: str) -> str:
    """Return what stands for an author in ``erasures``, so that whoever asked to be erased is not listed there."""
    return hashlib.sha256(author.encode("utf-8", "replace")).hexdigest()


def _read(connection: Connection, subjects: Iterable[Subject]) -> dict[Subject, datetime]:
    """Return when those of ``subjects`` that were erased were."""
    erased: dict[Subject, datetime] = {}
    for kind, some in groupby(sorted(subjects), key=itemgetter(0)):
        for values in _slices(subject for _, subject in some):
            query = select(Erasure.subject, Erasure.erased_at).where(Erasure.kind == kind, Erasure.subject.in_(values))
            erased |= {(kind, subject): at for subject, at in connection.execute(query)}
    return erased


def _record(connection: Connection, erased: dict[Subject, datetime]) -> None:
    if not erased:
        return
    table = sqlite.insert(_TABLE) if connection.dialect.name == "sqlite" else postgresql.insert(_TABLE)
    statement = table.on_conflict_do_update(
        index_elements=["kind", "subject"], set_={"erased_at": table.excluded["erased_at"]}
    )
    # In one order everywhere: no deadlock.
    rows = [{"kind": kind, "subject": subject, "erased_at": at} for (kind, subject), at in sorted(erased.items())]
    connection.execute(statement, rows)


def _clear(connection: Connection, ids: Sequence[str]) -> Erased:
    kept = or_(*(getattr(Prediction, name).is_not(None) for name in NOTHING))
    these: ColumnElement[bool] = and_(Prediction.id.in_(ids), kept, *made_near(Prediction.created_at, ids))
    predictions = connection.execute(update(Prediction).where(these).values(NOTHING)).rowcount
    feedback = connection.execute(delete(Feedback).where(Feedback.prediction_id.in_(ids))).rowcount
    return Erased(predictions, feedback)


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ERASURE_LOCK})")
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _slices(values: Iterable[str]) -> list[list[str]]:
    listed = list(values)
    return [listed[first : first + _IDS_PER_STATEMENT] for first in range(0, len(listed), _IDS_PER_STATEMENT)]
