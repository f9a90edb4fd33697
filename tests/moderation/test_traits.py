import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.traits import DENSITY_BINS, UNKNOWN_BINS, UNKNOWN_EDGES, density_bin, unknown_bin


@pytest.mark.parametrize(
    ("unknown", "read", "number"),
    [(0, 0, 0), (0, 300, 0), (1, 300, 1), (1, 100, 1), (1, 99, 2), (50, 100, 6), (5, 5, 7)],
)
def test_only_texts_without_unknown_tokens_are_in_the_first_bin(unknown: int, read: int, number: int) -> None:
    assert unknown_bin(unknown, read) == number
    assert len(UNKNOWN_EDGES) + 1 == UNKNOWN_BINS == 8


@pytest.mark.parametrize(
    ("read", "characters", "number"), [(0, 0, 0), (25, 100, 12), (99, 100, 49), (3, 2, DENSITY_BINS - 1), (9, 0, 50)]
)
def test_tokens_per_character_have_bins_up_to_one(read: int, characters: int, number: int) -> None:
    assert density_bin(read, characters) == number


@given(st.integers(0, 5000), st.integers(0, 100_000), st.data())
def test_every_text_has_a_bin(read: int, characters: int, data: st.DataObject) -> None:
    assert 0 <= density_bin(read, characters) < DENSITY_BINS
    assert 0 <= unknown_bin(data.draw(st.integers(0, read)), read) < UNKNOWN_BINS
