"""The parts of the live-quality page."""

from math import isnan

import streamlit as st

from apps.monitor.components.intervals import intervals_chart, number_columns, show_refusals
from apps.monitor.services import quality
from apps.monitor.services.estimates import FIGURES
from apps.monitor.services.quality import FREE_FIGURES, Answered, Quality
from apps.ui.colors import label_words, short_version
from apps.ui.table import offer_csv, show_table
from moderation.labels import LABELS
from moderation.review.estimation import MIN_GOLDEN
from moderation.review.sample import LiveSample

WEEKS = {"This week": 1, "4 weeks": 4, "12 weeks": 12, "52 weeks": 52}
_ALL = "all"
_ABOUT_MATCHES = (
    "The exact match is never corrected, because golden items have no prediction: reviewers who err make it look worse "
    "than it is."
)


def choose_weeks() -> int:
    """Return how many weeks to look at."""
    return WEEKS[st.segmented_control("Weeks", list(WEEKS), default="4 weeks", required=True, key="weeks")]


def choose_part(live: LiveSample) -> tuple[str | None, str | None]:
    """Return the version and route to look at; None: all."""
    versions, routes = quality.choices(live)
    with st.container(horizontal=True):
        version = st.selectbox("Version", [_ALL, *versions], format_func=short_version, key="quality_version")
        route = st.selectbox("Route", [_ALL, *routes], key="quality_route")
    return (None if version == _ALL else version), (None if route == _ALL else route)


def show_basis(live: LiveSample, found: Answered) -> None:
    """Show what the figures rest on."""
    with st.container(horizontal=True):
        st.metric("Drawn for review", f"{found.drawn:,}", border=True)
        st.metric("Labelled", f"{found.labelled:,}", border=True)
        st.metric("Waiting", f"{found.pending:,}", border=True)
        st.metric(
            "Non-response",
            _percent(found.non_response),
            border=True,
            help="Share of the closed items that nobody labelled (expired, or left unresolved). It is taken to be "
            "random among items of the same stratum, predicted class and score.",
        )
        st.metric(
            "Excluded traffic",
            _percent(live.excluded_share),
            border=True,
            help="Share of the predictions that could not be drawn: their text is not stored, their version's "
            "thresholds are not known, or they came after the draw. No figure on this page covers them.",
        )


def show_quality(found: Quality) -> None:
    """Draw every figure of every label with its interval, and say what is not known."""
    frame = quality.quality_frame(found)
    figure = st.segmented_control(
        "Figure", list(FIGURES), format_func=FIGURES.__getitem__, default="recall", required=True, key="figure"
    )
    words = FIGURES[figure]
    chosen = frame[frame["figure"] == words]
    title = f"{words} per label, with 95 % intervals"
    st.altair_chart(intervals_chart(chosen, "label", title, words), alt=title)
    show_refusals(chosen, "label")
    show_table(frame, "live-quality", number_columns())
    st.caption(f"{_about_reviewers(found)} {_ABOUT_MATCHES}")


def show_beside(found: Quality) -> None:
    """Show what the scores alone promise beside what reviews say, and raise the alarm where they disagree."""
    st.subheader("Reviews against the scores' own promise")
    if raised := quality.alarms(found):
        st.warning(
            f"Reviews contradict the scores: {'; '.join(raised)}. The scores are no longer calibrated on this traffic, "
            "or reviewers mean something else by the label. Believe the reviews.",
            icon=":material/crisis_alert:",
        )
    elif any(each.compared for each in found.disagreements.values()):
        st.success("Reviews do not contradict the scores (at 5 % for all labels together).", icon=":material/check:")
    else:
        st.info("There are too few reviews to compare with the scores.", icon=":material/hourglass_empty:")
    figure = st.segmented_control(
        "Compared", FREE_FIGURES, format_func=FIGURES.__getitem__, default="prevalence", required=True, key="beside"
    )
    frame = quality.beside_frame(found, figure)
    title = f"{FIGURES[figure]} by reviews and by calibrated scores alone"
    st.altair_chart(intervals_chart(frame, "label", title, FIGURES[figure], by="by"), alt=title)
    st.caption("The second needs no review, and holds only while the scores are calibrated.")
    offer_csv(frame, f"scores-alone-{figure}")


def show_compared(live: LiveSample) -> None:
    """Show one figure of one label week by week, or version by version."""
    st.subheader("One label over weeks, versions or routes")
    with st.container(horizontal=True):
        label = st.selectbox("Label", LABELS, format_func=label_words, key="compared_label")
        figure = st.selectbox("Figure", list(FIGURES), format_func=FIGURES.__getitem__, key="compared_figure")
        by = st.segmented_control("By", quality.BY, default="week", required=True, key="compared_by")
    frame = quality.compared(live, label, figure, by)
    words = f"{FIGURES[figure]} of {label_words(label)}"
    title = f"{words} by {by}, with 95 % intervals"
    st.altair_chart(intervals_chart(frame, by, title, words), alt=title)
    show_refusals(frame, by)
    show_table(frame, f"live-quality-by-{by}", number_columns())


def _about_reviewers(found: Quality) -> str:
    if found.corrected:
        names = ", ".join(map(label_words, found.corrected))
        return (
            f"Reviewers' errors are corrected by golden items for {names}; elsewhere reviewers are taken to be right."
        )
    return (
        f"Reviewers are taken to be right: for a correction each label needs {MIN_GOLDEN} answers to golden items that "
        f"have it, and {MIN_GOLDEN} to some that do not."
    )


def _percent(share: float | None) -> str:
    return "–" if share is None or isnan(share) else f"{100 * share:.1f} %"
