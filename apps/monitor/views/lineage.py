"""The lineage page: where a version comes from, and what became of it."""

import streamlit as st
from sqlalchemy import Engine

from apps.monitor.services.lineage import lineage, moves_frame, steps_frame, versions
from apps.monitor.views.guard import guarded
from apps.ui.page import head
from apps.ui.table import show_table
from moderation import clock
from moderation.lineage.drawing import dot
from moderation.review.access import Session

_ASKED = "version"
"""What the address calls the version."""


@guarded
def lineage_view(engine: Engine, session: Session) -> None:
    """Let the reader choose a version, and draw its graph."""
    head("Lineage", "Where a version comes from, and what became of it.")
    now = clock.now()
    found = versions(engine, session, now)
    if not found.records:
        st.info(
            "No version is recorded yet: the API records what it serves, `moderation gate` what it judges.",
            icon=":material/hourglass_empty:",
        )
        return
    chosen = _choose(found.names)
    graph, moves = lineage(engine, session, found.records[chosen], now), moves_frame(engine, session, now)
    st.subheader("From its data to what came after it")
    st.caption("A click on a box with a thick frame leads to the other version that it speaks of.")
    st.graphviz_chart(dot(graph, {version: f"?{_ASKED}={version}" for version in found.names if version != chosen}))
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
