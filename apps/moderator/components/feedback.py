"""Agree, or disagree with corrected labels; sent once."""

import streamlit as st

from apps.moderator.services.comment import CommentDesk, ScoredComment
from apps.ui.colors import label_words
from moderation.client import ModerationClient


def ask_for_verdict(client: ModerationClient, desk: CommentDesk, scored: ScoredComment) -> None:
    """Ask until a verdict was sent, then show its receipt in place of the question."""
    with st.container(border=True):
        if desk.verdict is None:
            _ask(client, desk, scored)
        # Read again: sending it may just have worked.
        if (verdict := desk.verdict) is not None:
            word = "agree" if verdict.agree else "disagree"
            st.success(f"Thank you. It is recorded that you {word}.", icon=":material/task_alt:")
            st.caption("Receipt")
            st.code(verdict.receipt, language=None, wrap_lines=True)


def _ask(client: ModerationClient, desk: CommentDesk, scored: ScoredComment) -> None:
    place = st.empty()
    with place.container():
        st.markdown("**Is the model right about this comment?**")
        prediction_id = scored.prediction.id
        with st.container(horizontal=True):
            agrees = st.button("Agree", key=f"agree-{prediction_id}", icon=":material/thumb_up:")
            disagrees_key = f"disagrees-{prediction_id}"
            if st.button("Disagree …", key=f"disagree-{prediction_id}", icon=":material/thumb_down:"):
                st.session_state[disagrees_key] = True
        if agrees:
            desk.judge(client, scored, True, None)
        elif st.session_state.get(disagrees_key):
            labels = _corrected_labels(scored)
            if st.button("Send correction", key=f"send-{prediction_id}", type="primary", icon=":material/send:"):
                desk.judge(client, scored, False, labels)
    if desk.verdict is not None:
        place.empty()


def _corrected_labels(scored: ScoredComment) -> dict[str, bool]:
    names = list(scored.prediction.scores)
    chosen = st.pills(
        "Which labels fit this comment?",
        names,
        selection_mode="multi",
        default=scored.predicted_labels,
        format_func=label_words,
        key=f"labels-{scored.prediction.id}",
        help="Those the model found are marked already. What you leave unmarked is recorded as not fitting.",
    )
    if set(chosen) == set(scored.predicted_labels):
        st.caption("These are the labels that the model found: sent so, it says that the decision is wrong, not they.")
    return {name: name in chosen for name in names}
