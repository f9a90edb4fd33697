"""The charts of the dashboard, as Altair specifications; what they show comes from `apps.monitor.services.frames`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import altair as alt
import pandas as pd

from apps.monitor.services.frames import FAILURE_KINDS
from apps.ui.colors import BLUE, DECISION_COLORS, GREEN, ORANGE, SIX_COLORS, VERMILION


@dataclass(frozen=True)
class TimeAxis:
    """The time that all charts of a page span, so that they can be read below each other; the format is d3's."""

    start: datetime
    end: datetime
    time_format: str


# Of the whole chart, axes and legend included.
_HEIGHT, _HEIGHT_WITH_LEGEND = 280, 340
_FAILURE_COLORS = (VERMILION, ORANGE, BLUE, GREEN, SIX_COLORS[4])
_FROM = alt.Tooltip("at:T", title="From (UTC)", format="%Y-%m-%d %H:%M", timeUnit="utcyearmonthdatehoursminutes")


def volume_chart(frame: pd.DataFrame, bucket: str, axis: TimeAxis) -> alt.Chart:
    """Bars of predictions per bucket."""
    chart: alt.Chart = (
        alt.Chart(frame, height=_HEIGHT)
        .mark_bar(color=BLUE, orient="vertical")
        .encode(
            x=_time(axis),
            x2="until:T",
            y=_count(f"Predictions per {bucket}"),
            tooltip=[_FROM, alt.Tooltip("predictions:Q", format=",")],
        )
    )
    return chart


def decisions_chart(frame: pd.DataFrame, bucket: str, axis: TimeAxis) -> alt.Chart:
    """Stacked bars of predictions per bucket, by decision."""
    chart: alt.Chart = (
        alt.Chart(frame, height=_HEIGHT_WITH_LEGEND)
        .mark_bar(orient="vertical")
        .encode(
            x=_time(axis),
            x2="until:T",
            y=_count(f"Predictions per {bucket}"),
            color=alt.Color(
                "decision:N", scale=_scale(list(DECISION_COLORS), list(DECISION_COLORS.values())), legend=_legend()
            ),
            tooltip=[_FROM, alt.Tooltip("decision:N"), alt.Tooltip("predictions:Q", format=",")],
        )
    )
    return chart


def failures_chart(frame: pd.DataFrame, bucket: str, axis: TimeAxis) -> alt.Chart:
    """Stacked bars of requests that were refused or failed, by kind."""
    chart: alt.Chart = (
        alt.Chart(frame, height=_HEIGHT_WITH_LEGEND)
        .mark_bar(orient="vertical")
        .encode(
            x=_time(axis),
            x2="until:T",
            y=alt.Y(
                "requests:Q", title=f"Requests per {bucket}", axis=alt.Axis(tickMinStep=1, format="~s"), stack="zero"
            ),
            color=alt.Color("kind:N", scale=_scale(FAILURE_KINDS, _FAILURE_COLORS), legend=_legend()),
            tooltip=[_FROM, alt.Tooltip("kind:N"), alt.Tooltip("status:Q"), alt.Tooltip("requests:Q", format=",")],
        )
    )
    return chart


def latency_chart(frame: pd.DataFrame, axis: TimeAxis) -> alt.Chart:
    """Lines of the three percentiles, told apart by colour and by dash."""
    return _latency_lines(frame, "percentile", axis, "Latency (ms)")


def parts_chart(frame: pd.DataFrame, percentile: str, axis: TimeAxis) -> alt.Chart:
    """Lines of the parts of the latency, told apart by colour and by dash."""
    return _latency_lines(frame, "part", axis, f"{percentile} of each part (ms)")


def cache_chart(frame: pd.DataFrame, axis: TimeAxis) -> alt.Chart:
    """Bars of the share that came from the cache."""
    chart: alt.Chart = (
        alt.Chart(frame, height=_HEIGHT)
        .mark_bar(color=GREEN, orient="vertical")
        .encode(
            x=_time(axis),
            x2="until:T",
            y=alt.Y("share:Q", title="From the cache (%)", axis=alt.Axis(format=".0%"), scale=alt.Scale(domainMin=0)),
            tooltip=[
                _FROM,
                alt.Tooltip("share:Q", format=".1%"),
                alt.Tooltip("cached:Q", format=","),
                alt.Tooltip("predictions:Q", format=","),
            ],
        )
    )
    return chart


def periods_chart(frame: pd.DataFrame, axis: TimeAxis, ink_color: str) -> alt.LayerChart:
    """A bar per period in which an alias pointed to a version, with the version written on it."""
    base = alt.Chart(frame).encode(
        x=_time(axis),
        y=alt.Y("alias:N", title=None),
        tooltip=[
            alt.Tooltip("alias:N"),
            alt.Tooltip("version:N"),
            alt.Tooltip("at:T", title="From (UTC)", format="%Y-%m-%d %H:%M"),
            alt.Tooltip("until:T", title="Until (UTC)", format="%Y-%m-%d %H:%M"),
        ],
    )
    bar = base.mark_bar(color=BLUE, opacity=0.25, stroke=ink_color, strokeWidth=1).encode(x2="until:T")
    name = base.mark_text(align="left", dx=5, color=ink_color).encode(text="version:N")
    return alt.LayerChart(layer=[bar, name], height=75 + 32 * frame["alias"].nunique())


def marked(chart: alt.Chart, periods: pd.DataFrame, ink_color: str) -> alt.Chart | alt.LayerChart:
    """Return a chart over time with a line wherever an alias moved in its range."""
    moved = periods[periods["began"]]
    if moved.empty:
        return chart
    rule = (
        alt.Chart(moved.assign(move=moved["alias"] + " → " + moved["version"]))
        .mark_rule(color=ink_color, strokeDash=[4, 4], strokeWidth=1.5)
        .encode(x="at:T", tooltip=[alt.Tooltip("move:N"), _FROM])
    )
    return alt.LayerChart(layer=[chart, rule])


def classes_chart(frame: pd.DataFrame, axis: TimeAxis) -> alt.Chart:
    """A strip per class, the darker the larger its share; one comment may have several classes."""
    # The root spreads the small shares, where the rare classes live.
    shades = alt.Scale(type="sqrt", domainMin=0, range=[0.03, 1])
    chart: alt.Chart = (
        alt.Chart(frame, height=_HEIGHT_WITH_LEGEND)
        .mark_rect(color=BLUE)
        .encode(
            x=_time(axis),
            x2="until:T",
            y=alt.Y(
                "label:N",
                sort=frame["label"].drop_duplicates().to_list(),
                title=None,
                scale=alt.Scale(paddingInner=0.15),
            ),
            opacity=alt.Opacity(
                "share:Q",
                scale=shades,
                legend=alt.Legend(
                    title="Share of predictions (%)",
                    orient="bottom",
                    format=".0%",
                    tickCount=4,
                    symbolType="square",
                    symbolFillColor=BLUE,
                    symbolStrokeWidth=0,
                ),
            ),
            tooltip=[
                _FROM,
                alt.Tooltip("label:N", title="class"),
                alt.Tooltip("share:Q", format=".1%"),
                alt.Tooltip("predicted:Q", title="with the class", format=","),
                alt.Tooltip("predictions:Q", title="of predictions", format=","),
            ],
        )
    )
    return chart


def corrections_chart(frame: pd.DataFrame) -> alt.Chart:
    """Bars of what corrections said per label: classes that were missed, and false alarms."""
    kinds = ["missed", "false alarm"]
    chart: alt.Chart = (
        alt.Chart(frame, height=_HEIGHT_WITH_LEGEND)
        .mark_bar()
        .encode(
            y=alt.Y("label:N", sort=frame["label"].drop_duplicates().to_list(), title=None),
            yOffset=alt.YOffset("kind:N", sort=kinds),
            x=alt.X("corrections:Q", title="Corrections (count)", axis=alt.Axis(tickMinStep=1, format="~s")),
            color=alt.Color("kind:N", scale=_scale(kinds, [ORANGE, BLUE]), legend=_legend()),
            tooltip=[
                alt.Tooltip("label:N"),
                alt.Tooltip("kind:N"),
                alt.Tooltip("corrections:Q", format=","),
                alt.Tooltip("judged:Q", title="of corrections with this label", format=","),
            ],
        )
    )
    return chart


def _latency_lines(frame: pd.DataFrame, by: str, axis: TimeAxis, title: str) -> alt.Chart:
    names = frame[by].drop_duplicates().to_list()
    legend = alt.Legend(title=None, orient="bottom", columns=3, symbolType="stroke", symbolSize=400)
    chart: alt.Chart = (
        alt.Chart(frame, height=_HEIGHT)
        .mark_line(point=alt.OverlayMarkDef(size=16), strokeWidth=2)
        .encode(
            # Every bucket has its row; with the range as the domain, Vega-Lite draws lines at its beginning.
            x=_time(axis, whole=False),
            y=alt.Y("latency_ms:Q", title=title, axis=alt.Axis(format="~s")),
            color=alt.Color(f"{by}:N", scale=_scale(names, (BLUE, ORANGE, GREEN)), legend=legend),
            strokeDash=alt.StrokeDash(
                f"{by}:N", scale=_scale(names, [[1.0, 0.0], [6.0, 3.0], [2.0, 2.0]]), legend=legend
            ),
            tooltip=[_FROM, alt.Tooltip(f"{by}:N"), alt.Tooltip("latency_ms:Q", title="ms", format=",.1f")],
        )
    )
    return chart


def _time(axis: TimeAxis, whole: bool = True) -> alt.X:
    """Return the time axis; ``whole``: it spans the range also where the data does not."""
    domain = [1000 * each.timestamp() for each in (axis.start, axis.end)] if whole else alt.Undefined
    ticks = alt.Axis(labelOverlap=True, format=axis.time_format)
    return alt.X("at:T", title="Time (UTC)", scale=alt.Scale(type="utc", domain=domain), axis=ticks)


def _count(title: str) -> alt.Y:
    return alt.Y("predictions:Q", title=title, axis=alt.Axis(tickMinStep=1, format="~s"))


def _scale(domain: Sequence[str], values: Sequence[str] | Sequence[list[float]]) -> alt.Scale:
    return alt.Scale(domain=list(domain), range=list(values))


def _legend() -> alt.Legend:
    return alt.Legend(title=None, orient="bottom", columns=3)
