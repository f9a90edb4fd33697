import pytest
from streamlit.testing.v1 import AppTest

from tests.apps.hostile import FORMULA, HOSTILE, MARKDOWN, SCRIPT
from tests.apps.pages import page, parsed_texts


def upload(at: AppTest, content: bytes, name: str = "comments.csv") -> AppTest:
    at.run()
    at.file_uploader[0].set_value((name, content, "text/csv"))
    return at.run()


def press(at: AppTest, beginning: str) -> AppTest:
    return next(each for each in at.button if each.label.startswith(beginning)).click().run()


def results(at: AppTest):  # noqa: ANN201
    return at.dataframe[-1].value


def test_page_says_what_file_it_takes(moderator: AppTest) -> None:
    at = moderator.run()
    assert any("one comment per row" in info.value for info in at.info)


def test_single_column_is_scored_in_order_with_rows_without_text_kept(moderator: AppTest) -> None:
    rows = ["You are disgusting.", "", *(f"Thank you, number {number}." for number in range(40))]
    at = upload(moderator, "\n".join(["comment", *rows]).encode())
    assert any("1 of 42 rows have no text" in caption.value for caption in at.caption)
    press(at, "Score 42 rows")
    assert not at.exception
    assert not at.error
    frame = results(at)
    assert list(frame["comment"]) == rows
    assert list(frame["decision"][:3]) == ["remove", "not scored", "allow"]
    assert list(frame["note"][:3]) == ["", "no text", ""]
    assert {metric.label: metric.value for metric in at.metric} == {
        "Allow": "40",
        "Review": "0",
        "Remove": "1",
        "Not scored": "1",
    }
    assert at.download_button[0].label == "Download as CSV"


def test_column_is_asked_for_when_it_is_not_plain_which(moderator: AppTest) -> None:
    at = upload(moderator, b"first,second\nYou are disgusting.,hello\n")
    assert at.selectbox[0].value is None
    assert not any(each.label.startswith("Score 1") for each in at.button)
    at.selectbox[0].set_value(1).run()
    press(at, "Score 1 row")
    frame = results(at)
    assert list(frame.columns[:2]) == ["second", "decision"]
    assert frame["decision"][0] == "allow"


def test_results_of_a_column_stay_when_another_is_looked_at(moderator: AppTest) -> None:
    at = upload(moderator, b"id,comment_text\n7,You are disgusting.\n")
    press(at, "Score 1 row")
    at.selectbox[0].set_value(0).run()
    assert any(each.label == "Score 1 row" for each in at.button)
    at.selectbox[0].set_value(1).run()
    assert results(at)["decision"][0] == "remove"


def test_column_without_text_names_the_columns(moderator: AppTest) -> None:
    at = upload(moderator, b"id,comment_text\n7,\n")
    assert "nothing to score" in at.error[0].value
    assert "its columns are 'id', 'comment_text'" in at.text[0].value


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("text\ncafé\n".encode("latin-1"), "not UTF-8"),
        ("text\nhello\n".encode("utf-16"), "not UTF-8"),
        (b"", "is empty"),
        (b"a,b\n1,2,3\n", "row 1 has 3 cells"),
    ],
)
def test_file_that_cannot_be_read_says_why(moderator: AppTest, content: bytes, said: str) -> None:
    at = upload(moderator, content)
    assert not at.exception
    assert "cannot be read" in at.error[0].value
    assert said in at.text[0].value


def test_hostile_cells_and_column_names_are_data_only(moderator: AppTest) -> None:
    import csv
    import io

    output = io.StringIO(newline="")
    writer = csv.writer(output)
    writer.writerow([SCRIPT, MARKDOWN])
    writer.writerows([[FORMULA, text] for text in HOSTILE])
    at = upload(moderator, output.getvalue().encode())
    at.selectbox[0].set_value(1).run()
    press(at, f"Score {len(HOSTILE)} rows")
    assert not at.exception
    frame = results(at)
    assert list(frame[MARKDOWN]) == list(HOSTILE)
    assert list(frame[SCRIPT]) == [FORMULA] * len(HOSTILE)
    for text in HOSTILE:
        assert text not in parsed_texts(at)


def test_text_over_the_apis_limit_is_marked_and_the_others_scored(moderator: AppTest) -> None:
    at = upload(moderator, b"text\nhello\n" + b"x" * 70_000 + b"\nYou are disgusting.\n")
    press(at, "Score 3 rows")
    frame = results(at)
    assert list(frame["decision"]) == ["allow", "not scored", "remove"]
    assert "65536" in frame["note"][1]


def test_api_that_goes_away_leaves_what_to_do_and_a_way_on(moderator: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    reachable = upload(moderator, b"text\nhello\n")
    monkeypatch.setenv("MODERATION_API_URL", "http://127.0.0.1:9")
    at = press(reachable, "Score 1 row")
    assert not at.exception
    assert "does not answer" in at.error[0].value
    assert any(each.label == "Go on" for each in at.button)


def test_job_goes_on_when_the_api_is_back(api, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN001
    monkeypatch.setenv("MODERATION_API_URL", "http://127.0.0.1:9")
    at = press(upload(page("moderator"), b"text\nYou are disgusting.\n"), "Score 1 row")
    monkeypatch.setenv("MODERATION_API_URL", api.url)
    press(at, "Go on")
    assert not at.error
    assert results(at)["decision"][0] == "remove"
