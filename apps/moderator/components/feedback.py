"""Agree or disagree, as a whole and label by label, with one key each; sent once."""

import streamlit as st

from apps.moderator.services.comment import CommentDesk, ScoredComment
from apps.ui.colors import label_words
from moderation.client import ModerationClient


def ask_for_verdict(client: ModerationClient, desk: CommentDesk, scored: ScoredComment, with_keys: bool) -> None:
    """Ask until a verdict was sent, then show its receipt; keys work only while this can be seen (``with_keys``)."""
    with st.container(border=True):
        if desk.verdict is None:
            _ask(client, desk, scored, with_keys)
        # Read again: sending it may just have worked.
        if (verdict := desk.verdict) is not None:
            found, sent = scored.predicted_labels, verdict.labels or {}
            on = [label_words(label) for label, fits in sent.items() if fits != (label in found)]
            words = verdict.words + (f" on {', '.join(on)}" if on else "")
            st.success(f"Thank you. It is recorded that you {words}.", icon=":material/task_alt:")
            st.caption("Receipt")
            st.code(verdict.receipt, language=None, wrap_lines=True)


def _ask(client: ModerationClient, desk: CommentDesk, scored: ScoredComment, with_keys: bool) -> None:
    place = st.empty()
    with place.container():
        st.markdown("**Is the model right about this comment?**")
        st.caption("The number keys disagree with one label; A and D send. In the text box, press Tab first.")
        _label_buttons(desk, scored, with_keys)
        with st.container(horizontal=True):
            agrees = st.button(
                "Agree",
                key=f"agree-{scored.prediction.id}",
                icon=":material/thumb_up:",
                shortcut="A" if with_keys else None,
                disabled=bool(desk.disputed),
                help="Send that the model is right about every label.",
            )
            disagrees = st.button(
                "Send correction" if desk.disputed else "Disagree",
                key=f"disagree-{scored.prediction.id}",
                type="primary" if desk.disputed else "secondary",
                icon=":material/thumb_down:",
                shortcut="D" if with_keys else None,
                help="Send the labels as marked above; with none marked, that the decision is wrong and not they.",
            )
        if agrees or disagrees:
            desk.judge(client, scored, agree=agrees)
    if desk.verdict is not None:
        place.empty()


def _label_buttons(desk: CommentDesk, scored: ScoredComment, with_keys: bool) -> None:
    found = scored.predicted_labels
    with st.container(horizontal=True):
        for number, label in enumerate(scored.prediction.scores, start=1):
            disputed = label in desk.disputed
            fits = (label in found) != disputed
            said = "fits" if fits else "does not fit"
            st.button(
                f"{label_words(label)}: {said}" + (", you say" if disputed else ""),
                key=f"dispute-{label}-{scored.prediction.id}",
                icon=":material/thumb_down:" if disputed else ":material/check:" if fits else ":material/remove:",
                type="primary" if disputed else "secondary",
                shortcut=str(number) if with_keys and number <= 9 else None,
                on_click=desk.dispute,
                args=(label,),
            )
