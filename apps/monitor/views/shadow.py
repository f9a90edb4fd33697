"""The shadow page: a candidate beside production on live traffic."""

import streamlit as st
from sqlalchemy import Engine

from apps.monitor.components.intervals import intervals_chart, number_columns, show_refusals
from apps.monitor.services import shadow
from apps.monitor.views.guard import guarded
from apps.ui.colors import short_version
from apps.ui.page import head
from apps.ui.table import show_table
from moderation import clock
from moderation.db.shadow import MOST_COMPARED
from moderation.review.access import Session


@guarded
def shadow_view(engine: Engine, session: Session) -> None:
    """Let the reader choose a range and a candidate, and show where it agrees with production."""
    head("Shadow", "What a candidate would have decided on the same comments. It was never answered.")
    name = st.segmented_control("Look back", list(shadow.RANGES), default="1 week", required=True, key="shadow_range")
    found = shadow.read(engine, session, shadow.RANGES[name], clock.now())
    if not found.candidates:
        st.info(
            "No candidate scored in this range. Name an alias of one in `MODERATION_SHADOW_ALIAS`: the API then scores "
            "a share of the traffic with it (`MODERATION_SHADOW_SHARE`), in the background.",
            icon=":material/hourglass_empty:",
        )
        return
    candidate = st.selectbox("Candidate", found.candidates, format_func=short_version, key="candidate")
    number, first, last = shadow.span(found.pairs, candidate)
    newest = f" These are the newest {MOST_COMPARED:,} in the range." if len(found.pairs.ids) == MOST_COMPARED else ""
    st.caption(f"{number:,} predictions from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC are compared.{newest}")
    _show_agreement(found, candidate)
    _show_disagreements(found, candidate)


def _show_agreement(found: shadow.Shadow, candidate: str) -> None:
    decisions = shadow.decisions_frame(found.pairs, candidate)
    title = "Agreement of decisions, by what production decided"
    st.altair_chart(intervals_chart(decisions, "decision of production", title, "Decided alike", "compared"), alt=title)
    show_refusals(decisions, "decision of production")
    show_table(decisions, "shadow-decisions", number_columns())
    labels = shadow.labels_frame(found.pairs, candidate)
    title = "Agreement of classes, where either version predicts one"
    st.altair_chart(intervals_chart(labels, "label", title, "Predicted by both", "compared"), alt=title)
    show_refusals(labels, "label")
    show_table(labels, "shadow-labels", number_columns())


def _show_disagreements(found: shadow.Shadow, candidate: str) -> None:
    st.subheader("Disagreements")
    total = sum(found.queue.values())
    st.markdown(
        f"The daily draw gives disagreements a share of the review budget of their own (the stratum `shadow` of "
        f"`configs/review.yaml`): **{total:,}** of this range were drawn so far, {found.queue.get('done', 0):,} of "
        "them are labelled. Who is right there is part of *Live quality*."
    )
    examples = shadow.examples_frame(found.pairs, candidate)
    if examples.empty:
        st.caption("The candidate decided everything alike.")
        return
    st.caption(
        f"The newest {len(examples):,}, without their texts: reviewers see those before they know what a model says."
    )
    time = st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss")
    show_table(examples, "shadow-disagreements", {"Time (UTC)": time})
