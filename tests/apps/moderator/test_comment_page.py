import json
import re
from html.parser import HTMLParser

import pytest
from sqlalchemy import select
from streamlit.testing.v1 import AppTest

from moderation.db.models import Feedback
from tests.apps.hostile import HOSTILE
from tests.apps.pages import charts, page, parsed_texts
from tests.serve.server import Server, wait_until


def score(at: AppTest, text: str) -> AppTest:
    at.text_area(key="comment_text").set_value(text)
    return button(at, "Score").click().run()


def button(at: AppTest, label: str):  # noqa: ANN201 - AppTest's own type is private
    return next(each for each in at.button if each.label == label)


def has_button(at: AppTest, label: str) -> bool:
    return any(each.label == label for each in at.button)


def test_page_begins_with_what_it_is_for(moderator: AppTest) -> None:
    at = moderator.run()
    assert not at.exception
    assert "appear here" in at.info[0].value
    assert not at.error


def test_comment_is_scored_with_decision_reasons_version_and_bars(moderator: AppTest, api: Server) -> None:
    at = score(moderator.run(), "You are disgusting.")
    assert not at.exception
    assert "Remove" in at.subheader[0].value
    assert at.text[0].value.startswith("Comes down because of toxic (0.953, threshold 0.950)")
    assert charts(at) == 1
    version = api.model.served.version
    assert f"Model {version[:12]}" in at.caption[1].value
    assert version in [code.value for code in at.code]
    numbers = next(each.value for each in at.dataframe if "Review from" in each.value)
    assert list(numbers["Label"])[:2] == ["toxic", "severe toxic"]
    assert numbers.loc[0, "Score"] == pytest.approx(0.9526, abs=1e-4)
    assert list(numbers.loc[0, ["Review from", "Remove from", "Reached"]]) == [0.5, 0.95, "reaches removal"]


def test_harmless_comment_stays_up(moderator: AppTest) -> None:
    at = score(moderator.run(), "Thank you for the clear explanation.")
    assert "Allow" in at.subheader[0].value
    assert at.text[0].value == "Stays up: no label reaches its review threshold."


@pytest.mark.parametrize("text", HOSTILE)
def test_comment_is_shown_as_it_was_sent_and_never_parsed(moderator: AppTest, text: str) -> None:
    at = button(score(moderator.run(), text), "Show texts").click().run()
    assert not at.exception
    assert not at.error
    assert text in [code.value for code in at.code]
    assert text not in parsed_texts(at)
    assert at.text_area(key="comment_text").value == text
    drawn = Drawn.of(box(at))
    assert drawn.tags <= {"div", "mark", "span"}
    assert drawn.attributes <= {"dir", "style", "title"}
    for part in filter(None, re.split("[\x00\r\u2028\u2029\u202c\u202e\U000e0000-\U000e007f]", text)):
        assert part in drawn.text


class Drawn(HTMLParser):
    """What a browser makes of the HTML of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    @classmethod
    def of(cls, body: str) -> "Drawn":
        drawn = cls()
        # The marks and the names of unseen characters are taken out, so that the words stand together again.
        drawn.feed(re.sub("<span [^>]*>U[+][^<]*</span>", "", body))
        drawn.close()
        return drawn

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def box(at: AppTest) -> str:
    """Return the HTML of the comment with its words."""
    return next(each.body for each in at.html if "pre-wrap" in each.body)


def test_text_is_hidden_until_asked_for_and_the_choice_is_remembered(moderator: AppTest) -> None:
    at = score(moderator.run(), "You are disgusting.")
    assert "blur(" in box(at)
    assert 'aria-hidden="true"' in box(at)
    assert "You are disgusting." not in [code.value for code in at.code]
    button(at, "Show texts").click().run()
    assert "blur(" not in box(at)
    assert not any("<style>" in each.body for each in at.html)
    at = score(at, "damn")
    assert "blur(" not in box(at)
    button(at, "Hide texts").click().run()
    assert "blur(" in box(at)


def test_words_are_marked_for_the_label_of_choice(moderator: AppTest) -> None:
    at = score(moderator.run(), "You damn idiot, thank you.")
    assert marks(at) == ["idiot", "thank"]  # "damn" raises the score too, but far less
    assert re.findall(r"border-bottom:2px (\w+)", box(at)) == ["solid", "dotted"]
    at.selectbox[0].set_value("insult").run()
    assert marks(at) == ["idiot", "thank"]
    at.selectbox[0].set_value("threat").run()
    assert marks(at) == ["thank"]
    numbers = next(each.value for each in at.dataframe if "Log-odds" in each.value)
    assert numbers["Words"][0] == "▒▒▒ 5 characters"
    button(at, "Show texts").click().run()
    numbers = next(each.value for each in at.dataframe if "Log-odds" in each.value)
    assert (numbers["Words"][0], numbers["Log-odds"][0]) == ("thank", pytest.approx(-1, abs=0.01))


def test_words_are_not_asked_for_where_they_are_not_wanted(moderator: AppTest) -> None:
    at = moderator.run()
    at.checkbox[0].uncheck()
    at = score(at, "You damn idiot.")
    assert marks(at) == []
    assert charts(at) == 1


def marks(at: AppTest) -> list[str]:
    return re.findall("<mark[^>]*>([^<]*)</mark>", box(at))


def test_long_comment_is_said_to_be_cut(moderator: AppTest, api: Server) -> None:
    at = score(moderator.run(), "word " * 500)
    tokens = api.model.served.max_tokens
    assert f"only its first {tokens} tokens" in at.warning[0].value


@pytest.mark.parametrize("text", ["", " \n\t", "x" * 70_000])
def test_comment_that_cannot_be_scored_is_kept_with_a_reason(moderator: AppTest, text: str) -> None:
    at = score(moderator.run(), text)
    assert not at.exception
    assert len(at.error) == 1
    assert at.text_area(key="comment_text").value == text


def test_agreement_is_sent_once_and_its_receipt_shown(moderator: AppTest, api: Server) -> None:
    at = score(moderator.run(), "You damn idiot.")
    button(at, "Agree").click().run()
    assert not at.exception
    assert "you agree" in at.success[0].value
    receipt = at.code[0].value
    assert feedback_row(api, receipt).agree
    assert not has_button(at, "Agree")
    assert not has_button(at, "Disagree")
    assert at.run().code[0].value == receipt


def test_disagreement_carries_the_corrected_labels(moderator: AppTest, api: Server) -> None:
    at = score(moderator.run(), "They are vermin.")
    for label in ("insult: fits", "identity hate: fits", "threat: does not fit"):
        button(at, label).click().run()
    assert button(at, "Agree").disabled
    assert has_button(at, "threat: fits, you say")
    button(at, "Send correction").click().run()
    assert "you disagree on threat, insult, identity hate." in at.success[0].value
    row = feedback_row(api, at.code[0].value)
    assert not row.agree
    right = {label for label, fits in row.labels.items() if fits}
    assert right == {"toxic", "threat"}
    assert len(row.labels) == 6
    assert not has_button(at, "Send correction")


def test_disagreement_with_no_label_sends_the_labels_as_found(moderator: AppTest, api: Server) -> None:
    at = score(moderator.run(), "They are vermin.")
    button(at, "Disagree").click().run()
    row = feedback_row(api, at.code[0].value)
    assert not row.agree
    assert {label for label, fits in row.labels.items() if fits} == {"toxic", "insult", "identity_hate"}


def test_each_label_and_the_verdict_have_a_key(moderator: AppTest) -> None:
    at = score(moderator.run(), "They are vermin.")
    assert [each.proto.shortcut for each in at.button if each.proto.shortcut] == ["v", *"123456", "a", "d"]


def test_keys_do_nothing_while_another_tab_is_open(moderator: AppTest) -> None:
    at = score(moderator.run(), "They are vermin.")
    at.session_state["tab"] = "Many comments"
    at.run()
    assert [each.proto.shortcut for each in at.button if each.proto.shortcut] == ["v"]


def test_history_lists_what_was_scored_and_said(moderator: AppTest) -> None:
    at = score(moderator.run(), "first")
    button(at, "Agree").click().run()
    at = score(at, "=second()")
    rows = next(each.value for each in at.dataframe if "what" in each.value)
    assert list(rows["what"]) == ["▒▒▒ 9 characters", "▒▒▒ 5 characters"]
    assert list(rows["you"]) == ["", "agree"]


def test_next_comment_asks_again(moderator: AppTest) -> None:
    at = score(moderator.run(), "first")
    button(at, "Agree").click().run()
    at = score(at, "second")
    assert has_button(at, "Agree")
    assert not at.success


def test_api_that_is_away_is_said_with_what_to_do_and_the_text_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_API_URL", "http://127.0.0.1:9")
    at = score(page("moderator").run(), "typed with care")
    assert not at.exception
    assert "The API at `http://127.0.0.1:9` does not answer." in at.error[0].value
    assert "make up" in at.error[0].value
    assert at.text_area(key="comment_text").value == "typed with care"


def test_address_of_the_api_that_is_no_url_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_API_URL", "http://[::1")
    at = page("moderator").run()
    assert not at.exception
    assert "A setting is wrong." in at.error[0].value
    assert "'http://[::1' is not the URL of an API" in at.text[0].value


def test_misspelt_setting_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_API_ULR", "http://127.0.0.1:8000")
    at = page("moderator").run()
    assert not at.exception
    assert "did you mean MODERATION_API_URL" in at.text[0].value
    assert not at.text_area


def test_chart_draws_both_thresholds_of_each_label(moderator: AppTest) -> None:
    at = score(moderator.run(), "You are disgusting.")
    chart = json.loads(at.get("vega_lite_chart")[0].proto.spec)
    fields = {layer["encoding"]["x"]["field"] for layer in chart["layer"]}
    assert fields == {"score", "threshold", "number_at"}
    assert chart["layer"][0]["encoding"]["x"]["title"] == "Score (probability, 0 to 1)"


def feedback_row(api: Server, receipt: str):  # noqa: ANN201
    def rows():  # noqa: ANN202
        with api.engine.connect() as connection:
            return connection.execute(select(Feedback.__table__).where(Feedback.id == receipt)).all()

    wait_until(rows)
    return rows()[0]
