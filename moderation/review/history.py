"""What has been done: the audit log for admins, and how far the queue is for everybody who may look."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, and_, func, or_, select

from moderation.db.review_models import AuditEntry, ReviewItem
from moderation.errors import InvalidInputError
from moderation.review.access import Session, require

MAX_ENTRIES = 1_000


@dataclass(frozen=True)
class Entry:
    """One action; ``reviewer`` is a reviewer's name, or a process such as ``system:draw``."""

    at: datetime
    id: str
    reviewer: str
    action: str
    subject: str


@dataclass(frozen=True)
class QueueCounts:
    """Items of the sample and for triage by what became of them; ``expired`` and ``unresolved`` are non-response."""

    waiting: int
    conflicts: int
    done: int
    unresolved: int
    expired: int


def audit_entries(
    engine: Engine, session: Session, now: datetime, before: Entry | None = None, limit: int = 200
) -> list[Entry]:
    """Return the newest entries of the audit log, newest first; ``before`` the last one of the page before.

    Raises:
        InvalidInputError: ``limit`` is not 1 to `MAX_ENTRIES`.
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for admins.
    """
    if not 1 <= limit <= MAX_ENTRIES:
        raise InvalidInputError(f"limit is {limit}; expected 1 to {MAX_ENTRIES}")
    query = select(AuditEntry.__table__).order_by(AuditEntry.at.desc(), AuditEntry.id.desc()).limit(limit)
    if before is not None:
        query = query.where(or_(AuditEntry.at < before.at, and_(AuditEntry.at == before.at, AuditEntry.id < before.id)))
    with engine.connect() as connection:
        require(connection, session, "admin", now)
        return [Entry(**row) for row in connection.execute(query).mappings()]


def newest_entry(engine: Engine, session: Session, now: datetime) -> str:
    """Return what names the newest entry of the audit log: draws, verdicts and jobs all write one.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for viewers.
    """
    query = select(AuditEntry.at, AuditEntry.id).order_by(AuditEntry.at.desc(), AuditEntry.id.desc()).limit(1)
    with engine.connect() as connection:
        require(connection, session, "viewer", now)
        return " ".join(map(str, connection.execute(query).one_or_none() or ()))


def queue_counts(engine: Engine, session: Session, now: datetime) -> QueueCounts:
    """Return how many items wait, are done, and were lost.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for viewers.
    """
    late = ReviewItem.expires_at <= now
    query = (
        select(ReviewItem.state, late, func.count()).where(ReviewItem.kind != "golden").group_by(ReviewItem.state, late)
    )
    counts = Counter[str]()
    with engine.connect() as connection:
        require(connection, session, "viewer", now)
        for state, is_late, count in connection.execute(query):
            counts["expired" if is_late and state in ("open", "conflict") else state] += count
    return QueueCounts(counts["open"], counts["conflict"], counts["done"], counts["unresolved"], counts["expired"])
