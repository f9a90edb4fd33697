"""The live-quality page: how right the model is on this site's traffic, from reviews of a designed sample."""

import streamlit as st
from sqlalchemy import Engine

from apps.monitor.components.quality import (
    choose_part,
    choose_weeks,
    show_basis,
    show_beside,
    show_compared,
    show_quality,
)
from apps.monitor.services import quality
from apps.monitor.services.quality import Quality
from apps.monitor.views.guard import guarded
from apps.monitor.views.policy import read_policy
from apps.ui.page import head
from moderation import clock
from moderation.review.access import Session
from moderation.review.sample import LiveSample


@guarded
def quality_view(engine: Engine, session: Session) -> None:
    """Let the reader choose weeks, version and route, and show what is known of them."""
    head(
        "Live quality",
        "How right the model is on your traffic: from people's labels on a sample that was drawn at random, weighted "
        "back to all of it. Feedback is no part of it.",
    )
    now = clock.now()
    weeks = choose_weeks()
    live = quality.read(engine, session, weeks, now)
    version, route = choose_part(live)
    if version or route:
        live = quality.read(engine, session, weeks, now, version, route)
    if not len(live.ids):
        st.info(
            f"Nothing was drawn for review in these weeks. `moderation worker` draws {read_policy().draw_in_words}, "
            "and the figures begin with the first labels.",
            icon=":material/hourglass_empty:",
        )
        return
    show_basis(live, quality.answered(live))
    found = _estimate(live.fingerprint, live)
    show_quality(found)
    show_beside(found)
    if st.toggle("Compare weeks, versions or routes", key="compare"):
        show_compared(live)


@st.cache_resource(max_entries=32, show_spinner="Estimating")
def _estimate(fingerprint: str, _live: LiveSample) -> Quality:  # noqa: ARG001 - it is the cache's key
    return quality.estimate(_live)
