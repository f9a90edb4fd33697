"""The comment with the words that drive a label marked; every character of it is escaped."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from apps.moderator.components.veil import BLUR, texts_are_shown, veiled
from apps.moderator.services.comment import ScoredComment
from apps.moderator.services.words import Piece, pieces_of, strongest
from apps.ui.colors import BLUE, VERMILION, label_words
from apps.ui.table import offer_csv
from apps.ui.text import TEXT_BOX, escaped

_FAINTEST = 0.2
"""Below this share of the strongest a word that lowers the score is not marked; the API says which drive it."""


def show_words(scored: ScoredComment) -> None:
    """Show the text, and for a label of the reader's choice what each word adds to it."""
    explanation = scored.prediction.explanation
    if scored.unexplained is not None:
        st.warning("Scored without the words that matter; try again later for them.", icon=":material/info:")
        st.text(str(scored.unexplained))
    if not explanation:
        _draw([Piece(scored.text, 0.0, 0.0)], len(scored.text))
        return
    scores = scored.prediction.scores
    label = st.selectbox(
        "Words that drive",
        sorted(scores, key=lambda each: -scores[each]),
        format_func=label_words,
        key=f"words-{scored.prediction.id}",
        help="Each word was left out once, and read alone. A solid line: it drives the score, for it raises it most; "
        "dotted: it lowers it.",
    )
    pieces = pieces_of(scored.text, explanation, label)
    _draw(pieces, len(scored.text))
    with st.expander("Words in numbers", icon=":material/format_list_numbered:"):
        rows = strongest(pieces)
        st.dataframe(
            pd.DataFrame(
                {"Words": [veiled(each.text) for each in rows], "Log-odds": [each.contribution for each in rows]}
            ),
            hide_index=True,
            column_config={"Log-odds": st.column_config.NumberColumn(format="%+.2f")},
        )
        offer_csv(
            pd.DataFrame([(each.text, each.contribution) for each in rows], columns=["words", "log-odds"]), "words"
        )
        st.caption("What the words add to the log-odds of the score; 10 rows at most.")


def _draw(pieces: Sequence[Piece], length: int) -> None:
    text = "".join(map(_marked, pieces))
    if texts_are_shown():
        st.html(f'<div dir="auto" style="{TEXT_BOX}">{text}</div>')
    else:
        hidden = f'<div dir="auto" aria-hidden="true" style="{TEXT_BOX};{BLUR}">{text}</div>'
        st.html(f'<div role="img" aria-label="Hidden text of {length} characters">{hidden}</div>')


def _marked(piece: Piece) -> str:
    inner = escaped(piece.text)
    if not piece.drives and piece.strength > -_FAINTEST:
        return inner
    color, line = (VERMILION, "solid") if piece.drives else (BLUE, "dotted")
    # Two hexadecimal digits of opacity, so that the text stays readable on its mark in both themes.
    opacity = round(0.55 * 255 * abs(piece.strength))
    style = f"color:inherit;background:{color}{opacity:02x};border-bottom:2px {line} {color};border-radius:3px"
    title = f' title="{piece.contribution:+.2f}"' if piece.contribution else ""
    return f'<mark style="{style}"{title}>{inner}</mark>'
