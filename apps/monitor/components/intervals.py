"""Shares with their 95 % intervals, as a chart that every page of figures uses."""

from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from apps.ui.colors import BLUE, ORANGE

REFUSAL = "why not"
"""Column that says in words why a row has no figure; empty where it has one."""


def intervals_chart(
    frame: pd.DataFrame,
    of: str,
    title: str,
    unit: str,
    counted: str = "reviews",
    by: str | None = None,
    percent: bool = True,
) -> alt.LayerChart:
    """Points with their intervals, one row per ``of``, and in each row one per ``by``; refused ones are left empty.

    ``frame`` has value, low and high, written as ``percent`` or as they are, and ``counted``, how many there are behind
    each.
    """
    order = frame[of].drop_duplicates().to_list()
    base = alt.Chart(frame[frame[REFUSAL] == ""]).encode(
        y=alt.Y(
            f"{of}:N",
            sort=order,
            title=None,
            scale=alt.Scale(domain=order),
            axis=alt.Axis(labelLimit=150, grid=True, tickBand="extent"),
        ),
        tooltip=[
            alt.Tooltip(f"{of}:N"),
            *(alt.Tooltip(f"{name}:Q", format=".2%" if percent else ".3f") for name in ("value", "low", "high")),
            alt.Tooltip(f"{counted}:Q", format=","),
        ],
    )
    if by is None:
        base = base.encode(color=alt.value(BLUE))
    else:
        kinds = frame[by].drop_duplicates().to_list()
        legend = alt.Legend(title=None, orient="bottom")
        base = base.encode(
            yOffset=alt.YOffset(f"{by}:N", sort=kinds),
            color=alt.Color(f"{by}:N", scale=alt.Scale(domain=kinds, range=[BLUE, ORANGE]), legend=legend),
        )
    unit, written = (f"{unit} (%)", "%") if percent else (unit, "~f")
    x = alt.X("low:Q", title=unit, axis=alt.Axis(format=written), scale=alt.Scale(zero=False))
    rule = base.mark_rule(strokeWidth=3).encode(x=x, x2="high:Q")
    point = base.mark_point(size=110, filled=True, opacity=1).encode(x="value:Q")
    heading = alt.TitleParams(title, anchor="start", fontSize=14)
    return alt.LayerChart(
        layer=[rule, point], height=80 + (32 if by is None else 48) * max(len(order), 1), title=heading
    )


def number_columns() -> dict[str, Any]:
    """Return how tables write value, low, high and the refusal."""
    percent = {name: st.column_config.NumberColumn(format="percent") for name in ("value", "low", "high")}
    return {**percent, REFUSAL: st.column_config.TextColumn(width="large")}


def show_refusals(frame: pd.DataFrame, of: str) -> None:
    """Say in words what has no figure yet, and why."""
    for reason, rows in frame[frame[REFUSAL] != ""].groupby(REFUSAL, sort=False):
        names = ", ".join(map(str, rows[of]))
        st.caption(f"**{names}**: not known yet. {str(reason)[0].upper()}{str(reason)[1:]}.")
