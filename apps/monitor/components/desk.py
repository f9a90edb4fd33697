"""The parts of a reviewer's desk: the text, the labels by key, and what the model had said, afterwards."""

import altair as alt
import pandas as pd
import streamlit as st
from sqlalchemy import Engine

from apps.monitor.services.desk import LastReview, Progress, ReviewDesk
from apps.ui.colors import BLUE, label_words, short_version
from apps.ui.text import show_text
from moderation.labels import LABELS
from moderation.review.queue import Outcome, Task, Verdict

# Streamlit keeps C and R for itself.
_OTHERS: tuple[tuple[Outcome, str, str, str], ...] = (
    ("unsure", "Unsure", "U", "You read it and cannot tell: it goes to adjudication."),
    ("needs_context", "Needs context", "N", "Nobody could tell from the text alone: it goes to adjudication."),
    ("skip", "Skip", "S", "Somebody else gets it."),
)
_SAID: dict[Outcome, str] = {"labels": "labels", **{each: name.lower() for each, name, _, _ in _OTHERS}}


def show_progress(progress: Progress, adjudicates: bool) -> None:
    """Say how much is done and how much waits."""
    counts = progress.counts
    with st.container(horizontal=True):
        st.metric("Yours today", f"{progress.today:,}", border=True, help="Verdicts since midnight UTC.")
        st.metric("Waiting", f"{counts.conflicts if adjudicates else counts.waiting:,}", border=True)
        st.metric("Settled", f"{counts.done:,}", border=True, help="Of all that was ever drawn.")


def show_task(engine: Engine, desk: ReviewDesk, task: Task) -> None:
    """Show the text, and below it what can be said of it; each has a key."""
    with st.container(border=True):
        show_text(task.text)
    if task.adjudicates:
        _show_verdicts(task.verdicts)
    with st.container(horizontal=True):
        for number, label in enumerate(LABELS, start=1):
            fits = label in desk.chosen
            st.button(
                label_words(label).capitalize(),
                key=f"label-{label}-{task.review_id}",
                type="primary" if fits else "secondary",
                icon=":material/check:" if fits else None,
                shortcut=str(number),
                on_click=desk.toggle,
                args=(engine, task.review_id, label),
            )
    chosen = ", ".join(label_words(label) for label in LABELS if label in desk.chosen)
    st.button(
        f"Submit: {chosen or 'none of them'}",
        key=f"submit-{task.review_id}",
        type="primary",
        icon=":material/send:",
        shortcut="Enter",
        on_click=desk.submit,
        args=(engine, task.review_id, "labels"),
    )
    with st.container(horizontal=True):
        for outcome, name, key, what_then in _OTHERS:
            st.button(
                name,
                key=f"{outcome}-{task.review_id}",
                shortcut=key,
                help=what_then,
                on_click=desk.submit,
                args=(engine, task.review_id, outcome),
            )


def show_last(last: LastReview) -> None:
    """Show the last text again, what was said of it, and what the model had said."""
    with st.container(border=True):
        st.subheader("Your last review", anchor=False)
        show_text(last.text)
        st.markdown(f"You said: **{_words(Verdict(last.outcome, dict.fromkeys(last.chosen, True)))}**")
        revealed = last.revealed
        if not revealed.settled:
            st.caption("Others have yet to label it, or somebody to adjudicate: what the model said is not shown.")
            return
        if revealed.scores is None or revealed.version is None:
            st.caption("No scores are stored for this text.")
            return
        predicted = ", ".join(label_words(label) for label in revealed.predicted or []) or "none of them"
        st.markdown(f"The model said: **{predicted}**; decision: **{revealed.decision}**")
        st.altair_chart(_scores_chart(revealed.scores, last.chosen), alt="Scores of the model by label")
        st.caption(f"Model {short_version(revealed.version)}", help=revealed.version)


def _show_verdicts(verdicts: tuple[Verdict, ...]) -> None:
    st.markdown("Reviewers, each without knowing of the others, said:")
    for letter, verdict in zip("ABCDEFGH", verdicts, strict=False):
        st.markdown(f"- {letter}: **{_words(verdict)}**")


def _words(verdict: Verdict) -> str:
    if verdict.outcome != "labels":
        return _SAID[verdict.outcome]
    return ", ".join(label_words(label) for label, fits in (verdict.labels or {}).items() if fits) or "none of them"


def _scores_chart(scores: dict[str, float], chosen: tuple[str, ...]) -> alt.Chart:
    rows = [
        (label_words(label), scores[label], "yes" if label in chosen else "no") for label in LABELS if label in scores
    ]
    frame = pd.DataFrame(rows, columns=["label", "score", "you"])
    chart: alt.Chart = (
        alt.Chart(frame, height=280, title="Scores of the model (probability)")
        .mark_bar(color=BLUE)
        .encode(
            y=alt.Y("label:N", sort=frame["label"].to_list(), title=None, axis=alt.Axis(labelOverlap=False)),
            x=alt.X("score:Q", title="Score (probability)", scale=alt.Scale(domain=[0, 1])),
            tooltip=[
                alt.Tooltip("label:N"),
                alt.Tooltip("score:Q", format=".3f"),
                alt.Tooltip("you:N", title="you said"),
            ],
        )
    )
    return chart
