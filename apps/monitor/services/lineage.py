"""The lineage of a version, from the database alone. Knows no Streamlit."""

import pandas as pd
from sqlalchemy import Engine

from apps.ui.colors import short_version
from moderation.db import promotion
from moderation.db.log import VersionRecord
from moderation.lineage.graph import Facts, Graph, build


def version_names(records: list[VersionRecord], served: str | None) -> dict[str, str]:
    """Return how to call each version, by version; the one that is served comes first."""
    ordered = sorted(records, key=lambda record: record.version != served)
    return {
        record.version: f"{record.name} {short_version(record.version)}"
        + (" (in service)" if record.version == served else "")
        for record in ordered
    }


def served_version(engine: Engine, alias: str = "production") -> str | None:
    """Return what the alias points to by the newest recorded move; None if none is recorded."""
    moves = [move for move in promotion.moves(engine) if move.alias == alias]
    return moves[-1].version if moves else None


def lineage(engine: Engine, record: VersionRecord) -> Graph:
    """Return the graph of one version.

    Raises:
        UnavailableError: the database went away.
    """
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


def moves_frame(engine: Engine) -> pd.DataFrame:
    """One row per move of any alias, newest first."""
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
