"""The overview page: volume, latency, classes, feedback."""

import streamlit as st
from sqlalchemy import Engine

from apps.monitor.components.controls import choose_refresh_s, choose_time_range
from apps.monitor.components.panels import (
    show_charts,
    show_emptiness,
    show_failures,
    show_feedback,
    show_figures,
    show_newest,
    show_versions,
)
from apps.monitor.services.database import check_database
from apps.monitor.services.snapshot import TimeRange, take_snapshot
from apps.monitor.views.guard import guarded
from apps.ui.page import head
from moderation import clock
from moderation.review.access import Session


def dashboard_view(engine: Engine, session: Session) -> None:
    """Draw the controls, and below them what refreshes by itself."""
    head("Overview", "What the API answered, how fast, and what people said to it.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        time_range = choose_time_range()
        refresh_s = choose_refresh_s()
        st.button("Refresh", icon=":material/refresh:")
    st.fragment(_refreshing, run_every=refresh_s)(engine, session, time_range)


@guarded
def _refreshing(engine: Engine, session: Session, time_range: TimeRange) -> None:
    check_database(engine)
    snapshot = take_snapshot(engine, session, time_range, clock.now())
    if not snapshot.predictions:
        show_emptiness(snapshot)
    else:
        show_figures(snapshot)
        show_charts(snapshot)
    if snapshot.predictions or snapshot.failures:
        show_failures(snapshot)
    if snapshot.predictions or snapshot.feedback.received:
        show_feedback(snapshot)
    if snapshot.predictions:
        show_newest(snapshot)
        show_versions(snapshot)
