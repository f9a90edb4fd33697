"""A comment as it is: every character of it is escaped, and what nobody sees is named."""

import html

import streamlit as st

from apps.ui.unseen import seen

# `isolate` keeps what the comment does to the direction of writing inside it.
TEXT_BOX = (
    "white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate;max-height:20rem;overflow-y:auto;line-height:1.7"
)
_UNSEEN = "font-size:.7em;border:1px solid currentColor;border-radius:3px;padding:0 2px;opacity:.75"


def show_text(text: str) -> None:
    """Show a comment as plain text."""
    st.html(f'<div dir="auto" style="{TEXT_BOX}">{escaped(text)}</div>')


def escaped(text: str) -> str:
    """Return ``text`` as HTML that shows it and does nothing else."""
    return "".join(
        html.escape(part) if name is None else f'<span style="{_UNSEEN}">{html.escape(name)}</span>'
        for part, name in seen(text)
    )
