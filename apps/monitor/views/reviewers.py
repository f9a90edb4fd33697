"""The reviewers' page: how much they do, how far they agree, how often they are right on golden items."""

import streamlit as st
from sqlalchemy import Engine

from apps.monitor.components.intervals import intervals_chart, number_columns, show_refusals
from apps.monitor.components.people import days_chart
from apps.monitor.services.people import PERIODS, People, read_people
from apps.monitor.views.guard import guarded
from apps.ui.colors import label_words
from apps.ui.page import head
from apps.ui.table import show_table
from moderation import clock
from moderation.labels import LABELS
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
    three = {name: st.column_config.NumberColumn(format="%.3f") for name in ("value", "low", "high")}
    if (people.agreement["why not"] == "").any():
        title = "Agreement of reviewers per label"
        chart = intervals_chart(people.agreement, "label", title, "Krippendorff's alpha", percent=False)
        st.altair_chart(chart, alt=title)
    show_refusals(people.agreement, "label")
    share = {"positive by consensus": st.column_config.NumberColumn(format="percent")}
    show_table(people.agreement, "agreement", number_columns() | three | share)
    if people.others.empty:
        return
    st.markdown("**Each reviewer and the consensus of the others**")
    label = st.selectbox("Label", list(map(label_words, LABELS)), key="people-label")
    chosen = people.others[people.others["label"] == label]
    title = f"Agreement with the others' consensus on {label}, beyond chance"
    st.altair_chart(intervals_chart(chosen, "reviewer", title, "Krippendorff's alpha", percent=False), alt=title)
    show_refusals(chosen, "reviewer")
    show_table(people.others, "agreement-with-others", number_columns() | three)


def _show_golden(people: People) -> None:
    st.subheader("Golden items", anchor=False)
    st.caption(
        "Texts with known labels come by unmarked. Right means: all six labels. Wilson's interval (95 %), all time."
    )
    if people.golden.empty:
        st.info("No golden item was labelled yet; `moderation reviews golden FILE` adds some.")
        return
    title = "Golden items with all labels right, per reviewer"
    st.altair_chart(intervals_chart(people.golden, "reviewer", title, "All labels right"), alt=title)
    show_table(people.golden, "golden-items", number_columns())
