import pytest

from moderation.errors import InvalidInputError
from moderation.statistics.shares import share


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    [  # Newcombe, Statist. Med. 17, 857-872 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_equals_published_values(part: int, whole: int, low: float, high: float) -> None:
    found, mirrored = share(part, whole, "none"), share(whole - part, whole, "none")
    assert (found.value, found.reviews) == (part / whole, whole)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_a_share_of_nothing_is_refused_in_words_and_nonsense_in_an_error() -> None:
    assert share(0, 0, "no golden item was answered").refusal == "no golden item was answered"
    with pytest.raises(InvalidInputError, match="3 of 2"):
        share(3, 2, "none")
