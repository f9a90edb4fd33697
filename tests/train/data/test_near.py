import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.train.data.files import distinct_rows, one_letter_off
from train.data.near import SHINGLE, THRESHOLD, components, fold, near_pairs

WORDS = st.lists(st.sampled_from(["ab", "ba", "aa", "ab ab"]), min_size=1, max_size=30).map(" ".join)


def shingles(text: str) -> set[str]:
    filled = text.ljust(SHINGLE)
    return {filled[start : start + SHINGLE] for start in range(len(filled) - SHINGLE + 1)}


def similarity(one: str, other: str) -> float:
    return len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))


def found(texts: list[str]) -> set[frozenset[str]]:
    return {frozenset((texts[first], texts[second])) for first, second in near_pairs(texts)}


@given(st.lists(WORDS, min_size=2, max_size=8, unique=True), st.randoms(use_true_random=False))
def test_near_is_symmetric_and_does_not_depend_on_order(texts: list[str], generator: random.Random) -> None:
    shuffled = texts[:]
    generator.shuffle(shuffled)
    assert found(texts) == found(shuffled)


@given(st.lists(WORDS, min_size=2, max_size=8, unique=True))
def test_no_pair_below_the_threshold_is_called_near(texts: list[str]) -> None:
    assert all(similarity(*pair) >= THRESHOLD for pair in found(texts))


def test_nearly_every_pair_above_the_threshold_is_found() -> None:
    texts = distinct_rows(400)["comment_text"].tolist()
    changed = [one_letter_off(text) for text in texts]
    assert all(similarity(*pair) >= THRESHOLD for pair in zip(texts, changed, strict=True))
    pairs = near_pairs(texts + changed)
    assert set(map(tuple, pairs.tolist())) <= {(number, number + 400) for number in range(400)}
    assert len(pairs) >= 396


def test_texts_of_one_letter_and_none_in_common_are_no_trouble() -> None:
    assert near_pairs(["a", "b", "😀", "\ud800"]).shape == (0, 2)
    assert near_pairs([]).shape == (0, 2)
    assert near_pairs(["alone"]).shape == (0, 2)


@pytest.mark.parametrize("same", ["  HELLO   there", "hello\u200b there", "ｈello there"])
def test_what_a_reader_cannot_tell_apart_folds_to_one_text(same: str) -> None:
    assert fold(same) == fold("Hello there")


def test_chains_of_pairs_make_one_group() -> None:
    numbers = components(6, np.array([[0, 2], [2, 5], [3, 4]]))
    assert [numbers[0] == number for number in numbers] == [True, False, True, False, False, True]
    assert numbers[3] == numbers[4] != numbers[1]


def test_the_threshold_is_the_documented_one() -> None:
    text = distinct_rows(1)["comment_text"][0]
    # Each changed letter replaces 5 of the 79 shingles: 74 / 84 = 0.88 are shared, then 69 / 89 = 0.78.
    once = one_letter_off(text)
    twice = once[:60] + "Q" + once[61:]
    assert (round(similarity(text, once), 2), round(similarity(text, twice), 2)) == (0.88, 0.78)
    assert near_pairs([text, once]).tolist() == [[0, 1]]
    assert near_pairs([text, twice]).tolist() == []
