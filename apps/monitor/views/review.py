"""The pages on which people review: the queue, and the adjudication of what they disagree on."""

from dataclasses import astuple

import streamlit as st
from sqlalchemy import Engine

from apps.monitor.components.desk import show_last, show_progress, show_task
from apps.monitor.services.desk import ReviewDesk
from apps.monitor.views.guard import guarded
from apps.monitor.views.policy import read_policy
from apps.ui.notice import show_problem
from apps.ui.page import head
from moderation.review.access import Session


def review_view(engine: Engine, session: Session) -> None:
    """Let a reviewer label what waits, blind."""
    head("Review queue", "Say what each comment is. You see what the model said afterwards.")
    _desk_view(engine, session, adjudicates=False)


def adjudication_view(engine: Engine, session: Session) -> None:
    """Let a reviewer who has not labelled it, or an admin, decide where others differ."""
    head("Adjudication", "Decide what reviewers do not agree on, or could not tell. Yours is the last word.")
    _desk_view(engine, session, adjudicates=True)


@guarded
def _desk_view(engine: Engine, session: Session, adjudicates: bool) -> None:
    desk = _desk_of(session, adjudicates)
    desk.look(engine)
    if desk.problem is not None:
        show_problem(desk.problem)
    if desk.task is None:
        if desk.progress is not None and not any(astuple(desk.progress.counts)):
            st.info(
                f"Nothing was drawn yet: `moderation worker` draws {read_policy().draw_in_words}.",
                icon=":material/hourglass_empty:",
            )
        else:
            st.success("Nothing waits for you now.", icon=":material/done_all:")
        st.button("Look again", icon=":material/refresh:")
    else:
        show_task(engine, desk, desk.task)
    if desk.progress is not None:
        show_progress(desk.progress, adjudicates)
    if desk.last is not None:
        show_last(desk.last)


def _desk_of(session: Session, adjudicates: bool) -> ReviewDesk:
    """Return the reviewer's desk as it was left; another reviewer, or nobody before, gets a new one.

    Raises:
        ConfigurationError: the review policy cannot be read.
    """
    key = "adjudication" if adjudicates else "desk"
    desk: ReviewDesk | None = st.session_state.get(key)
    if desk is None or desk.session.reviewer != session.reviewer:
        desk = st.session_state[key] = ReviewDesk(session, read_policy(), adjudicates)
    desk.session = session
    return desk
