"""The reviewers' page: how much they do, how far they agree, how often they are right on golden items."""

import streamlit as st
from sqlalchemy import Engine

from apps.monitor.components.people import days_chart, intervals_chart
from apps.monitor.services.people import PERIODS, People, read_people
from apps.monitor.views.guard import guarded
from apps.ui.colors import ink
from apps.ui.page import head
from apps.ui.table import show_table
from moderation import clock
from moderation.review.access import Session


@guarded
def reviewers_view(engine: Engine, session: Session) -> None:
    """Draw the reviewers' work; an admin sees everybody's, a reviewer the own."""
    head(
        "Reviewers",
        "How much everybody reviews, how far they agree, how often they are right."
        if session.role == "admin"
        else "How much you review, how far reviewers agree, how often you are right.",
    )
    chosen = st.segmented_control("Look back", list(PERIODS), default="30 days", required=True, key="people-period")
    people = read_people(engine, session, PERIODS[chosen], clock.now())
    _show_days(people)
    _show_agreement(people)
    _show_golden(people)


def _show_days(people: People) -> None:
    st.subheader("Throughput", anchor=False)
    if people.days.empty:
        st.info("Nobody reviewed in this period.")
        return
    st.altair_chart(days_chart(people.days), alt="Verdicts per reviewer and day")
    day = st.column_config.DateColumn(format="YYYY-MM-DD")
    show_table(people.days.iloc[::-1], "reviews-per-day", {"Day (UTC)": day})


def _show_agreement(people: People) -> None:
    st.subheader("Agreement", anchor=False)
    st.caption(
        "Krippendorff's alpha on items that several reviewers labelled blind: 1 is full agreement, 0 what chance would "
        "give. The interval (95 %) is a bootstrap over items."
    )
    frame = people.agreement
    if frame["Alpha"].notna().any():
        chart = intervals_chart(frame, "Label", "Alpha", "Krippendorff's alpha per label", ink())
        st.altair_chart(chart, alt="Agreement of reviewers per label")
    three = st.column_config.NumberColumn(format="%.3f")
    one = st.column_config.NumberColumn(format="%.1f")
    columns = {"Alpha": three, "From": three, "To": three, "Positive by consensus (%)": one}
    show_table(frame, "agreement", columns)


def _show_golden(people: People) -> None:
    st.subheader("Golden items", anchor=False)
    st.caption(
        "Texts with known labels come by unmarked. Right means: all six labels. Wilson's interval (95 %), all time."
    )
    frame = people.golden
    if frame.empty:
        st.info("No golden item was labelled yet; `moderation reviews golden FILE` adds some.")
        return
    value = "All labels right (%)"
    chart = intervals_chart(frame, "Reviewer", value, "Golden items with all labels right (%)", ink())
    st.altair_chart(chart, alt="Golden items answered right, per reviewer")
    one = st.column_config.NumberColumn(format="%.1f")
    show_table(frame, "golden-items", {value: one, "From": one, "To": one})
