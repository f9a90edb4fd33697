import pytest
from streamlit.testing.v1 import AppTest

from tests.apps.hostile import FORMULA, HOSTILE, MARKDOWN, SCRIPT
from tests.apps.moderator.test_reading import as_excel
from tests.apps.pages import page, parsed_texts


def upload(at: AppTest, content: bytes, name: str = "comments.csv") -> AppTest:
    at.run()
    at.file_uploader[0].set_value((name, content, "text/csv"))
    return at.run()


def press(at: AppTest, beginning: str) -> AppTest:
    return next(each for each in at.button if each.label.startswith(beginning)).click().run()


def results(at: AppTest):  # noqa: ANN201
    return next(each.value for each in at.dataframe if "note" in each.value)


def shown(at: AppTest) -> AppTest:
    return press(at.run(), "Show texts")


def metrics(at: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in at.metric}


def by_label(widgets, label: str):  # noqa: ANN001, ANN201
    return next(each for each in widgets if each.label == label)


def test_page_says_what_comes_back(moderator: AppTest) -> None:
    at = moderator.run()
    assert any("columns behind yours" in info.value for info in at.info)


def test_single_column_is_scored_in_order_with_rows_without_text_kept(moderator: AppTest) -> None:
    rows = ["You are disgusting.", "", *(f"Thank you, number {number}." for number in range(40))]
    at = upload(shown(moderator), "\n".join(["comment", *rows]).encode())
    assert any("1 of 42 rows have no text" in caption.value for caption in at.caption)
    press(at, "Score 42 rows")
    assert not at.exception
    assert not at.error
    frame = results(at)
    assert list(frame["comment"]) == rows
    assert list(frame["decision"][:3]) == ["remove", "not scored", "allow"]
    assert list(frame["note"][:3]) == ["", "no text", ""]
    assert metrics(at) == {
        "Allow": "40",
        "Review": "0",
        "Remove": "1",
        "Not scored": "1",
    }
    assert at.download_button[0].label == "Download as CSV"


def test_column_is_asked_for_when_it_is_not_plain_which(moderator: AppTest) -> None:
    at = upload(moderator, b"first,second\nYou are disgusting.,hello\n")
    assert by_label(at.selectbox, "Column with the comments").value is None
    assert not any(each.label.startswith("Score 1") for each in at.button)
    by_label(at.selectbox, "Column with the comments").set_value(1).run()
    press(at, "Score 1 row")
    frame = results(at)
    assert list(frame.columns[:3]) == ["row", "decision", "second"]
    assert frame["decision"][0] == "allow"


def test_results_of_a_column_stay_when_another_is_looked_at(moderator: AppTest) -> None:
    at = upload(moderator, b"id,comment_text\n7,You are disgusting.\n")
    press(at, "Score 1 row")
    by_label(at.selectbox, "Column with the comments").set_value(0).run()
    assert any(each.label == "Score 1 row" for each in at.button)
    by_label(at.selectbox, "Column with the comments").set_value(1).run()
    assert results(at)["decision"][0] == "remove"


def test_column_without_text_names_the_columns(moderator: AppTest) -> None:
    at = upload(moderator, b"id,comment_text\n7,\n")
    assert "nothing to score" in at.error[0].value
    assert any("its columns are 'id', 'comment_text'" in text.value for text in at.text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("text\nhello é\n".encode("utf-16-le"), "not UTF-8"),
        (b"\n", "nothing in it"),
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
    at = upload(shown(moderator), output.getvalue().encode())
    by_label(at.selectbox, "Column with the comments").set_value(1).run()
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


def test_pasted_lines_are_scored_at_once(moderator: AppTest) -> None:
    at = moderator.run()
    at.text_area(key="pasted_comments").set_value("You are disgusting.\n\nThank you.")
    press(at, "Score these")
    assert not at.exception
    assert list(results(at)["decision"]) == ["remove", "allow"]


def test_nothing_pasted_says_what_to_do(moderator: AppTest) -> None:
    at = press(moderator.run(), "Score these")
    assert "nothing to score" in at.error[0].value


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.xlsx", as_excel([["id", "comment"], [1, "You are disgusting."]])),
        ("a.jsonl", b'{"id": 1, "comment": "You are disgusting."}\n'),
        ("a.csv", "id;comment\n1;You are disgusting. Déjà vu\n".encode("latin-1")),
    ],
)
def test_every_kind_of_file_is_scored(moderator: AppTest, name: str, content: bytes) -> None:
    at = press(upload(moderator, content, name), "Score 1 row")
    assert not at.exception
    assert list(results(at)["decision"]) == ["remove"]
    assert [note for note in at.warning if "UTF-8" in note.value] or name != "a.csv"


def test_of_several_sheets_one_is_chosen_and_another_after_one_that_cannot_be_read(moderator: AppTest) -> None:
    sheets = [["about"]], [["text"], ["You are disgusting."], ["Thank you."]]
    at = upload(moderator, as_excel(*sheets), "week.xlsx")
    assert not at.error
    choice = by_label(at.selectbox, "Sheet with the comments")
    assert choice.value is None
    cover, comments = choice.options
    choice.set_value(cover).run()
    assert "cannot be read" in at.error[0].value
    by_label(at.selectbox, "Sheet with the comments").set_value(comments).run()
    assert f"week ({comments}).xlsx: 2 rows" in [each.value for each in at.text]
    press(at, "Score 2 rows")
    assert list(results(at)["decision"]) == ["remove", "allow"]


def test_a_first_comment_that_is_taken_for_a_name_is_hidden_until_asked_for(moderator: AppTest) -> None:
    at = press(upload(moderator, b"You are disgusting.\nThank you.\n", "list.txt"), "Score 1 row")
    assert "Column with the comments: ▒▒▒ 19 characters" in [each.value for each in at.text]
    assert any("`comment_text` above it" in each.value for each in at.caption)
    assert "▒▒▒ 19 characters" in results(at).columns
    assert not any("disgusting" in each for each in (*(text.value for text in at.text), *results(at).columns))
    press(at, "Show texts")
    assert "Column with the comments: You are disgusting." in [each.value for each in at.text]
    assert "You are disgusting." in results(at).columns


def test_a_long_first_comment_that_is_taken_for_a_name_is_cut(moderator: AppTest) -> None:
    at = upload(shown(moderator), b"word " * 100 + b"\nThank you.\n", "list.txt")
    (line,) = [each.value for each in at.text if each.value.startswith("Column with")]
    assert line == "Column with the comments: " + "word " * 12 + "…"


def test_a_column_that_is_called_as_texts_are_raises_no_question(moderator: AppTest) -> None:
    at = upload(moderator, b"comment_text\nThank you.\n")
    assert not any(each.value.startswith("Column with") for each in at.text)


def test_what_was_not_reached_is_counted() -> None:
    def after_one_batch_of_three() -> None:
        from apps.moderator.components.results import show_counts
        from apps.moderator.services.job import BATCH_TEXTS
        from tests.apps.moderator.fakes import FakeClient
        from tests.apps.moderator.test_job import finish, job_of

        job, client = job_of(["hello"] * 3 * BATCH_TEXTS), FakeClient()
        job.step(client)
        job.stop()
        show_counts(job)
        job.resume()
        finish(job, client)
        show_counts(job)

    found = [(metric.label, metric.value) for metric in AppTest.from_function(after_one_batch_of_three).run().metric]
    assert found[:5] == [("Allow", "0"), ("Review", "16"), ("Remove", "0"), ("Not scored", "0"), ("Not reached", "32")]
    assert found[5:] == [("Allow", "0"), ("Review", "48"), ("Remove", "0"), ("Not scored", "0")]


def test_texts_of_tables_are_hidden_until_asked_for(moderator: AppTest) -> None:
    at = press(upload(moderator, b"again,text\nkill,You are disgusting.\n"), "Score 1 row")
    frame = results(at)
    assert frame["text"][0] == "▒▒▒ 19 characters"
    assert "again" not in frame
    press(at, "Show texts")
    assert results(at)["text"][0] == "You are disgusting."
    assert results(at)["again"][0] == "kill"


def test_rows_are_narrowed_by_decision_and_label_and_sorted(moderator: AppTest) -> None:
    content = b"text\nThank you.\nYou damn fool.\nYou are disgusting.\nkill the vermin\n"
    at = press(upload(moderator, content), "Score 4 rows")
    at.pills[0].set_value(["remove"]).run()
    assert list(results(at)["row"]) == [3, 4]
    at.multiselect[0].set_value(["threat"]).run()
    assert list(results(at)["row"]) == [4]
    at.multiselect[0].set_value([])
    at.pills[0].set_value([])
    by_label(at.selectbox, "Sort by").set_value("toxic").run()
    scores = list(results(at)["toxic"])
    assert scores == sorted(scores, reverse=True)
    assert metrics(at)["Remove"] == "2"


def test_moved_threshold_says_which_decisions_would_change(moderator: AppTest) -> None:
    at = press(upload(moderator, b"text\nThank you.\nYou are disgusting.\n"), "Score 2 rows")
    assert any("0 of 2 decisions would change" in each.value for each in at.markdown)
    by_label(at.selectbox, "Threshold").set_value("remove").run()
    at.slider[0].set_value(1.0).run()
    assert not at.exception
    assert any("1 of 2 decisions would change" in each.value for each in at.markdown)
    changed = next(each.value for each in at.dataframe if "then" in each.value)
    assert (changed["row"][0], changed["now"][0], changed["then"][0]) == (2, "remove", "review")
    assert list(results(at)["decision"]) == ["allow", "remove"]


def test_other_comments_can_be_loaded_and_the_history_keeps_the_counts(moderator: AppTest) -> None:
    at = press(upload(moderator, b"text\nThank you.\n", "first.csv"), "Score 1 row")
    press(at, "Load others")
    at = press(upload(at, b"text\nkill\n", "second.csv"), "Score 1 row")
    rows = next(each.value for each in at.dataframe if "what" in each.value)
    assert list(rows["what"]) == ["second.csv", "first.csv"]
    assert list(rows["decision"]) == ["1 remove", "1 allow"]


def test_two_tabs_know_nothing_of_each_other(moderator: AppTest) -> None:
    one = press(upload(moderator, b"text\nThank you.\n"), "Score 1 row")
    other = upload(page("moderator"), b"text\nkill\nkill\n")
    assert any(each.label == "Score 2 rows" for each in other.button)
    press(other, "Show texts")
    assert list(results(one.run())["text"]) == ["▒▒▒ 10 characters"]


def test_what_is_typed_stays_while_many_comments_are_loaded(moderator: AppTest) -> None:
    at = moderator.run()
    at.text_area(key="comment_text").set_value("typed with care")
    press(at, "Score")
    at = press(upload(at, b"text\nThank you.\n"), "Score 1 row")
    assert at.text_area(key="comment_text").value == "typed with care"
