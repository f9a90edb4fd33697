"""The lineage of a version, from the database alone. Knows no Streamlit."""

from dataclasses import dataclass
from datetime import datetime

import pandas as pd
from sqlalchemy import Engine

from apps.ui.colors import short_version
from moderation.db import promotion
from moderation.db.log import VersionRecord
from moderation.lineage.graph import Facts, Graph, build
from moderation.review.access import Session, resume


@dataclass(frozen=True)
class Versions:
    """The recorded versions and how to call each, both by version; the one that is served comes first."""

    records: dict[str, VersionRecord]
    names: dict[str, str]


def versions(engine: Engine, session: Session, now: datetime) -> Versions:
    """Return what is recorded of every version.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.resume`.
        UnavailableError: the database went away.
    """
    resume(engine, session.token, now)
    served = _served_version(engine)
    ordered = sorted(promotion.known_versions(engine), key=lambda record: record.version != served)
    names = {
        record.version: f"{record.name} {short_version(record.version)}"
        + (" (in service)" if record.version == served else "")
        for record in ordered
    }
    return Versions({record.version: record for record in ordered}, names)


def _served_version(engine: Engine, alias: str = "production") -> str | None:
    """Return what the alias points to by the newest recorded move; None if none is recorded."""
    moves = [move for move in promotion.moves(engine) if move.alias == alias]
    return moves[-1].version if moves else None


def lineage(engine: Engine, session: Session, record: VersionRecord, now: datetime) -> Graph:
    """Return the graph of one version.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.resume`.
        UnavailableError: the database went away.
    """
    resume(engine, session.token, now)
    facts = Facts(
        version=record.version,
        name=record.name,
        provenance=record.provenance or {},
        verdicts=promotion.verdicts(engine, record.version),
        moves=promotion.moves(engine),
        use=promotion.use(engine, record.version),
        others=promotion.relatives(engine, record.version),
    )
    return build(facts)


def steps_frame(graph: Graph) -> pd.DataFrame:
    """One row per box of the picture."""
    rows = [(node.kind, node.title, "; ".join(filter(None, node.lines))) for node in graph.nodes]
    return pd.DataFrame(rows, columns=["Step", "What", "Details"])


def moves_frame(engine: Engine, session: Session, now: datetime) -> pd.DataFrame:
    """One row per move of any alias, newest first.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.resume`.
        UnavailableError: the database went away.
    """
    resume(engine, session.token, now)
    return pd.DataFrame(
        [
            {
                "Time (UTC)": move.moved_at,
                "Alias": move.alias,
                "Version": short_version(move.version),
                "Before": short_version(move.previous) if move.previous else "",
                "By": move.moved_by,
                "Reason": move.reason,
            }
            for move in reversed(promotion.moves(engine))
        ]
    )
