"""Start, stop and go on."""

from functools import partial

import streamlit as st

from apps.moderator.services.job import ScoringJob
from apps.moderator.services.loaded import Loaded
from apps.moderator.services.table import texts_of
from apps.ui.notice import show_problem
from apps.ui.problem import Problem
from moderation.errors import InvalidInputError


def show_controls(loaded: Loaded, column: int, job: ScoringJob | None) -> bool:
    """Offer to score the column, to stop and to go on; return False after saying that there is nothing to score."""
    try:
        texts = texts_of(loaded.table, column)
    except InvalidInputError as error:
        show_problem(Problem("There is nothing to score.", "Choose another column or file.", str(error)))
        return False
    rows = f"{len(texts):,} row{'s' if len(texts) > 1 else ''}"
    if blank := sum(not text.strip() for text in texts):
        st.caption(f"{blank:,} of {rows} have no text: they are kept, marked, and not scored.")
    if job is not None and job.done:
        return True
    # One button for both, with one key: a button that is left out stays on the page, dimmed, while a job runs.
    label, click = (f"Score {rows}", partial(loaded.start, column)) if job is None else ("Go on", job.resume)
    running = job is not None and job.running
    with st.container(horizontal=True):
        st.button(
            "Scoring …" if running else label,
            key=f"go-{id(loaded)}-{column}",
            type="primary",
            icon=":material/speed:",
            on_click=click,
            disabled=running,
        )
        if job is not None and running:
            st.button("Stop", icon=":material/stop:", on_click=job.stop, help="What is scored so far is kept.")
    return True
