"""The lineage page: where a version comes from, and what became of it."""

import streamlit as st
from sqlalchemy import Engine

from apps.monitor.services.lineage import lineage, moves_frame, served_version, steps_frame, version_names
from apps.monitor.views.guard import guarded
from apps.ui.page import head
from apps.ui.table import show_table
from moderation.db.promotion import known_versions
from moderation.lineage.drawing import dot
from moderation.review.access import Session

_ASKED = "version"
"""What the address calls the version."""


@guarded
def lineage_view(engine: Engine, session: Session) -> None:  # noqa: ARG001 - every page gets both
    """Let the reader choose a version, and draw its graph."""
    head("Lineage", "Where a version comes from, and what became of it.")
    records = {record.version: record for record in known_versions(engine)}
    if not records:
        st.info(
            "No version is recorded yet: the API records what it serves, `moderation gate` what it judges.",
            icon=":material/hourglass_empty:",
        )
        return
    names = version_names(list(records.values()), served_version(engine))
    chosen = _choose(names)
    graph, moves = lineage(engine, records[chosen]), moves_frame(engine)
    st.subheader("From its data to what came after it")
    st.caption("A click on a box with a thick frame leads to the other version that it speaks of.")
    st.graphviz_chart(dot(graph, {version: f"?{_ASKED}={version}" for version in names if version != chosen}))
    st.subheader("The same in words")
    show_table(steps_frame(graph), "lineage", {"Details": st.column_config.TextColumn(width="large")})
    st.subheader("Moves of aliases")
    if moves.empty:
        st.caption("None is recorded.")
    else:
        time = st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss")
        show_table(moves, "moves-of-aliases", {"Time (UTC)": time})


def _choose(names: dict[str, str]) -> str:
    """Return the version that the reader chooses, at first the one in the address, which follows the choice."""
    asked = st.query_params.get(_ASKED)
    first = list(names).index(asked) if asked in names else 0
    chosen = st.selectbox("Version", list(names), index=first, format_func=names.__getitem__, key="version")
    if asked != chosen:
        st.query_params[_ASKED] = chosen
    return chosen
