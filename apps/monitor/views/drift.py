"""The drift page: whether what a version sees is still what it saw in its first days."""

import altair as alt
import pandas as pd
import streamlit as st
from sqlalchemy import Engine

from apps.monitor.services import drift
from apps.monitor.services.database import explain
from apps.monitor.services.drift import LATER_DAYS, DriftPage
from apps.monitor.services.lineage import served_version, version_names
from apps.ui.colors import SIX_COLORS
from apps.ui.notice import show_problem
from apps.ui.page import head
from apps.ui.table import offer_csv, show_table
from moderation import clock
from moderation.db.promotion import known_versions
from moderation.errors import ModerationError
from moderation.review.access import Session
from moderation.statistics.noise import BASELINE_DAYS

_DASHES = [[1.0, 0.0], [6.0, 3.0], [2.0, 2.0], [8.0, 2.0, 2.0, 2.0], [12.0, 3.0], [4.0, 1.0]]


def drift_view(engine: Engine, session: Session) -> None:  # noqa: ARG001 - every page gets both
    """Let the reader choose a version, and show its days."""
    head("Drift", f"Whether a version still sees what it saw in its first {BASELINE_DAYS} days on this site.")
    try:
        records = {record.version: record for record in known_versions(engine)}
        names = version_names(list(records.values()), served_version(engine))
        chosen = st.selectbox("Version", list(names), format_func=names.__getitem__, key="drift_version")
        found = drift.read(engine, records[chosen], clock.now()) if chosen else None
    except ModerationError as error:
        show_problem(explain(error))
        return
    if found is None:
        st.info("This version has answered on no full day yet.", icon=":material/hourglass_empty:")
        return
    _show_alarms(found)
    _show_classes(found)
    _show_distances(found)


def _show_alarms(found: DriftPage) -> None:
    alarms = drift.alarms_frame(found)
    changed = alarms.loc[alarms["state"] == "changed", "label"].to_list()
    if changed:
        st.warning(
            f"Predicted more or less often than before: {', '.join(changed)}. People, their topics or an attack may "
            "have changed; *Live quality* says whether the model is still right.",
            icon=":material/crisis_alert:",
        )
    st.subheader("The daily watch")
    show_table(alarms, "drift-alarms", {"share since": st.column_config.NumberColumn(format="percent")})
    st.caption(
        "May be looked at every day: all labels together raise a false alarm in at most 5 % of quiet first years."
    )
    evidence = drift.evidence_frame(found)
    if not evidence.empty:
        title = "Evidence of a change per day"
        st.markdown(f"**{title}**: at 100 % the alarm is raised")
        scale = alt.Scale(type="sqrt", domain=[0, max(1.0, float(evidence["of the alarm"].max()))])
        st.altair_chart(_lines(evidence, "of the alarm", "Of the alarm (%)", "%", scale), alt=title)
        offer_csv(evidence, "drift-evidence")


def _show_classes(found: DriftPage) -> None:
    st.subheader("Predicted classes per day")
    frame = drift.classes_frame(found)
    scale = alt.Scale(type="sqrt", domainMin=0)
    st.altair_chart(_lines(frame, "share", "Share (%)", ".1%", scale), alt="Predicted classes per day")
    offer_csv(frame, "drift-classes")


def _show_distances(found: DriftPage) -> None:
    st.subheader(f"The last {LATER_DAYS} days against the first {BASELINE_DAYS}")
    show_table(drift.distances_frame(found), "drift-distances")
    st.caption(
        "PSI if quiet: what two such ranges of a site differ by on average while nothing happens; the p-value says how "
        "often they differ as much. The training data is only shown: no site is like it. Language and unknown "
        "characters are not logged."
    )


def _lines(frame: pd.DataFrame, value: str, title: str, axis: str, scale: alt.Scale) -> alt.Chart:
    names = frame["label"].drop_duplicates().to_list()
    legend = alt.Legend(title=None, orient="bottom", columns=3, symbolType="stroke", symbolSize=400)
    chart: alt.Chart = (
        alt.Chart(frame, height=340)
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("day:T", title="Day (UTC)", scale=alt.Scale(type="utc")),
            y=alt.Y(f"{value}:Q", title=title, axis=alt.Axis(format=axis), scale=scale),
            color=alt.Color("label:N", scale=alt.Scale(domain=names, range=list(SIX_COLORS)), legend=legend),
            strokeDash=alt.StrokeDash("label:N", scale=alt.Scale(domain=names, range=_DASHES), legend=legend),
            tooltip=[alt.Tooltip("day:T"), alt.Tooltip("label:N"), alt.Tooltip(f"{value}:Q", format=".2%")],
        )
    )
    return chart
