"""Upload, column, controls and results of a file of comments."""

from functools import partial

import pandas as pd
import streamlit as st

from apps.moderator.services.job import NOT_SCORED, ScoringJob
from apps.moderator.services.open_file import OpenFile
from apps.moderator.services.table import likely_text_column, texts_of, unique_names
from apps.ui.notice import show_problem
from apps.ui.problem import Problem
from moderation.errors import InvalidInputError
from moderation.policy import DECISIONS

MOST_SHOWN_ROWS = 1_000
MOST_UPLOAD_MB = 50


def open_upload() -> OpenFile | None:
    """Return the uploaded file, read; say what to do if there is none or it cannot be read."""
    opened: OpenFile | None = st.session_state.get("opened")
    uploaded = st.file_uploader(
        "CSV file",
        type=["csv", "tsv", "txt"],
        max_upload_size=MOST_UPLOAD_MB,
        disabled=opened is not None and opened.running_job() is not None,
        help="UTF-8, with column names in its first line. Comma, semicolon, tab or bar between the cells.",
    )
    if uploaded is None:
        st.session_state["opened"] = None
        st.info(
            "Give a file with one comment per row. You get it back with the scores, the decision and the model "
            "version in columns of their own behind yours.",
            icon=":material/upload_file:",
        )
        return None
    if opened is None or opened.file_id != uploaded.file_id:
        try:
            opened = OpenFile(uploaded.file_id, uploaded.name, uploaded.getvalue())
        except InvalidInputError as error:
            st.session_state["opened"] = None
            show_problem(Problem("This file cannot be read.", "Correct it and upload it again.", str(error)))
            return None
        st.session_state["opened"] = opened
    return opened


def choose_column(opened: OpenFile) -> int | None:
    """Return the position of the column with the comments; ask when there are several."""
    header = opened.table.header
    if len(header) == 1:
        return 0
    return st.selectbox(
        "Column with the comments",
        range(len(header)),
        index=likely_text_column(opened.table),
        format_func=lambda position: header[position] or f"(column {position + 1}, without a name)",
        placeholder="Choose a column",
        key=f"column-{opened.file_id}",
        disabled=opened.running_job() is not None,
    )


def show_controls(opened: OpenFile, column: int, job: ScoringJob | None) -> bool:
    """Offer to score the column, to stop and to go on; return False after saying that there is nothing to score."""
    try:
        texts = texts_of(opened.table, column)
    except InvalidInputError as error:
        show_problem(Problem("There is nothing to score.", "Choose another column or file.", str(error)))
        return False
    rows = f"{len(texts):,} row{'s' if len(texts) > 1 else ''}"
    if blank := sum(not text.strip() for text in texts):
        st.caption(f"{blank:,} of {rows} have no text: they are kept, marked, and not scored.")
    if job is not None and job.done:
        return True
    # One button for both, with one key: a button that is left out stays on the page, dimmed, while a job runs.
    label, click = (f"Score {rows}", partial(opened.start, column)) if job is None else ("Go on", job.resume)
    running = job is not None and job.running
    with st.container(horizontal=True):
        st.button(
            "Scoring …" if running else label,
            key=f"go-{opened.file_id}-{column}",
            type="primary",
            icon=":material/speed:",
            on_click=click,
            disabled=running,
        )
        if job is not None and running:
            st.button("Stop", icon=":material/stop:", on_click=job.stop, help="What is scored so far is kept.")
    return True


def show_results(opened: OpenFile, job: ScoringJob, column: int) -> None:
    """Show the counts, the rows and the download."""
    counts = job.counts()
    with st.container(horizontal=True):
        for outcome in (*DECISIONS, NOT_SCORED):
            st.metric(outcome.capitalize(), f"{counts[outcome]:,}", border=True)
    st.download_button(
        "Download as CSV",
        job.download,
        file_name=opened.download_name,
        mime="text/csv",
        on_click="ignore",
        icon=":material/download:",
        help="Your rows in their order and your cells as they were, formulas too: open files of strangers with "
        "care. The columns behind yours hold nothing that a spreadsheet would run.",
    )
    if job.finished > MOST_SHOWN_ROWS:
        st.caption(f"The first {MOST_SHOWN_ROWS:,} of {job.finished:,} rows; the download has all.")
    frame, score_columns = _frame(job, column)
    bars = {
        name: st.column_config.ProgressColumn(name, min_value=0, max_value=1, format="%.3f", width="small")
        for name in score_columns
    }
    st.dataframe(frame, hide_index=True, column_config=bars, placeholder="", alt="Scored rows")


def _frame(job: ScoringJob, column: int) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows as shown, the comment first, and the names of the columns that hold scores."""
    rows = job.rows[:MOST_SHOWN_ROWS]
    labels = next((list(row.prediction.scores) for row in rows if row.prediction), [])
    their_names = unique_names(name or "(no name)" for name in job.table.header)
    own_names = unique_names(["decision", "note", *labels], taken=their_names)
    theirs = [
        pd.Series([cells[position] for cells in job.table.rows[: len(rows)]], name=name, dtype=str)
        for position, name in enumerate(their_names)
    ]
    own = [
        pd.Series([row.prediction.decision if row.prediction else NOT_SCORED for row in rows], name=own_names[0]),
        pd.Series([row.note for row in rows], name=own_names[1]),
        *(
            pd.Series([row.prediction.scores.get(label) if row.prediction else None for row in rows], name=name)
            for label, name in zip(labels, own_names[2:], strict=True)
        ),
    ]
    shown = theirs.pop(column)
    return pd.concat([shown, *own, *theirs], axis="columns"), own_names[2:]
