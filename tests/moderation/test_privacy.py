import pytest

from moderation.errors import ConfigurationError
from moderation.privacy import Kept, Privacy
from moderation.settings import ApiSettings, PrivacySettings, load

KEY = "a key of this test's"


def privacy(**values: object) -> Privacy:
    return Privacy(PrivacySettings.model_validate(values))


def test_by_default_the_text_and_the_author_are_kept_as_they_came() -> None:
    assert privacy().keep([" Hi "], "me") == [Kept(text=" Hi ", author="me")]


def test_a_hash_is_of_what_the_model_reads_and_depends_on_the_key() -> None:
    one, same, other = privacy(store_text="hash", text_hash_key=KEY).keep(["idiot", "id\u200biot ", "hello"], None)
    assert one == same
    assert one.text is None
    assert one.text_hash is not None
    assert len(one.text_hash) == 64
    assert one.text_hash != other.text_hash
    assert privacy(store_text="hash", text_hash_key=KEY + "2").keep(["idiot"], None) != [one]


def test_nothing_is_kept_where_nothing_shall_be_but_the_author_can_be_erased() -> None:
    assert privacy(store_text="none").keep(["text"], "me") == [Kept(author="me")]


def test_with_a_key_authors_are_hashed_and_differ_from_texts() -> None:
    kept = privacy(store_text="hash", text_hash_key=KEY).keep(["me"], "me")[0]
    assert kept.author == privacy(text_hash_key=KEY).author("me")
    assert kept.author not in ("me", kept.text_hash)


@pytest.mark.parametrize("name", ["\ud800", "\x00", "👩🏽"])
def test_any_name_can_be_hashed(name: str) -> None:
    assert len(privacy(text_hash_key=KEY).author(name)) == 64


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("", "^MODERATION_TEXT_HASH_KEY is not set; .*STORE_TEXT=hash needs it"),
        ("short", "^MODERATION_TEXT_HASH_KEY does not fit; expected at least 16"),
    ],
)
def test_hashes_need_a_key_that_is_long_enough(key: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_STORE_TEXT", "hash")
    monkeypatch.setenv("MODERATION_TEXT_HASH_KEY", key)
    with pytest.raises(ConfigurationError, match=expected) as caught:
        load(ApiSettings)
    assert "short" not in str(caught.value)


def test_an_empty_key_is_none_where_none_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_TEXT_HASH_KEY", "")
    assert load(ApiSettings).text_hash_key is None
