"""The page for one comment."""

import streamlit as st

from apps.moderator.components.decision import show_decision, show_details
from apps.moderator.components.feedback import ask_for_verdict
from apps.moderator.components.scores import show_scores
from apps.moderator.components.words import show_words
from apps.moderator.services.comment import CommentDesk
from apps.moderator.services.problems import explain
from apps.ui.notice import show_problem
from moderation.client import ModerationClient


def comment_view(client: ModerationClient, api_url: str, desk: CommentDesk, with_keys: bool) -> None:
    """Draw the form on one side, and on the other what came of it; keys work while it can be seen (``with_keys``)."""
    form_side, result_side = st.columns([2, 3], gap="large")
    with form_side, st.form("comment", border=False):
        text = st.text_area(
            "Comment",
            key="comment_text",
            height=180,
            placeholder="Type or paste a comment",
            help="Scored as it stands here. The API logs it with its scores.",
        )
        # The button before the box: Streamlit's keys rest while any kind of input has the focus, and Tab leads here.
        pressed = st.form_submit_button("Score", type="primary", icon=":material/speed:", width="stretch")
        words = st.checkbox("Find the words that matter", value=True, help="Takes the API up to 65 times the work.")
        if pressed:
            with st.spinner("Scoring …"):
                desk.score(client, text, explain=words)
    with result_side:
        scored = desk.scored
        if scored is not None:
            show_decision(scored)
            show_words(scored)
            show_scores(scored)
            ask_for_verdict(client, desk, scored, with_keys)
            show_details(scored)
        if (error := desk.error) is not None:
            show_problem(explain(error, api_url))
        elif scored is None:
            st.info("The scores, the decision and the reasons for it appear here.", icon=":material/insights:")
