"""Counts, filters, the table of scored comments, and its download."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from apps.moderator.components.veil import texts_are_shown, veiled
from apps.moderator.services.job import NOT_SCORED, ScoringJob
from apps.moderator.services.loaded import Loaded
from apps.moderator.services.results import AS_LOADED, labels_of, narrowed
from apps.moderator.services.table import header_may_be_a_comment, unique_names
from apps.ui.colors import label_words
from moderation.policy import DECISIONS

MOST_SHOWN_ROWS = 1_000


def show_counts(job: ScoringJob) -> None:
    """Show how many rows got which decision."""
    counts = job.counts
    with st.container(horizontal=True):
        for outcome in (*DECISIONS, NOT_SCORED):
            st.metric(outcome.capitalize(), f"{counts[outcome]:,}", border=True)
        if not job.done:
            st.metric("Not reached", f"{job.total - job.finished:,}", border=True)


def show_table(loaded: Loaded, job: ScoringJob, column: int, results: pd.DataFrame) -> None:
    """Show the rows that the reader asks for, in the order that they ask for, and offer all of them as a file."""
    labels = labels_of(job.rows)
    found = _narrowed(results, labels, key=str(id(job)))
    st.download_button(
        "Download as CSV",
        job.download,
        file_name=loaded.download_name,
        mime="text/csv",
        on_click="ignore",
        icon=":material/download:",
        help="All rows in their order with our columns behind yours. A cell that a spreadsheet could run as a formula "
        "gets a quote in front; `moderation score` leaves every cell as it is.",
    )
    words = f"{len(found):,} of {len(results):,} rows"
    st.caption(f"{words}; the first {MOST_SHOWN_ROWS:,} are listed." if len(found) > MOST_SHOWN_ROWS else words)
    _draw(loaded, column, found.head(MOST_SHOWN_ROWS), labels)


def _narrowed(results: pd.DataFrame, labels: Sequence[str], key: str) -> pd.DataFrame:
    decisions = st.pills(
        "Decision", [*DECISIONS, NOT_SCORED], selection_mode="multi", format_func=str.capitalize, key=f"decisions-{key}"
    )
    left, right = st.columns(2)
    with left:
        chosen = st.multiselect(
            "Label found", labels, format_func=label_words, key=f"labels-{key}", placeholder="Any or none"
        )
    with right:
        sort_by = st.selectbox(
            "Sort by",
            [AS_LOADED, *labels],
            format_func=lambda name: "Order as loaded" if name == AS_LOADED else f"Highest {label_words(name)}",
            key=f"sort-{key}",
        )
    return narrowed(results, decisions, chosen, sort_by)


def _draw(loaded: Loaded, column: int, found: pd.DataFrame, labels: Sequence[str]) -> None:
    their_names = unique_names(name or "(no name)" for name in loaded.table.header)
    if header_may_be_a_comment(loaded.table):
        their_names = [veiled(their_names[0])]
    own = {"row": found[AS_LOADED], "decision": found["decision"]} | {label: found[label] for label in labels}
    own["note"] = found["note"]
    own_names = unique_names(own, taken=their_names)
    row_name, *other_names = own_names
    # The decision before the comment: on a phone only the first columns can be seen without scrolling.
    decision_name, *other_names = other_names
    columns: dict[str, pd.Series] = {row_name: own["row"], decision_name: own["decision"]}
    columns |= {their_names[column]: found["text"].map(veiled)}
    columns |= {name: own[plain] for plain, name in zip(list(own)[2:], other_names, strict=True)}
    # Their other columns may repeat the text, so they are hidden with it.
    for position, name in enumerate(their_names if texts_are_shown() else ()):
        if position != column:
            cells = [loaded.table.rows[row - 1][position] for row in found[AS_LOADED]]
            columns[name] = pd.Series(cells, index=found.index, dtype=object)
    bars = {
        name: st.column_config.ProgressColumn(name, min_value=0, max_value=1, format="%.3f", width="small")
        for name in other_names[:-1]
    }
    st.dataframe(pd.DataFrame(columns), hide_index=True, column_config=bars, placeholder="", alt="Scored rows")
