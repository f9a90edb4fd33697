from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest

from apps.monitor.services.people import agreement_frame, golden_frame
from moderation.db.models import Prediction
from moderation.labels import LABELS
from moderation.review import audit
from moderation.review.golden import add_golden
from moderation.review.sample import GoldenResults
from tests.apps.hostile import FORMULA, HOSTILE
from tests.apps.monitor.reviewing import add, enter, press, said, session_of, waiting
from tests.apps.pages import charts, open_page, page, parsed_texts

NOW = datetime.now(UTC)


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One database will do: what the pages call is tested on both."""
    return sqlite_url


def work(engine: Engine) -> list[str]:
    add(engine, "ann", "bob")
    ids = waiting(engine, [f"text {number}" for number in range(6)], reviewers=2)
    add_golden(engine, [("known", dict.fromkeys(LABELS, False))], NOW, "cli:me")
    ann, bob = session_of(engine, "ann"), session_of(engine, "bob")
    said(engine, ann, toxic=True, number=3)
    said(engine, ann, toxic=False, number=3)
    said(engine, bob, toxic=True, number=2)
    said(engine, bob, toxic=False, number=4)
    return ids


def test_an_admin_sees_everybodys_work(monitor: AppTest, engine: Engine) -> None:
    work(engine)
    add(engine, "root", role="admin")
    at = open_page(enter(monitor.run(), "root"), "reviewers")
    assert not at.exception
    days, agreement, others = (each.value for each in at.dataframe)
    assert dict(zip(days["Reviewer"], days["Verdicts"], strict=True)) == {"ann": 6, "bob": 6}
    toxic = agreement.set_index("label").loc["toxic"]
    assert toxic["low"] < toxic["value"] < toxic["high"]
    assert (toxic["items"], toxic["reviews"]) == (6, 12)
    assert "majority" in toxic["consensus"]
    assert "all labels are the same" in agreement.set_index("label").loc["threat"]["why not"]
    beside = others[others["label"] == "toxic"].set_index("reviewer")
    assert list(beside.index) == ["ann", "bob"]
    assert beside.loc["ann", "value"] == pytest.approx(toxic["value"])  # there is but one other
    assert charts(at) == 3
    assert len(at.get("download_button")) == 3


def test_a_reviewer_sees_the_own_work_only(monitor: AppTest, engine: Engine) -> None:
    work(engine)
    at = open_page(enter(monitor.run(), "ann"), "reviewers")
    assert set(at.dataframe[0].value["Reviewer"]) == {"ann"}
    assert set(at.dataframe[2].value["reviewer"]) == {"ann"}
    assert "bob" not in str([each.value for each in at.dataframe])


def test_without_reviews_the_page_says_so(monitor: AppTest, engine: Engine) -> None:
    at = open_page(monitor, "reviewers")
    assert not at.exception
    assert at.info[0].value == "Nobody reviewed in this period."
    assert charts(at) == 0


def test_agreement_is_one_where_all_agree_and_refused_where_few_do() -> None:
    alike = np.tile(np.array([[1.0, 1.0], [0.0, 0.0]]), (10, 1))
    frame = agreement_frame(np.stack([alike] * 6))
    assert list(frame["value"]) == [1.0] * 6
    assert set(frame["consensus"]) == {"Dawid and Skene (1979)"}
    assert frame["positive by consensus"].to_list() == pytest.approx([0.5] * 6)
    few = agreement_frame(np.full((6, 0, 0), np.nan))
    assert few["value"].isna().all()
    assert "0 items have two labels" in few["why not"][0]


def test_a_golden_item_is_right_if_all_its_labels_are() -> None:
    truth = np.zeros((4, 6), dtype=bool)
    given = truth.copy()
    given[1, 5] = True
    frame = golden_frame(GoldenResults(np.array(["ann", "ann", "ann", "bob"]), given, truth)).set_index("reviewer")
    assert frame.loc["ann", "value"] == pytest.approx(2 / 3)
    assert frame.loc["bob", "reviews"] == 1
    assert frame.loc["ann", "low"] == pytest.approx(0.208, abs=0.001)  # Wilson, 2 of 3


def test_an_admin_erases_by_id_and_the_log_tells(monitor: AppTest, engine: Engine) -> None:
    ids = waiting(engine, ["You are vermin.", "Thank you."])
    at = open_page(monitor, "data")
    at.text_area(key="erase-ids").set_value(f"{ids[0]}\n\n")
    press(at, "Erase")
    assert "Nothing is erased yet" in at.error[0].value
    at.checkbox(key="erase-sure").set_value(True)
    press(at, "Erase")
    assert not at.exception
    assert "Erased: 1 predictions, 0 feedback" in at.success[0].value
    with engine.connect() as connection:
        texts = {row.id: row.text for row in connection.execute(Prediction.__table__.select())}
    assert texts == {ids[0]: None, ids[1]: "Thank you."}
    at.session_state["data-tab"] = "Audit log"
    at.run()
    log = at.dataframe[0].value
    assert list(log.loc[0, ["Who", "Action", "What"]]) == ["local", "erase", ids[0]]


def test_ids_that_were_typed_are_there_after_a_reload(monitor: AppTest, engine: Engine) -> None:
    # What the browser says once it has loaded the page; a component's JavaScript does not run here.
    monitor.session_state["memory_said"] = {"tab": "one", "texts": {"Prediction ids, one per line": "an-id"}}
    at = open_page(monitor, "data")
    assert at.text_area(key="erase-ids").value == "an-id"
    assert not at.checkbox(key="erase-sure").value


def test_what_is_no_id_is_refused_by_its_place(monitor: AppTest, engine: Engine) -> None:
    at = open_page(monitor, "data")
    at.text_area(key="erase-ids").set_value("first, not an id")
    at.checkbox(key="erase-sure").set_value(True)
    press(at, "Erase")
    assert "id 1 is no prediction's" in at.text[0].value


def test_an_export_is_prepared_or_refused_in_words(monitor: AppTest, engine: Engine) -> None:
    at = press(open_page(monitor, "data"), "Prepare the file")
    assert not at.exception
    assert "There is no file." in at.error[0].value
    add(engine, "ann")
    waiting(engine, ["text"])
    said(engine, session_of(engine, "ann"), toxic=True)
    again = open_page(enter(page("monitor").run(), "ann"), "data")
    assert not again.get("download_button")  # not an admin's


def test_the_log_is_read_a_page_at_a_time(monitor: AppTest, engine: Engine) -> None:
    with engine.begin() as connection:
        for number in range(450):
            audit.write(connection, NOW - timedelta(seconds=number + 1), "cli:me", HOSTILE[number % 7], FORMULA)
    at = open_page(monitor, "data")
    at.session_state["data-tab"] = "Audit log"
    at.run()
    sizes, firsts = [], []
    for _ in range(3):
        frame = at.dataframe[0].value
        sizes.append(len(frame))
        firsts.append(frame["Time (UTC)"][0])
        if len(frame) == 200:
            press(at, "Older")
    assert sizes[:2] == [200, 200]
    assert 50 <= sizes[2] < 60
    assert firsts == sorted(firsts, reverse=True)
    assert "<script>" not in parsed_texts(at)
    press(at, "Newest")
    assert at.dataframe[0].value["Time (UTC)"][0] == firsts[0]
