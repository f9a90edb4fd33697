"""Texts are hidden until they are asked for: reading abuse all day wears people out. The choice holds for the session.

What is hidden is blurred where it is drawn as text, and replaced by its length in tables, which cannot be blurred.
"""

import streamlit as st

SHOWN = "texts_shown"
"""Key of the choice in the session."""
BLUR = "filter:blur(7px);user-select:none"


def texts_are_shown() -> bool:
    """Return whether the moderator asked for the texts."""
    return bool(st.session_state.get(SHOWN, False))


def offer_texts() -> None:
    """Offer to show or hide all texts, and hide what was typed while nobody types."""
    shown = texts_are_shown()
    st.button(
        "Hide texts" if shown else "Show texts",
        key="veil",
        icon=":material/visibility_off:" if shown else ":material/visibility:",
        on_click=_turn,
        shortcut="V",
        help="Comments are hidden until you ask for them; tables too.",
    )
    if not shown:
        st.html(f"<style>textarea:not(:focus):not(:placeholder-shown){{{BLUR}}}</style>")


def veiled(text: str) -> str:
    """Return ``text`` for a table: itself if texts are shown, else how long it is."""
    return text if texts_are_shown() else f"▒▒▒ {len(text):,} characters"


def _turn() -> None:
    st.session_state[SHOWN] = not texts_are_shown()
