"""The page for many comments."""

import streamlit as st

from apps.moderator.components.controls import show_controls
from apps.moderator.components.intake import choose_column, loaded_comments
from apps.moderator.components.progress import JobProgress
from apps.moderator.components.results import show_counts, show_table
from apps.moderator.components.what_if import show_what_if
from apps.moderator.services.history import History
from apps.moderator.services.problems import explain
from apps.ui.notice import show_problem


def many_view(api_url: str, history: History) -> JobProgress | None:
    """Draw the intake, the choice of column and what came of the rows; return the job that is under way, if any."""
    loaded = loaded_comments(history)
    if loaded is None:
        return None
    column = choose_column(loaded)
    if column is None:
        return None
    job = loaded.job(column)
    if not show_controls(loaded, column, job) or job is None:
        return None
    progress = JobProgress(job)
    if job.running:
        st.empty()  # in place of the container below, which would stay, dimmed, with the error of the last time
        return progress
    with st.container():
        if job.error is not None:
            show_problem(explain(job.error, api_url))
        if job.finished:
            show_counts(job)
            show_what_if(job)
            show_table(loaded, job, column, loaded.results(job))
    return None
