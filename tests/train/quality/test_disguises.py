from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from moderation.errors import InvalidInputError
from moderation.text import normalize
from train.quality.disguises import DISTRACTORS, EXTENTS, KINDS, TEXTS, disguised, disguises, distracted

ABUSIVE = "You are such an IDIOT, and a moron!"
HARMLESS = "The ferry to the island leaves at nine in the morning"


@pytest.mark.parametrize("kind", KINDS)
def test_a_disguise_changes_the_listed_words_alone_the_same_each_time(kind: str) -> None:
    words, changed = ABUSIVE.split(), disguised(ABUSIVE, kind, EXTENTS[0]).replace("I D I O T", "IDIOT").split(" ")
    assert changed == disguised(ABUSIVE, kind, EXTENTS[0]).replace("I D I O T", "IDIOT").split(" ")
    assert changed[:4] == words[:4]
    assert disguised(ABUSIVE, kind, EXTENTS[0]) != ABUSIVE
    assert disguised(ABUSIVE, kind, EXTENTS[0]).split(" ")[0] == "You"


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_text_without_listed_words_a_quarter_is_disguised(kind: str) -> None:
    changed = disguised(HARMLESS, kind, EXTENTS[0])
    if kind != "spacing":
        same = sum(one == other for one, other in zip(HARMLESS.split(), changed.split(" "), strict=True))
        assert len(HARMLESS.split()) - 3 <= same < len(HARMLESS.split())
    whole = disguised(HARMLESS, kind, EXTENTS[1])
    assert len(whole) >= len(HARMLESS) - len(HARMLESS.split())
    assert whole != changed


@pytest.mark.parametrize("kind", KINDS)
def test_words_beside_line_breaks_and_tabs_are_disguised_and_these_stay(kind: str) -> None:
    changed = disguised("What an\nidiot\r\n\tyou\nare", kind, EXTENTS[0])
    assert changed.startswith("What an\n")
    assert changed.endswith("\r\n\tyou\nare")
    assert "idiot" not in changed.split()
    every = disguised("one two\nthree\r\n\tfour", kind, EXTENTS[1])
    assert [each for each in every if each in "\n\r\t"] == ["\n", "\r", "\n", "\t"]
    assert not {"one", "two", "three", "four"} & set(every.split())


def test_zero_width_characters_are_undone_by_the_normaliser() -> None:
    assert normalize(disguised(ABUSIVE, "zero width", EXTENTS[1])) == normalize(ABUSIVE)


def test_a_distractor_leaves_the_text_as_it_is() -> None:
    assert distracted(ABUSIVE).removeprefix(f"{ABUSIVE} ") in DISTRACTORS


def test_texts_without_a_listed_word_leave_nothing_to_disguise() -> None:
    with pytest.raises(InvalidInputError, match="^0 texts of the test split have toxic and a listed word, 1 lack it"):
        disguises(lambda _: np.zeros((1, 6), np.float32), [HARMLESS, "so bad"], np.array([0.0, 1.0]), 0.5, 5)


def test_recall_lost_and_false_positives_gained_are_those_of_the_same_texts() -> None:
    texts = [f"{ABUSIVE}\n{n}" for n in range(80)] + [f"{HARMLESS} {n}" for n in range(80)]
    texts += [f"without a listed word {n}" for n in range(20)]
    truth = np.array([1.0] * 80 + [0.0] * 80 + [1.0] * 20)

    def reads_words(asked: Sequence[str]) -> npt.NDArray[np.float32]:
        """Flags what holds the plain word, and what holds a Cyrillic letter."""
        flags = [
            "idiot" in normalize(text).casefold() or any("а" <= letter <= "я" for letter in text) for text in asked
        ]
        return np.array([[float(flag)] * 6 for flag in flags], dtype=np.float32)

    part = disguises(reads_words, texts, truth, 0.5, 100)
    figures = {figure.name: figure for figure in part.figures}
    assert figures["recall"].value == 1
    assert figures["recall_lost_leetspeak"].value == 1
    assert figures["recall_lost_leetspeak"].reached == "no"
    assert figures["recall_lost_zero_width"].value == 0
    assert figures["recall_lost_distractor"].reached == "yes"
    assert figures["false_positives"].value == 0
    gained = figures["false_positives_gained"]
    assert gained.what == "false positives gained, the worst (homoglyphs)"
    assert gained.reached == "no"
    assert gained.value == 1
    assert "80 texts of the test split" in part.how
    assert "80%" in part.how
    assert TEXTS >= 80
