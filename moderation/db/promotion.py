"""What the database keeps of promotions, and what lineage asks of it. The registry stays the source of both tables."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Engine, Select, Table, case, func, select
from sqlalchemy.dialects import postgresql, sqlite

from moderation.db.base import Base
from moderation.db.ids import TOLERANCE, first_id
from moderation.db.log import VersionRecord
from moderation.db.models import AliasMove, Feedback, GateVerdict, Prediction, Rollup, Version
from moderation.db.rollups import DAY_S
from moderation.lineage.graph import Relative, Use, Verdict
from moderation.registry.registry import AliasEvent

MAX_VERSIONS = 1_000
MAX_MOVES = 1_000
MAX_JUDGED = 10_000
"""The newest feedback that `use` looks into: each needs its prediction's row."""


def record_moves(connection: Connection, events: Sequence[AliasEvent]) -> int:
    """Insert the moves that are not there yet, and return how many those were; the caller commits.

    ``events`` took place (`moderation.registry.registry.happened`): the database does not know what an alias points to.
    """
    return _insert_missing(connection, AliasMove, [asdict(event) for event in events], ("alias", "moved_at"))


def record_verdicts(connection: Connection, verdicts: Sequence[Verdict]) -> int:
    """Insert the verdicts that are not there yet, and return how many those were; the caller commits."""
    return _insert_missing(connection, GateVerdict, [asdict(each) for each in verdicts], ("candidate", "created_at"))


def moves(engine: Engine) -> list[AliasEvent]:
    """Return the moves of every alias, oldest first; the newest thousand."""
    query = select(AliasMove.__table__).order_by(AliasMove.moved_at.desc()).limit(MAX_MOVES)
    with engine.connect() as connection:
        return [AliasEvent(**row) for row in connection.execute(query).mappings()][::-1]


def verdicts(engine: Engine, candidate: str) -> list[Verdict]:
    """Return the verdicts on a version, oldest first."""
    query = (
        select(GateVerdict.__table__)
        .where(GateVerdict.candidate == candidate)
        .order_by(GateVerdict.created_at.desc())
        .limit(MAX_MOVES)
    )
    with engine.connect() as connection:
        return [Verdict(**row) for row in connection.execute(query).mappings()][::-1]


def known_versions(engine: Engine) -> list[VersionRecord]:
    """Return the versions that are recorded, the one that was first seen last first."""
    query = select(Version.__table__).order_by(Version.first_seen_at.desc(), Version.version).limit(MAX_VERSIONS)
    with engine.connect() as connection:
        return [VersionRecord(**row) for row in connection.execute(query).mappings()]


def relatives(engine: Engine, version: str) -> list[Relative]:
    """Return the other versions that are recorded with their provenance, the one that was first seen first."""
    return [
        Relative(record.version, record.name, record.provenance)
        for record in reversed(known_versions(engine))
        if record.version != version and record.provenance
    ]


def use(engine: Engine, version: str) -> Use:
    """Return how much a version was used.

    Feedback is counted among the newest `MAX_JUDGED` on predictions, of any version, that were made in its time.
    """
    answered = select(func.sum(Rollup.predictions), func.min(Rollup.first_at), func.max(Rollup.last_at)).where(
        Rollup.period_s == DAY_S, Rollup.version == version
    )
    with engine.connect() as connection:
        predictions, first_at, last_at = connection.execute(answered).one()
        if not predictions:
            return Use(0, None, None, 0, 0)
        feedback, agreed = connection.execute(_judged(version, first_at, last_at)).one()
    return Use(int(predictions), first_at, last_at, feedback, agreed)


def _judged(version: str, first_at: datetime, last_at: datetime) -> Select[int, int]:
    # By the index of prediction ids, which hold their time: feedback itself may come long after.
    of_its_time = (
        select(Feedback.prediction_id, Feedback.agree)
        .where(Feedback.prediction_id >= first_id(first_at - TOLERANCE))
        .where(Feedback.prediction_id < first_id(last_at + TOLERANCE), Feedback.origin.is_(None))
        .order_by(Feedback.prediction_id.desc())
        .limit(MAX_JUDGED)
        .subquery()
    )
    return (
        select(func.count(), func.count(case((of_its_time.c.agree, 1))))
        .select_from(of_its_time)
        .join(Prediction, Prediction.id == of_its_time.c.prediction_id)
        .where(Prediction.version == version, Prediction.created_at >= first_at, Prediction.created_at <= last_at)
    )


def _insert_missing(connection: Connection, model: type[Base], rows: list[dict[str, Any]], key: tuple[str, str]) -> int:
    if not rows:
        return 0
    rows.sort(key=lambda row: tuple(row[name] for name in key))  # in one order everywhere: no deadlock
    table = cast(Table, model.__table__)
    insert = sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
    statement = insert.on_conflict_do_nothing().returning(table.c[key[0]])
    return len(connection.execute(statement, rows).all())
