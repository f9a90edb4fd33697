"""Scores as bars against their thresholds, and the same as numbers."""

import altair as alt
import pandas as pd
import streamlit as st

from apps.moderator.services.comment import LabelScore, ScoredComment
from apps.ui.colors import BLUE, ORANGE, VERMILION, ink, label_words
from apps.ui.table import offer_csv

_REACHED = {"below": "below both", "review": "reaches review", "remove": "reaches removal"}
# SVG paths in a square of side 2: a bare stroke, and one with feet.
_REVIEW_MARK, _REMOVE_MARK = "M0,-1L0,1", "M-0.5,-1L0.5,-1M0,-1L0,1M-0.5,1L0.5,1"
_NUMBER_AT = 1.02
_ROW_PX, _BELOW_ROWS_PX = 36, 175


def show_scores(scored: ScoredComment) -> None:
    """Draw one bar per label; the numbers lie one click away."""
    st.altair_chart(score_chart(scored.label_scores, ink()), alt=scores_in_words(scored.label_scores))
    if not scored.thresholds_known:
        st.info("The thresholds of the version that scored this comment are not at hand now; score it again for them.")
    with st.expander("Numbers", icon=":material/table:"):
        numbers = _numbers(scored.label_scores)
        st.dataframe(numbers, hide_index=True, placeholder="never", alt="Scores and thresholds")
        offer_csv(numbers, "scores")


def score_chart(label_scores: tuple[LabelScore, ...], ink_color: str) -> alt.LayerChart:
    """Return horizontal bars on [0, 1], coloured by the threshold they reach, with both thresholds drawn."""
    scores = pd.DataFrame(
        {
            "label": [label_words(each.label) for each in label_scores],
            "score": [each.score for each in label_scores],
            "reached": [_REACHED[each.reached] for each in label_scores],
            "number_at": _NUMBER_AT,
        }
    )
    thresholds = pd.DataFrame(
        [
            {"label": label_words(each.label), "kind": kind, "threshold": value}
            for each in label_scores
            for kind, value in (("review from", each.review), ("remove from", each.remove))
            if value is not None
        ],
        columns=["label", "kind", "threshold"],
    )
    order = scores["label"].to_list()
    label = alt.Y("label:N", sort=order, title=None, axis=alt.Axis(labelLimit=110))
    # Beyond 1 there is room for the numbers.
    scale, axis = alt.Scale(domain=[0, 1.16], nice=False), alt.Axis(values=[0, 0.25, 0.5, 0.75, 1], format=".2~f")
    bars = (
        alt.Chart(scores)
        .mark_bar(height=16, cornerRadiusEnd=2)
        .encode(
            y=label,
            x=alt.X("score:Q", scale=scale, axis=axis, title="Score (probability, 0 to 1)"),
            color=alt.Color(
                "reached:N",
                scale=alt.Scale(domain=list(_REACHED.values()), range=[BLUE, ORANGE, VERMILION]),
                legend=_legend("Score"),
            ),
            tooltip=[alt.Tooltip("label:N"), alt.Tooltip("score:Q", format=".4f"), alt.Tooltip("reached:N")],
        )
    )
    numbers = (
        alt.Chart(scores)
        .mark_text(align="left", color=ink_color)
        .encode(y=label, x=alt.X("number_at:Q", scale=scale), text=alt.Text("score:Q", format=".3f"))
    )
    marks = (
        alt.Chart(thresholds)
        .mark_point(size=600, strokeWidth=2, filled=False, color=ink_color, opacity=1)
        .encode(
            y=label,
            x=alt.X("threshold:Q", scale=scale),
            shape=alt.Shape(
                "kind:N",
                scale=alt.Scale(domain=["review from", "remove from"], range=[_REVIEW_MARK, _REMOVE_MARK]),
                legend=_legend("Thresholds"),
            ),
            tooltip=[alt.Tooltip("label:N"), alt.Tooltip("kind:N"), alt.Tooltip("threshold:Q", format=".4f")],
        )
    )
    title = alt.TitleParams("Score of each label against its thresholds", anchor="start", fontSize=14)
    return alt.LayerChart(layer=[bars, marks, numbers], height=_ROW_PX * len(order) + _BELOW_ROWS_PX, title=title)


def _legend(title: str) -> alt.Legend:
    # One below the other, or a phone's width would cut them off.
    return alt.Legend(title=title, orient="bottom", direction="vertical", symbolSize=160, symbolStrokeWidth=2)


def scores_in_words(label_scores: tuple[LabelScore, ...]) -> str:
    """Return what the chart shows, for those who hear it."""
    return "Scores: " + ", ".join(
        f"{label_words(each.label)} {each.score:.3f} ({_REACHED[each.reached]})" for each in label_scores
    )


def _numbers(label_scores: tuple[LabelScore, ...]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Label": [label_words(each.label) for each in label_scores],
            "Score": [round(each.score, 4) for each in label_scores],
            "Review from": [each.review for each in label_scores],
            "Remove from": [each.remove for each in label_scores],
            "Reached": [_REACHED[each.reached] for each in label_scores],
        }
    )
