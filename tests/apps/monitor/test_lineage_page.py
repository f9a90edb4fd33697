from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest

from moderation.db.log import record_version
from moderation.db.promotion import record_moves, record_verdicts
from moderation.labels import LABELS
from moderation.lineage.graph import Verdict
from moderation.registry.registry import AliasEvent
from tests.apps.hostile import HOSTILE, NUL
from tests.apps.monitor.records import VERSION, feedback, fill, prediction
from tests.apps.pages import open_page, parsed_texts
from tests.moderation.db.records import version

NOW = datetime.now(UTC)
OTHER = "cd" * 32
PROVENANCE = {"dataset": "train.csv", "dataset_digest": "d" * 64, "git_commit": "c" * 40, "config": {"name": "ours"}}


def lineage_page(monitor: AppTest) -> AppTest:
    return open_page(monitor, "lineage")


def record(engine: Engine, reason: str = "gate report passed") -> None:
    """A version that was refused, then passed, served, and answered two predictions; and one that was never served."""
    refused = Verdict(VERSION, NOW - timedelta(days=3), OTHER, False, ["toxic: worse than production"], "1", "2")
    passed = Verdict(VERSION, NOW - timedelta(days=2), OTHER, True, [], "1", "2")
    moved = AliasEvent("production", VERSION, OTHER, NOW - timedelta(days=1), "ann", reason)
    answered = prediction()
    fill(engine, [answered, prediction()], [feedback(answered, True)])
    with engine.begin() as connection:
        record_version(connection, version(version=OTHER, first_seen_at=NOW, name="older", labels=list(LABELS)))
        record_version(connection, version(version=VERSION, first_seen_at=NOW, name="tiny", provenance=PROVENANCE))
        record_verdicts(connection, [refused, passed])
        record_moves(connection, [moved])


def drawing(at: AppTest) -> str:
    (chart,) = at.get("graphviz_chart")
    spec: str = chart.proto.spec
    return spec


def test_the_version_in_service_is_drawn_from_its_dataset_to_its_feedback(monitor: AppTest, engine: Engine) -> None:
    record(engine)
    at = lineage_page(monitor)
    assert not at.exception
    assert not at.error
    chooser = at.selectbox(key="version")
    assert chooser.options == [f"tiny {VERSION[:12]} (in service)", f"older {OTHER[:12]}"]
    drawn = drawing(at)
    for said in ("train.csv", "config ours", "refused", "passed", "by ann", "gate report passed", "1 agree"):
        assert said in drawn
    steps, moved = at.dataframe[0].value, at.dataframe[1].value
    assert list(steps["Step"]) == [
        *("dataset", "run", "bundle", "gate report", "gate report"),
        *("period", "predictions", "feedback", "next dataset"),
    ]
    assert list(moved.loc[0, ["Alias", "Version", "Before", "By"]]) == ["production", VERSION[:12], OTHER[:12], "ann"]


def test_another_version_can_be_chosen(monitor: AppTest, engine: Engine) -> None:
    record(engine)
    at = lineage_page(monitor)
    at.selectbox(key="version").set_value(OTHER).run()
    assert not at.exception
    assert "older" in drawing(at)
    assert "period" not in drawing(at)


def test_a_box_leads_to_the_other_version_and_the_address_says_which_is_shown(monitor: AppTest, engine: Engine) -> None:
    record(engine)
    at = lineage_page(monitor)
    assert at.query_params["version"] == VERSION
    assert f'URL="?version={OTHER}", target="_self"' in drawing(at)
    assert f"?version={VERSION}" not in drawing(at)


@pytest.mark.parametrize(("asked", "name"), [(OTHER, "older"), ("nothing known", "tiny")])
def test_the_address_says_which_version_comes_first(monitor: AppTest, engine: Engine, asked: str, name: str) -> None:
    record(engine)
    monitor.query_params["version"] = asked
    at = lineage_page(monitor)
    assert not at.exception
    assert at.selectbox(key="version").value == {"older": OTHER, "tiny": VERSION}[name]
    assert name in drawing(at)


def test_without_a_version_the_page_says_what_records_one(monitor: AppTest, engine: Engine) -> None:
    at = lineage_page(monitor)
    assert not at.exception
    assert "No version is recorded yet" in at.info[0].value


def test_a_database_behind_is_one_clear_line_on_this_page_too(monitor: AppTest, database_url: str) -> None:
    at = lineage_page(monitor)
    assert not at.exception
    assert len(at.error) == 1
    assert "run `moderation migrate`" in at.text[0].value


def test_a_hostile_reason_is_data_only(monitor: AppTest, engine: Engine) -> None:
    reason = " ".join(text for text in HOSTILE if text != NUL)
    record(engine, reason)
    at = lineage_page(monitor)
    assert not at.exception
    assert at.dataframe[1].value.loc[0, "Reason"] == reason
    assert "<script>" not in parsed_texts(at)
