import platform
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation import language
from moderation.language import language_tag, script
from moderation.text import normalize

# requirements/api.txt: no wheel there.
WITH_DETECTOR = sys.platform != "linux" or platform.machine() != "aarch64"
TAG = re.compile("[a-z]{2,3}(-[A-Z][a-z]{3}|-[A-Z]{2})?")


@pytest.mark.skipif(not WITH_DETECTOR, reason="the detector has no wheel for this platform")
@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("Thank you for the clear explanation, I had not seen that source.", "en"),
        ("Gracias por la explicación tan clara, no conocía esa fuente.", "es"),
        ("Grazie della spiegazione così chiara, non conoscevo questa fonte.", "it"),
        ("Açıklama için teşekkür ederim, bu kaynağı daha önce görmemiştim.", "tr"),
        ("Спасибо за понятное объяснение, я не видел этого источника.", "ru"),
        ("谢谢你的解释，我没有看过这个来源。", "zh"),
    ],
)
def test_sentences_have_their_language(text: str, tag: str) -> None:
    assert language_tag(normalize(text)) == tag


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("", "und-Zyyy"),
        ("12 :-) 😀", "und-Zyyy"),
        ("ok", "und-Latn"),
        ("é", "und-Latn"),
        ("да", "und-Cyrl"),
        ("\uffff ok", "und-Latn"),
        ("ᚠᚢᚦ", "und-Runr"),
        ("\ua015", "und-Yiii"),
    ],
)
def test_what_is_too_little_to_tell_has_its_script(text: str, tag: str) -> None:
    assert language_tag(text) == tag


def test_without_the_detector_there_are_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "pycld2", None)
    assert language_tag("Thank you for the clear explanation.") == "und-Latn"
    assert language_tag("Спасибо за ok") == "und-Cyrl"


def test_the_script_is_that_of_most_letters() -> None:
    assert script("hello да") == "Latn"
    assert script("hi привет") == "Cyrl"
    assert script("こんにちは") == "Jpan"
    assert script("\ua015") == "Zzzz"


@given(st.text(st.sampled_from("a\u0430\u200d\u0301\ufffe\U0010ffff\ufffd😀\x00 ") | st.characters(), max_size=200))
def test_every_text_has_a_tag_and_none_fails(text: str) -> None:
    assert TAG.fullmatch(language_tag(normalize(text)))
