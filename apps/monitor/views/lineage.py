"""The lineage page: where a version comes from, and what became of it."""

import streamlit as st
from sqlalchemy import Engine

from apps.monitor.services.database import explain
from apps.monitor.services.lineage import lineage, moves_frame, served_version, steps_frame, version_names
from apps.ui.notice import show_problem
from apps.ui.page import head
from moderation.db.promotion import known_versions
from moderation.errors import ModerationError
from moderation.lineage.drawing import dot
from moderation.review.access import Session


def lineage_view(engine: Engine, session: Session) -> None:  # noqa: ARG001 - every page gets both
    """Let the reader choose a version, and draw its graph."""
    head("Lineage", "Where a version comes from, and what became of it.")
    try:
        records = {record.version: record for record in known_versions(engine)}
        if not records:
            st.info(
                "No version is recorded yet: the API records what it serves, `moderation gate` what it judges.",
                icon=":material/hourglass_empty:",
            )
            return
        names = version_names(list(records.values()), served_version(engine))
        chosen = st.selectbox("Version", list(names), format_func=names.__getitem__, key="version")
        graph, moves = lineage(engine, records[chosen]), moves_frame(engine)
    except ModerationError as error:
        show_problem(explain(error))
        return
    st.graphviz_chart(dot(graph))
    st.subheader("The same in words")
    st.dataframe(
        steps_frame(graph),
        hide_index=True,
        column_config={"Details": st.column_config.TextColumn(width="large")},
        alt="Steps of the lineage",
    )
    st.subheader("Moves of aliases")
    if moves.empty:
        st.caption("None is recorded.")
    else:
        time = st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss")
        st.dataframe(moves, hide_index=True, column_config={"Time (UTC)": time}, alt="Moves of aliases")
