from datetime import timedelta

from sqlalchemy import Engine, event
from streamlit.testing.v1 import AppTest

from apps.monitor.services import shadow
from moderation import clock
from moderation.db import shadow as stored
from moderation.db.log import insert, record_version
from moderation.review.access import local_session
from tests.apps.monitor.reviewed import CANDIDATE, shadow_of, site
from tests.apps.pages import charts, open_page, parsed_texts
from tests.moderation.db.records import VERSION, prediction, version

WEEK = timedelta(days=7)


def test_agreement_is_shown_per_decision_and_label_with_intervals(monitor: AppTest, engine: Engine) -> None:
    site(engine)
    at = open_page(monitor, "shadow")
    assert not at.exception
    assert not at.error
    assert "200 predictions from" in parsed_texts(at)
    decisions, labels, examples = (each.value for each in at.dataframe)
    everything = decisions.iloc[0]
    assert (everything["decision of production"], everything["compared"]) == ("all", 200)
    assert everything["low"] < everything["value"] < everything["high"]
    of_all = decisions[["candidate: allow", "candidate: review", "candidate: remove"]]
    assert of_all.iloc[1:].sum().sum() == 200
    toxic = labels[labels["label"] == "toxic"].iloc[0]
    assert toxic["only production"] > 0 == toxic["only the candidate"]  # it scores half of what production does
    assert toxic["value"] == (toxic["compared"] - toxic["only production"]) / toxic["compared"]
    assert list(labels[labels["label"] == "threat"]["why not"]) == ["no such prediction was compared"]
    assert len(examples) == 200 - round(everything["value"] * 200)
    assert "Comment" not in examples.columns
    assert charts(at) == 2


def test_disagreements_that_were_drawn_are_counted(monitor: AppTest, engine: Engine) -> None:
    site(engine, labelled=1.0)
    found = shadow.read(engine, local_session(engine, clock.now()), WEEK, clock.now())
    assert found.queue.get("done", 0) > 0
    assert any(
        f"**{found.queue['done']}** of this range" in each.value for each in open_page(monitor, "shadow").markdown
    )


def test_no_candidate_says_how_to_get_one(monitor: AppTest, engine: Engine) -> None:
    at = open_page(monitor, "shadow")
    assert not at.exception
    assert "`MODERATION_SHADOW_ALIAS`" in at.info[0].value


def test_versions_that_are_not_recorded_have_no_classes(engine: Engine) -> None:
    logged = prediction(created_at=clock.now() - timedelta(hours=1))
    with engine.begin() as connection:
        record_version(connection, version())
        insert(connection, [logged], [], [shadow_of(logged, 1.0)])
    found = shadow.read(engine, local_session(engine, clock.now()), WEEK, clock.now())
    frame = shadow.labels_frame(found.pairs, CANDIDATE)
    assert set(frame["why not"]) == {"the candidate's thresholds are not recorded"}
    assert found.pairs.answered_by.tolist() == [VERSION]


def test_only_the_newest_are_read(engine: Engine) -> None:
    site(engine, days=1, number=40)
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *of: asked.append(of[2]))
    stored.shadow_pairs(engine, clock.now() - WEEK, clock.now())
    assert "LIMIT" in asked[0]
