"""The charts of the reviewers' work, as Altair specifications, over the frames of `apps.monitor.services.people`."""

import altair as alt
import pandas as pd

from apps.ui.colors import BLUE

_ALL = alt.Axis(labelOverlap=False)


def days_chart(frame: pd.DataFrame) -> alt.Chart:
    """A strip per reviewer, the darker the more verdicts on that day."""
    chart: alt.Chart = (
        alt.Chart(frame, height=110 + 32 * frame["Reviewer"].nunique(), title="Verdicts per reviewer and day (count)")
        .mark_rect(color=BLUE, stroke="white", strokeWidth=1)
        .encode(
            x=alt.X("yearmonthdate(Day (UTC)):O", title="Day (UTC)", axis=alt.Axis(format="%d %b", labelOverlap=True)),
            y=alt.Y("Reviewer:N", title=None, axis=_ALL),
            opacity=alt.Opacity("Verdicts:Q", scale=alt.Scale(domainMin=0, range=[0.1, 1]), legend=None),
            tooltip=[
                alt.Tooltip("Day (UTC):T", format="%Y-%m-%d"),
                alt.Tooltip("Reviewer:N"),
                alt.Tooltip("Verdicts:Q", format=","),
                alt.Tooltip("Without labels:Q", format=","),
            ],
        )
    )
    return chart


def intervals_chart(frame: pd.DataFrame, name: str, value: str, title: str, ink_color: str) -> alt.LayerChart:
    """A point for each ``value`` and a line for its interval, one row per ``name``; rows without one are left out."""
    known = frame.dropna(subset=[value])
    tooltips = [alt.Tooltip(f"{each}:Q", format=".3~f") for each in (value, "From", "To")]
    base = alt.Chart(known, title=title).encode(
        y=alt.Y(f"{name}:N", title=None, sort=known[name].to_list(), axis=_ALL),
        tooltip=[alt.Tooltip(f"{name}:N"), *tooltips],
    )
    interval = base.mark_rule(strokeWidth=4, color=BLUE).encode(
        x=alt.X("From:Q", title=f"{value}, with its 95 % interval", scale=alt.Scale(zero=False, nice=True)), x2="To:Q"
    )
    point = base.mark_point(size=110, filled=True, opacity=1, color=ink_color).encode(x=alt.X(f"{value}:Q"))
    return alt.LayerChart(layer=[interval, point], height=110 + 32 * len(known))
