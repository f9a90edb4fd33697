"""The decision on a comment, in a word and in a sentence."""

from typing import Literal

import streamlit as st

from apps.moderator.components.veil import texts_are_shown
from apps.moderator.services.comment import ScoredComment, decision_words
from apps.ui.colors import short_version
from moderation.policy import Decision

_WORDS: dict[Decision, str] = {
    "allow": ":blue[:material/check_circle: Allow]",
    "review": ":orange[:material/person_search: Review]",
    "remove": ":red[:material/block: Remove]",
}


def show_decision(scored: ScoredComment) -> None:
    """Show the decision, its reasons, and the version that made it."""
    prediction = scored.prediction
    st.subheader(_WORDS[prediction.decision], anchor=False)
    st.text(decision_words(scored))
    if prediction.truncated:
        st.warning(
            f"The comment is longer than the model reads: only its first {prediction.tokens_read} tokens "
            "had a part in the scores.",
            icon=":material/content_cut:",
        )
    st.caption(
        f"Model {short_version(prediction.version)} · read {prediction.tokens_read} tokens", help=prediction.version
    )


def show_details(scored: ScoredComment) -> None:
    """Offer what was sent, and the full names of version and prediction, to read and to copy."""
    with st.expander("Text as sent, full version, prediction id", icon=":material/info:"):
        if texts_are_shown():
            st.caption("Text as sent")
            st.code(scored.text, language=None, wrap_lines=True, height=_text_height(scored.text))
        st.caption("Model version")
        st.code(scored.prediction.version, language=None, wrap_lines=True)
        st.caption("Prediction id")
        st.code(scored.prediction.id, language=None, wrap_lines=True)


def _text_height(text: str) -> int | Literal["content"]:
    return "content" if len(text) + 60 * text.count("\n") < 600 else 220
