"""The charts of the drift page, as Altair specifications; each is over days."""

from collections.abc import Mapping

import altair as alt
import pandas as pd

from apps.ui.colors import BLUE, SIX_COLORS

_DASHES = [[1.0, 0.0], [6.0, 3.0], [2.0, 2.0], [8.0, 2.0, 2.0, 2.0], [12.0, 3.0], [4.0, 1.0]]
_HEIGHT = 340


def lines_chart(frame: pd.DataFrame, value: str, title: str, axis: str, scale: alt.Scale) -> alt.Chart:
    """A line per label, told apart by colour and by dash."""
    names = frame["label"].drop_duplicates().to_list()
    legend = alt.Legend(title=None, orient="bottom", columns=3, symbolType="stroke", symbolSize=400)
    chart: alt.Chart = (
        alt.Chart(frame, height=_HEIGHT)
        .mark_line(strokeWidth=2)
        .encode(
            x=_days(),
            y=alt.Y(f"{value}:Q", title=title, axis=alt.Axis(format=axis), scale=scale),
            color=alt.Color("label:N", scale=alt.Scale(domain=names, range=list(SIX_COLORS)), legend=legend),
            strokeDash=alt.StrokeDash("label:N", scale=alt.Scale(domain=names, range=_DASHES), legend=legend),
            tooltip=[alt.Tooltip("day:T"), alt.Tooltip("label:N"), alt.Tooltip(f"{value}:Q", format=".2%")],
        )
    )
    return chart


def levels_chart(frame: pd.DataFrame, levels: Mapping[str, float], ink_color: str) -> alt.LayerChart:
    """One class's line, against levels that are drawn across and named."""
    line = (
        alt.Chart(frame)
        .mark_line(strokeWidth=2, color=BLUE)
        .encode(
            x=_days(),
            y=alt.Y("share:Q", title="Share (%)", axis=alt.Axis(format=".1%"), scale=alt.Scale(domainMin=0)),
            tooltip=[
                alt.Tooltip("day:T"),
                alt.Tooltip("share:Q", format=".2%"),
                alt.Tooltip("predicted:Q", format=","),
            ],
        )
    )
    base = alt.Chart(pd.DataFrame(levels.items(), columns=["level", "share"])).encode(y="share:Q")
    tooltip = [alt.Tooltip("level:N"), alt.Tooltip("share:Q", format=".2%")]
    rule = base.mark_rule(color=ink_color, strokeDash=[6, 4]).encode(tooltip=tooltip)
    name = base.mark_text(color=ink_color, align="left", baseline="bottom", dy=-3).encode(
        x=alt.value(4), text="level:N"
    )
    return alt.LayerChart(layer=[line, rule, name], height=_HEIGHT)


def languages_chart(frame: pd.DataFrame) -> alt.Chart:
    """Bars per day, parted by language."""
    names = frame["language"].drop_duplicates().to_list()
    legend = alt.Legend(title=None, orient="bottom", columns=3)
    chart: alt.Chart = (
        alt.Chart(frame, height=_HEIGHT)
        .mark_bar(orient="vertical")
        .encode(
            x=_days(),
            y=alt.Y("share:Q", title="Share (%)", axis=alt.Axis(format=".0%"), stack="normalize"),
            color=alt.Color("language:N", scale=alt.Scale(domain=names, scheme="tableau10"), legend=legend),
            order=alt.Order("texts:Q", sort="descending"),
            tooltip=[
                alt.Tooltip("day:T"),
                alt.Tooltip("language:N"),
                alt.Tooltip("share:Q", format=".1%"),
                alt.Tooltip("texts:Q", format=","),
            ],
        )
    )
    return chart


def texts_chart(frame: pd.DataFrame, value: str, title: str, axis: str) -> alt.Chart:
    """One line of what is measured of texts."""
    chart: alt.Chart = (
        alt.Chart(frame[["day", value]].dropna(), height=_HEIGHT)
        .mark_line(strokeWidth=2, color=BLUE, point=alt.OverlayMarkDef(size=16))
        .encode(
            x=_days(),
            y=alt.Y(f"{value}:Q", title=title, axis=alt.Axis(format=axis), scale=alt.Scale(domainMin=0)),
            tooltip=[alt.Tooltip("day:T"), alt.Tooltip(f"{value}:Q", format=axis)],
        )
    )
    return chart


def _days() -> alt.X:
    return alt.X("day:T", title="Day (UTC)", scale=alt.Scale(type="utc"))
