import math
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from moderation.bundle import PERSPECTIVE_WORDS
from moderation.errors import BundleError
from moderation.hashed_ngrams import BUCKETS, MAX_CHARACTERS, PIECE_CHARACTERS, HashedNgrams, _pieces, count
from moderation.text import normalize

TABLE = np.random.default_rng(0).normal(0, 1, (2, 2, BUCKETS)).astype(np.float32)
TABLE[:, 0] = 1 + np.abs(TABLE[:, 0])
MODEL = HashedNgrams(TABLE)
EMPTY = HashedNgrams(np.stack([np.stack([np.ones(BUCKETS), np.zeros(BUCKETS)])] * 2).astype(np.float32))


def by_hand(text: str) -> float:
    """Return the value as the definition says it, in whole numbers and a loop."""
    text = normalize(text).lower()
    characters = f" {text} ".encode() if text else b""
    runs = [characters[start : start + n] for n in range(2, 6) for start in range(len(characters) - n + 1)]
    total = 0.0
    for (idf, weights), buckets in zip(
        TABLE, ([*map(word_bucket, words(text))], [*map(run_bucket, runs)]), strict=True
    ):
        values = {bucket: (1 + math.log(times)) * float(idf[bucket]) for bucket, times in Counter(buckets).items()}
        length = math.sqrt(sum(value**2 for value in values.values()))
        total += sum(value * float(weights[bucket]) for bucket, value in values.items()) / length if values else 0.0
    return total


def words(text: str) -> list[str]:
    found, word = [], ""
    for character in [*text, " "]:
        if character.isalnum() or character == "_":
            word += character
            continue
        found += [each for each in (word, character) if each.strip()]
        word = ""
    return found


def word_bucket(word: str) -> int:
    return zlib.crc32(word.encode()) >> 16


def run_bucket(run: bytes) -> int:
    found = 0
    for byte in run:
        found = (found * 0x100000001B3 + byte + 1) % 2**64
    return ((found ^ (found >> 31)) * 0x9E3779B97F4A7C15 % 2**64) >> 48


@pytest.mark.parametrize(
    "text", ["You are disgusting.", "you, YOU & you", "naïve café – 3.5 €", "😀 ok", "a", "", "x" * 40, "don't do_it"]
)
def test_the_value_is_what_the_definition_says(text: str) -> None:
    assert MODEL.value(text) == pytest.approx(by_hand(text), rel=1e-9, abs=1e-12)


@given(st.text(max_size=60))
def test_any_text_has_a_finite_value_that_spaces_and_case_do_not_change(text: str) -> None:
    value = MODEL.value(text)
    assert math.isfinite(value)
    assert MODEL.value(f"  {normalize(text)}\n".replace(" ", "  ")) == value
    assert MODEL.value(normalize(text).lower()) == value


def test_a_text_that_stands_there_twice_has_nearly_the_value_of_once() -> None:
    once = "An ordinary sentence about the garden behind the house"
    counting = HashedNgrams(np.ones_like(TABLE))
    assert counting.value(f"{once} {once}") == pytest.approx(counting.value(once), rel=0.03)
    assert counting.value(f"{once} and three more words") > 1.1 * counting.value(once)


def test_what_stands_behind_the_last_character_that_is_read_changes_nothing() -> None:
    read = "word " * (MAX_CHARACTERS // 5)
    table = np.zeros_like(TABLE)
    table[:, 0] = 1
    table[0, 1, word_bucket("disgusting")] = 1
    model = HashedNgrams(table)
    assert model.value(read + "disgusting") == 0
    assert model.value("disgusting " + read) > 0


def test_of_a_long_text_the_highest_piece_counts_wherever_it_stands() -> None:
    harmless = ["the library is open from ten to six and members may take out eight books", "x" * 75]
    counting = np.zeros_like(TABLE)
    counting[:, 0] = 1
    counting[0, 1, word_bucket("disgusting")] = 1
    model = HashedNgrams(counting)
    for padding in harmless:
        lines = [padding] * (5 * PIECE_CHARACTERS // len(padding))
        found = [
            model.value(" ".join([*lines[:place], "you are disgusting", *lines[place:]]))
            for place in range(0, len(lines) + 1, 5)
        ]
        assert min(found) > 0.8 * model.value(
            f"you are disgusting {' '.join(lines[: PIECE_CHARACTERS // len(padding)])}"
        )
        assert model.value(" ".join(lines)) == 0


@given(st.text(alphabet="ab ", min_size=1, max_size=4000))
def test_pieces_are_the_text_and_none_is_long(text: str) -> None:
    folded = " ".join(text.split())
    pieces = _pieces(folded)
    assert "".join(pieces).replace(" ", "") == folded.replace(" ", "")
    assert max(map(len, pieces)) <= PIECE_CHARACTERS + 100
    assert all(pieces) or not folded


def test_what_a_reader_does_not_see_hides_nothing_and_is_no_word() -> None:
    for padding in (" ", "\n\t", "\u200b", "\u3164"):
        assert MODEL.value(padding * MAX_CHARACTERS + "disgusting") == MODEL.value("disgusting")
        assert MODEL.value(padding * 3) == 0


def test_the_value_is_the_same_on_any_number_of_threads() -> None:
    letters = np.random.default_rng(1).choice(list("abcdefghijklmnopqrstuvwxyz "), (4, MAX_CHARACTERS))
    texts = ["".join(row) for row in letters]
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append([MODEL.value(text) for text in texts])
    assert found[0] == found[1]


def test_without_weights_the_value_is_0() -> None:
    assert EMPTY.value("You are disgusting.") == 0


def test_a_model_is_the_same_after_it_was_written(tmp_path: Path) -> None:
    MODEL.save(tmp_path)
    first = (tmp_path / PERSPECTIVE_WORDS).read_bytes()
    again = HashedNgrams.load(tmp_path)
    again.save(tmp_path)
    assert (tmp_path / PERSPECTIVE_WORDS).read_bytes() == first
    assert again.value("You are disgusting.") == MODEL.value("You are disgusting.")


def test_buckets_rise_and_are_counted_under_a_logarithm() -> None:
    (buckets, counts), (runs, _) = count("you and you")
    assert sorted(counts.tolist()) == pytest.approx([1.0, 1 + math.log(2)])
    for found in (buckets, runs):
        assert (np.diff(found) > 0).all()
        assert found.min() >= 0
        assert found.max() < BUCKETS


@pytest.mark.parametrize(
    "table",
    [TABLE[:, :, 1:], TABLE.astype(np.float64), np.full_like(TABLE, np.nan), 0 * TABLE, np.array([{}], dtype=object)],
    ids=["shape", "type", "not finite", "IDF of 0", "objects"],
)
def test_a_file_that_holds_no_such_model_is_refused(tmp_path: Path, table: np.ndarray) -> None:
    np.save(tmp_path / PERSPECTIVE_WORDS, table)
    with pytest.raises(BundleError, match=PERSPECTIVE_WORDS):
        HashedNgrams.load(tmp_path)


def test_no_file_or_half_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot read"):
        HashedNgrams.load(tmp_path)
    MODEL.save(tmp_path)
    whole = (tmp_path / PERSPECTIVE_WORDS).read_bytes()
    for content in (whole[:5000], b"", b"PK\x03\x04 an archive"):
        (tmp_path / PERSPECTIVE_WORDS).write_bytes(content)
        with pytest.raises(BundleError, match="cannot read"):
            HashedNgrams.load(tmp_path)
