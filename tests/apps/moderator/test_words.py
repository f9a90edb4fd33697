import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.moderator.services.words import Piece, pieces_of, strongest
from apps.ui.unseen import seen
from moderation.contracts import ExplainedSpan


def spans(*parts: tuple[int, int, float], drives: float = 9.0) -> list[ExplainedSpan]:
    """Return spans with what they add; from ``drives`` on they drive the label."""
    return [
        ExplainedSpan(start=start, end=end, contributions={"toxic": value}, drives=["toxic"] if value >= drives else [])
        for start, end, value in parts
    ]


def test_pieces_carry_their_contributions_beside_the_strongest() -> None:
    pieces = pieces_of("you 👍🏽 idiot!", spans((0, 3, -2.0), (4, 6, 0.0), (7, 13, 4.0)), "toxic")
    assert [(piece.text, piece.strength) for piece in pieces] == [
        ("you", -0.5),
        (" ", 0.0),
        ("👍🏽", 0.0),
        (" ", 0.0),
        ("idiot!", 1.0),
    ]


def test_what_drives_a_label_is_what_the_api_says_with_the_gap_between_two() -> None:
    explanation = spans((0, 1, 4.0), (2, 3, 3.0), (4, 5, 2.0), (6, 7, 3.0), drives=3.0)
    pieces = pieces_of("a b c d", explanation, "toxic")
    assert [piece.text for piece in pieces if piece.drives] == ["a", " ", "b", "d"]
    assert pieces[1] == Piece(" ", 0.0, 0.75, drives=True)


def test_small_contributions_stay_small() -> None:
    assert pieces_of("ok", spans((0, 2, 0.1)), "toxic") == [Piece("ok", 0.1, 0.1)]


@given(st.text(max_size=30), st.lists(st.integers(0, 30), max_size=8, unique=True))
def test_pieces_are_the_whole_text(text: str, cuts: list[int]) -> None:
    bounds = sorted(min(cut, len(text)) for cut in cuts)
    explanation = spans(*((start, end, 1.0) for start, end in zip(bounds[::2], bounds[1::2], strict=False)))
    assert "".join(piece.text for piece in pieces_of(text, explanation, "toxic")) == text


def test_strongest_are_those_that_raise_or_lower_most() -> None:
    pieces = [Piece("a", 0.5, 0.1), Piece(" ", 0.0, 0.0), Piece("b", -3.0, -1.0), Piece("c", 1.0, 0.3)]
    assert [piece.text for piece in strongest(pieces, 2)] == ["b", "c"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\u202eb", [("a", None), ("\u202e", "U+202E right-to-left override"), ("b", None)]),
        ("\x00", [("\x00", "U+0000 control character")]),
        ("id\u200biot", [("id", None), ("\u200b", "U+200B zero width space"), ("iot", None)]),
        ("tab\tand\nline 👩‍👧", [("tab\tand\nline 👩‍👧", None)]),
        ("", []),
    ],
)
def test_unseen_characters_are_named(text: str, expected: list[tuple[str, str | None]]) -> None:
    assert seen(text) == expected
