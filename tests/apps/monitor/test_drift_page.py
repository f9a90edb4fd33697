from datetime import timedelta

import pytest
from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest

from apps.monitor.services import drift
from moderation import clock
from moderation.db.log import insert, record_version
from moderation.labels import LABELS
from tests.apps.pages import charts, open_page
from tests.moderation.db.records import VERSION, prediction, version

DAY = timedelta(days=1)


def fill(engine: Engine, shares: list[float]) -> None:
    """Forty comments on each of the last days, of which a share, a little more or less from day to day, is toxic."""
    midnight = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    rows = []
    for ago, share in enumerate(reversed(shares), start=1):
        toxic = round(40 * share) + (-1, 0, 1, 0, 2)[ago % 5]
        rows += [
            prediction(
                created_at=midnight - ago * DAY + timedelta(minutes=k),
                scores=dict.fromkeys(LABELS, 0.01) | {"toxic": 0.8 if k < toxic else 0.1},
                tokens_read=5 + k,
            )
            for k in range(40)
        ]
    with engine.begin() as connection:
        record_version(connection, version(reference={"score_shares": {label: [0.05] * 20 for label in LABELS}}))
        insert(connection, rows)


def test_a_change_raises_the_alarm_and_the_distance(monitor: AppTest, engine: Engine) -> None:
    fill(engine, [0.2] * 21 + [0.8] * 10)
    at = open_page(monitor, "drift")
    assert not at.exception
    assert any("Predicted more or less often than before: toxic" in each.value for each in at.warning)
    alarms, distances = (each.value for each in at.dataframe)
    toxic = alarms.set_index("label").loc["toxic"]
    assert toxic["state"] == "changed"
    assert toxic["share since"] == pytest.approx(0.8, abs=0.1)
    assert alarms.set_index("label").loc["threat", "why not"]
    apart = distances.set_index("of").loc["toxic"]
    assert apart["PSI"] > apart["PSI if quiet"]
    assert apart["p-value"] < 0.05
    assert apart["PSI from training"] > 0
    assert charts(at) == 2


def test_quiet_days_raise_none(engine: Engine) -> None:
    fill(engine, [0.2] * 30)
    found = drift.read(engine, version(), clock.now())
    assert found is not None
    assert set(drift.alarms_frame(found)["state"]) == {"no change seen", "not watched"}
    assert sum(day.classes[""] for day in found.days) == 30 * 40
    assert drift.evidence_frame(found)["of the alarm"].max() < 1


def test_too_few_days_are_said_in_words(monitor: AppTest, engine: Engine) -> None:
    fill(engine, [0.2] * 3)
    at = open_page(monitor, "drift")
    assert not at.exception
    assert "3 days with comments so far; the baseline takes 14" in set(at.dataframe[0].value["why not"])


def test_without_a_full_day_there_is_nothing(monitor: AppTest, engine: Engine) -> None:
    with engine.begin() as connection:
        record_version(connection, version())
        insert(connection, [prediction(created_at=clock.now())])
    at = open_page(monitor, "drift")
    assert not at.exception
    assert "no full day yet" in at.info[0].value
    assert drift.read(engine, version(version=VERSION), clock.now()) is None
