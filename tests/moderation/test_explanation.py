import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.explanation import (
    LEAST,
    MAX_CHARACTERS,
    MAX_SPANS,
    MIN_SPANS,
    SHARE,
    explanation_of,
    parts_of,
    spans_in,
    without,
)

FAMILY = "👩‍👩‍👧‍👦"
RAINBOW = "🏳️‍🌈"
PIECES = (
    *("a1 \n\t*", "你กか한אע", "\u0301\u034f\u200b\u200d\ufe0f\u202e\u202c\x00\u00ad"),
    *("👩👧🏳🌈🇩🇪🏻", "\u0600क्"),
)
ADVERSARIAL = st.text(st.one_of(st.sampled_from("".join(PIECES)), st.characters()), max_size=60)


def parts(text: str) -> list[str]:
    return [text[start:end] for start, end in spans_in(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("You are f*ck!ng  st\tupid.", ["You", "are", "f*ck!ng", "st", "upid"]),
        (f"so {FAMILY}{RAINBOW}❤️ sweet👍🏽", ["so", FAMILY, RAINBOW, "❤️", "sweet", "👍🏽"]),
        ("🇩🇪🇫🇷 1️⃣", ["🇩🇪", "🇫🇷", "1️⃣"]),
        ("cafe\u0301 Z\u0351\u0352 x", ["cafe\u0301", "Z\u0351\u0352", "x"]),
        ("你是白痴 ok", ["你", "是", "白", "痴", "ok"]),
        ("バカだ", ["バ", "カ", "だ"]),
        ("멍청한 사람", ["멍청한", "사람"]),
        ("أنت غبي، حقا", ["أنت", "غبي", "حقا"]),
        ("אתה טיפש", ["אתה", "טיפש"]),
        ("नमस्ते मूर्ख", ["नमस्ते", "मूर्ख"]),
        ("\u200bid\u200biot\u200b you\ufeff", ["id\u200biot", "you"]),
        ("a\u202etoidi\u202c b", ["a\u202etoidi", "b"]),
        ("be\x00fore", ["be\x00fore"]),
        ("so\u00adft", ["so\u00adft"]),
        ("no\u00a0break\u3000wide\u2028line", ["no", "break", "wide", "line"]),
        ('"You fool," (she said): 你好。', ["You", "fool", "she", "said", "你", "好", "。"]),
        ("so :( ... a** $hit!", ["so", ":(", "...", "a**", "$hit"]),
        ("", []),
        (" \u200b\x00\n", []),
    ],
)
def test_words_are_what_a_reader_takes_for_them(text: str, expected: list[str]) -> None:
    assert parts(text) == expected


@given(ADVERSARIAL)
def test_spans_lie_in_order_inside_the_text_and_leave_out_nothing_that_is_seen(text: str) -> None:
    spans = spans_in(text)
    ends = [0, *(end for _, end in spans)]
    assert all(before <= start < end for before, (start, end) in zip(ends, spans, strict=False))
    assert ends[-1] <= len(text)
    for start, end in reversed(spans):
        text = without(text, (start, end))
    assert not any(character.isalnum() for character in text)


@given(st.integers(1, 400), st.integers(1, 200))
def test_many_words_are_cut_into_few_spans_that_hold_them_all(words: int, length: int) -> None:
    text = " ".join(["w" * length] * words)
    spans = spans_in(text)
    assert len(spans) <= min(MAX_SPANS, words)
    assert len(spans) * len(text) <= max(MAX_CHARACTERS, MIN_SPANS * len(text))
    assert len(spans) >= min(words, MIN_SPANS)
    assert sum(text[start:end].count("w") for start, end in spans) == words * length


def test_longest_text_is_cut_in_no_time() -> None:
    assert len(spans_in("a\u0351" * 32_000)) == 1
    assert len(spans_in("你" * 21_000)) == MIN_SPANS


def test_parts_are_the_text_without_each_word_then_each_word_then_nothing() -> None:
    assert parts_of("so (what)?", spans_in("so (what)?")) == [" (what)?", "so ()?", "so", "what", ""]


def test_contribution_is_the_mean_of_what_a_word_adds_to_the_others_and_to_nothing() -> None:
    (first, second) = explanation_of(
        [(0, 3), (4, 9)],
        {"toxic": 0.8, "threat": 0.5},
        [
            {"toxic": 0.5, "threat": 0.5},
            {"toxic": 0.9, "threat": 0.2},
            {"toxic": 0.5, "threat": 0.5},
            {"toxic": 0.2, "threat": 0.5},
            {"toxic": 0.2, "threat": 0.5},
        ],
    )
    assert (first.start, first.end, second.start, second.end) == (0, 3, 4, 9)
    assert first.contributions == {"toxic": pytest.approx(math.log(4)), "threat": 0.0}
    assert second.contributions == {
        "toxic": pytest.approx(math.log(4 / 9) / 2),
        "threat": pytest.approx(math.log(4) / 2),
    }
    assert first.drives == ["toxic"]
    assert second.drives == []


@pytest.mark.parametrize(
    ("contributions", "driving"),
    [([4.0, 4 * SHARE + 0.01, 4 * SHARE - 0.01], [0, 1]), ([LEAST - 0.01, 0.1, 0], []), ([LEAST + 0.01, -5, 0], [0])],
)
def test_a_word_drives_a_label_by_much_alone_and_beside_the_strongest(
    contributions: list[float], driving: list[int]
) -> None:
    own = [{"toxic": 1 / (1 + math.exp(-value))} for value in contributions]
    rest = [{"toxic": 1 / (1 + math.exp(value))} for value in contributions]
    found = explanation_of([(n, n + 1) for n in range(3)], {"toxic": 0.5}, [*rest, *own, {"toxic": 0.5}])
    assert [each.contributions["toxic"] for each in found] == pytest.approx(contributions)
    assert [n for n, each in enumerate(found) if each.drives == ["toxic"]] == driving


def test_certain_scores_have_finite_contributions() -> None:
    (only,) = explanation_of([(0, 1)], {"toxic": 1.0}, [{"toxic": 0.0}, {"toxic": 1.0}, {"toxic": 0.0}])
    assert only.contributions["toxic"] == pytest.approx(2 * math.log(1e6), rel=1e-3)


def test_a_text_without_words_has_no_explanation() -> None:
    assert explanation_of([], {"toxic": 0.5}, [{"toxic": 0.5}]) == []
