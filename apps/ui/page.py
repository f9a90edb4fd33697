"""What every page begins with."""

from typing import Literal, NoReturn

import streamlit as st

from apps.ui.notice import show_problem
from apps.ui.problem import Problem
from moderation.errors import ConfigurationError
from moderation.settings import S, load


def begin(title: str, purpose: str, icon: str, layout: Literal["centered", "wide"] = "wide") -> None:
    """Configure the page and write its head; the first Streamlit call of an app."""
    st.set_page_config(page_title=title, page_icon=icon, layout=layout)
    head(title, purpose)


def head(title: str, purpose: str) -> None:
    """Write the head of a page: its name, and in a sentence what it is for."""
    st.title(title, anchor=False)
    st.caption(purpose)


def settings_or_stop(settings: type[S]) -> S:
    """Return the settings from the environment, or say what is wrong with it and end the run."""
    try:
        return load(settings)
    except ConfigurationError as error:
        stop_for(error)


def stop_for(error: ConfigurationError) -> NoReturn:
    """Say which setting is wrong and end the run."""
    show_problem(Problem("A setting is wrong.", "Correct it and start this app again.", str(error)))
    st.stop()
