"""What the database keeps of promotions, and what lineage asks of it. The registry stays the source of both tables."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, cast

from sqlalchemy import Connection, Engine, Table, case, func, select
from sqlalchemy.dialects import postgresql, sqlite

from moderation.db.log import VersionRecord
from moderation.db.models import AliasMove, Base, Feedback, GateVerdict, Prediction, Rollup, Version
from moderation.db.rollups import DAY_S
from moderation.lineage.graph import Relative, Use, Verdict
from moderation.registry.registry import AliasEvent

MAX_VERSIONS = 1_000
MAX_MOVES = 1_000


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
    """Return how much a version was used; this reads all feedback."""
    answered = select(func.sum(Rollup.predictions), func.min(Rollup.first_at), func.max(Rollup.last_at)).where(
        Rollup.period_s == DAY_S, Rollup.version == version
    )
    judged = (
        select(func.count(), func.count(case((Feedback.agree, 1))))
        .select_from(Feedback)
        .join(Prediction, Prediction.id == Feedback.prediction_id)
        .where(Prediction.version == version)
    )
    with engine.connect() as connection:
        predictions, first_at, last_at = connection.execute(answered).one()
        feedback, agreed = connection.execute(judged).one()
    return Use(int(predictions or 0), first_at, last_at, feedback, agreed)


def _insert_missing(connection: Connection, model: type[Base], rows: list[dict[str, Any]], key: tuple[str, str]) -> int:
    if not rows:
        return 0
    rows.sort(key=lambda row: tuple(row[name] for name in key))  # in one order everywhere: no deadlock
    table = cast(Table, model.__table__)
    insert = sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
    statement = insert.on_conflict_do_nothing().returning(table.c[key[0]])
    return len(connection.execute(statement, rows).all())
