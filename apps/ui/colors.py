"""Colours and words that both apps use for decisions and labels.

The palette is Okabe and Ito's (Color Universal Design, 2008): told apart with every common colour
blindness. Colour is never the only sign: charts also write, dash or shape what they mean.
"""

import streamlit as st

BLUE, ORANGE, VERMILION, GREEN = "#0072B2", "#E69F00", "#D55E00", "#009E73"
SIX_COLORS = (BLUE, ORANGE, GREEN, VERMILION, "#CC79A7", "#56B4E9")

DECISION_COLORS = {"allow": BLUE, "review": ORANGE, "remove": VERMILION}


def ink() -> str:
    """Return the colour of lines and text drawn in a chart, for the theme that the reader has on."""
    return "#e6e6e6" if st.context.theme.type == "dark" else "#262730"


def label_words(label: str) -> str:
    """Return a label as people write it: ``severe toxic`` for ``severe_toxic``."""
    return label.replace("_", " ")


def short_version(version: str) -> str:
    """Return the part of a version that is enough to tell versions apart by eye."""
    return version[:12]
