"""The chart of the reviewers' work, as an Altair specification, over a frame of `apps.monitor.services.people`."""

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
