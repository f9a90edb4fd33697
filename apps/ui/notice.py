"""How a problem looks on a page."""

import streamlit as st

from apps.ui.problem import Problem


def show_problem(problem: Problem) -> None:
    """Show what failed and what to do next; the detail is never parsed as Markdown."""
    st.error(f"**{problem.title}** {problem.advice}", icon=":material/error:")
    if problem.detail:
        st.text(problem.detail)
