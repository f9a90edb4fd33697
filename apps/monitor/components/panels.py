"""The parts of the dashboard, from the figures at the top to the tables at the bottom."""

from math import isnan

import altair as alt
import pandas as pd
import streamlit as st

from apps.monitor.components import charts
from apps.monitor.components.intervals import intervals_chart
from apps.monitor.services import frames
from apps.monitor.services.snapshot import MOST_ROWS, Snapshot
from apps.ui.colors import ink
from apps.ui.table import offer_csv, show_table

_CLASSES = (
    "A class is predicted when its score reaches the review threshold of the version that scored it. One comment may "
    "have several."
)
_PARTS = "Percentiles of the parts do not add up to that of the whole. What comes from the cache has no inference."
_FAILURES = (
    "Counted by each server per minute and logged with its predictions, connections that were refused before there was "
    "a request among them. A server that is killed takes the counts of its last minute with it."
)
_METRIC_PX = 165
"""Two beside each other on a phone; the last of a row is no wider than the others."""
_TRY_IT = (
    """curl -s "${MODERATION_API_URL:-http://127.0.0.1:8000}/predict" -H 'Content-Type: application/json' """
    """-d '{"comment_text": "You are disgusting."}'"""
)


def show_emptiness(snapshot: Snapshot) -> None:
    """Say why there is nothing to see, and what to do about it."""
    if snapshot.last_at is not None:
        newest = f"{snapshot.last_at:%Y-%m-%d %H:%M} UTC"
        st.info(
            f"No predictions in this range. The newest is from {newest}: choose a longer one.",
            icon=":material/history:",
        )
        return
    st.info(
        "No predictions yet. Start the API with `make up` or `moderation serve`, then score a comment in the moderator "
        "app or with the line below, and refresh.",
        icon=":material/hourglass_empty:",
    )
    st.code(_TRY_IT, language="bash", wrap_lines=True)


def show_figures(snapshot: Snapshot) -> None:
    """Show the range in seven figures."""
    feedback, latency = snapshot.feedback, snapshot.total.latency
    p95 = f"{latency.p95_ms:,.1f} ms" if latency else "–"
    with st.container(horizontal=True):
        for name, value, said in (
            ("Predictions", f"{snapshot.predictions:,}", None),
            ("Latency, p95", p95, "19 of 20 predictions took no longer, measured in the API; within 2.5 %."),
            ("Acted on", _percent(snapshot.acted_on_share), "Share whose decision was review or remove."),
            ("From the cache", _percent(snapshot.cached_share), "Share that needed no inference."),
            ("Errors", f"{snapshot.faults:,}", "Requests that were answered with 5xx: faults, and no room."),
            ("Feedback", f"{feedback.received:,}", "Verdicts that arrived in this range."),
            ("Agreement", _percent(snapshot.agreement.value), "Share of the feedback that agrees."),
        ):
            st.metric(name, value, border=True, width=_METRIC_PX, help=said)


def show_charts(snapshot: Snapshot) -> None:
    """Draw volume, decisions, classes, latency and its parts, and cache hits over time, with the moves of aliases."""
    bucket, axis, periods = snapshot.time_range.bucket_name, _axis(snapshot), frames.periods_frame(snapshot)
    if not periods.empty:
        st.subheader("Versions in service", help="Every chart has a dashed line where an alias moved.")
        st.altair_chart(charts.periods_chart(periods, axis, ink()), alt="Which version each alias pointed to")
        offer_csv(periods, "versions-in-service")

    def show(title: str, frame: pd.DataFrame, chart: alt.Chart, said: str | None = None) -> None:
        st.subheader(title, help=said)
        st.altair_chart(charts.marked(chart, periods, ink()), alt=title)
        offer_csv(frame, title.lower().replace(",", "").replace(" ", "-"))

    left, right = st.columns(2, gap="medium")
    with left:
        volume = frames.volume_frame(snapshot)
        show("Volume over time", volume, charts.volume_chart(volume, bucket, axis))
        decisions = frames.decisions_frame(snapshot)
        show("Decisions over time", decisions, charts.decisions_chart(decisions, bucket, axis))
        cache = frames.cache_frame(snapshot)
        show("Cache hits over time", cache, charts.cache_chart(cache, axis))
    with right:
        latency = frames.latency_frame(snapshot)
        show("Latency over time", latency, charts.latency_chart(latency, axis))
        classes = frames.classes_frame(snapshot)
        show("Predicted classes over time", classes, charts.classes_chart(classes, axis), _CLASSES)
        percentile = st.segmented_control(
            "Percentile of the parts", ["p50", "p95", "p99"], default="p95", required=True, key="part_percentile"
        )
        parts = frames.parts_frame(snapshot, percentile)
        if parts["latency_ms"].notna().any():
            show("Parts of the latency", parts, charts.parts_chart(parts, percentile, axis), _PARTS)
        else:
            st.caption("No part of the latency was measured in this range.")


def show_failures(snapshot: Snapshot) -> None:
    """Draw what was refused or failed over time, with the moves of aliases."""
    st.subheader("Errors over time", help=_FAILURES)
    frame, periods = frames.failures_frame(snapshot), frames.periods_frame(snapshot)
    if frame.empty:
        st.caption("No request was refused or failed in this range.")
        return
    chart = charts.failures_chart(frame, snapshot.time_range.bucket_name, _axis(snapshot))
    st.altair_chart(charts.marked(chart, periods, ink()), alt="Errors over time")
    offer_csv(frame, "errors-over-time")


def show_feedback(snapshot: Snapshot) -> None:
    """Show what people said, and what that does not mean."""
    feedback, agreement = snapshot.feedback, snapshot.agreement
    st.subheader("Feedback")
    if agreement.refusal is not None:
        st.info("No feedback in this range. The moderator app sends it, and so does `POST /feedback`.")
        return
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown(
            f"**{feedback.agreed:,} of {feedback.received:,} agree: {_percent(agreement.value)}** "
            f"(95 % interval {_percent(agreement.low)} to {_percent(agreement.high)})"
        )
        frame, title = frames.agreement_frame(snapshot), "Share of feedback that agrees, with its interval"
        st.altair_chart(intervals_chart(frame, "of", title, "Feedback that agrees"), alt=title)
        offer_csv(frame, "agreement-of-feedback")
        st.caption(
            "People choose which predictions they answer, and answer most when something strikes them. So this is "
            "no measure of the model's accuracy; the interval covers chance alone, not that choice."
        )
    with right:
        if any(each.missed or each.false_alarms for each in feedback.labels):
            st.markdown("**What the corrections say**")
            corrections = frames.corrections_frame(snapshot)
            st.altair_chart(charts.corrections_chart(corrections), alt="Corrections per label")
            offer_csv(corrections, "corrections")
        else:
            st.caption("No label was corrected in this range.")


def show_newest(snapshot: Snapshot) -> None:
    """List the newest predictions."""
    st.subheader("Newest predictions")
    only_judged = st.toggle("Only those with feedback", key="only_judged", help=f"Among the newest {MOST_ROWS}.")
    rows = [each for each in snapshot.newest if each.feedback is not None or not only_judged]
    if not rows:
        st.caption(f"None of the newest {len(snapshot.newest):,} has feedback.")
        return
    columns = {
        "Time (UTC)": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss"),
        "Comment": st.column_config.TextColumn(width="large"),
        "Latency (ms)": st.column_config.NumberColumn(format="%.1f"),
    }
    if not snapshot.texts:
        st.caption("Without their texts: whoever reviews reads those before knowing what the model said.")
    show_table(frames.newest_frame(rows, snapshot.texts), "newest-predictions", columns)


def show_versions(snapshot: Snapshot) -> None:
    """List the versions that answered."""
    st.subheader("Model versions in service")
    time = st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss")
    columns = dict.fromkeys(("First answer (UTC)", "Last answer (UTC)", "First seen (UTC)"), time)
    show_table(frames.versions_frame(snapshot), "model-versions", columns)


def _axis(snapshot: Snapshot) -> charts.TimeAxis:
    begun = min(snapshot.start, snapshot.traffic[0].at)  # a bucket may begin before the range does
    return charts.TimeAxis(begun, snapshot.end, snapshot.time_range.time_format)


def _percent(share: float | None) -> str:
    return "–" if share is None or isnan(share) else f"{100 * share:.0f} %"
