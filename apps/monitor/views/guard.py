"""What a page does when something stands in its way."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import streamlit as st

from apps.monitor.services.database import explain
from apps.monitor.services.desk import SIGNED_OUT
from apps.monitor.views.sign_in import end_session
from apps.ui.notice import show_problem
from moderation.errors import ModerationError

P = ParamSpec("P")


def guarded(draw: Callable[P, None]) -> Callable[P, None]:
    """Say on the page what stopped ``draw``, a page or a fragment of one, and lead whoever is shut out to sign-in."""

    @wraps(draw)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            draw(*args, **kwargs)
        except SIGNED_OUT as error:
            end_session(error)
            st.rerun()
        except ModerationError as error:
            show_problem(explain(error))
            st.button("Try again", icon=":material/refresh:", key=f"again-{draw.__name__}")

    return run
