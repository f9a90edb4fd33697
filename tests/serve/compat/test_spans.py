"""Offsets of spans: in code units of UTF-16, of exactly the text that was sent."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.compat.perspective.spans import MAX_SENTENCES, sentences, utf16_length, utf16_spans
from tests.serve.compat.asking import analyze, score, send
from tests.serve.server import Server


def cut(text: str, begin: int, end: int) -> str:
    """Return what JavaScript's ``slice`` does."""
    return text.encode("utf-16-le")[2 * begin : 2 * end].decode("utf-16-le")


SENTENCES = {
    "You are disgusting. Thank you!": ["You are disgusting.", "Thank you!"],
    "  😀😀 You are disgusting 😀.  Thank you 👩‍👩‍👧!\n\nDamn": [
        "😀😀 You are disgusting 😀.",
        "Thank you 👩‍👩‍👧!",
        "Damn",
    ],
    "one line\nanother line\r\nlast": ["one line", "another line", "last"],
    "Dr. Smith paid 3.5 dollars, e.g. for lunch. Why?": ["Dr. Smith paid 3.5 dollars, e.g. for lunch.", "Why?"],
    "😀": ["😀"],
    "…": ["…"],
}


@pytest.mark.parametrize("text", SENTENCES)
def test_each_sentence_has_a_span_and_the_score_that_it_has_alone(server: Server, text: str) -> None:
    found = analyze(server, text, spanAnnotations=True)["attributeScores"]["TOXICITY"]["spanScores"]
    assert [cut(text, each["begin"], each["end"]) for each in found] == SENTENCES[text]
    if len(found) > 1:
        assert [each["score"]["value"] for each in found] == [score(server, each, "toxic") for each in SENTENCES[text]]


@pytest.mark.parametrize("text", ["plain", "é", "你好", "😀", "a😀b", "👩‍👩‍👧"])
def test_without_annotations_one_span_covers_all_with_the_summarys_score(server: Server, text: str) -> None:
    found = analyze(server, text)["attributeScores"]["TOXICITY"]
    assert found["spanScores"] == [
        {"begin": 0, "end": len(text.encode("utf-16-le")) // 2, "score": found["summaryScore"]}
    ]


@pytest.mark.parametrize("escape", ["\\ud83d", "\\ude00", "\\ud83d x \\ude00"])
def test_half_an_emoji_counts_as_one_unit(server: Server, escape: str) -> None:
    raw = f'{{"comment": {{"text": "damn {escape}"}}, "requestedAttributes": {{"TOXICITY": {{}}}}}}'
    (span,) = send(server, raw).json()["attributeScores"]["TOXICITY"]["spanScores"]
    assert (span["begin"], span["end"]) == (0, len(json.loads(f'"damn {escape}"')))


def test_very_many_sentences_share_spans(server: Server) -> None:
    text = "Damn. " * 3_000
    found = analyze(server, text, spanAnnotations=True)["attributeScores"]["TOXICITY"]["spanScores"]
    assert len(found) == MAX_SENTENCES
    assert (found[0]["begin"], found[-1]["end"]) == (0, len(text) - 1)


@given(st.text(alphabet='aA.!?…。 \n\r\t\u2028\x0b"”)😀\u200d\ufe0f\u0301', max_size=200))
def test_spans_are_in_order_apart_and_hold_all_that_is_no_white_space(text: str) -> None:
    spans = sentences(text)
    assert "".join("".join(text[start:end] for start, end in spans).split()) == "".join(text.split())
    units = utf16_spans(text, spans)
    assert [cut(text, *each) for each in units] == [text[start:end] for start, end in spans]
    assert utf16_length(text) == len(text.encode("utf-16-le")) // 2
