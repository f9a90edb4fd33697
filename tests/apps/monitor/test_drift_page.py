from datetime import timedelta

import pytest
from sqlalchemy import Engine, null, update
from streamlit.testing.v1 import AppTest

from apps.monitor.services import drift
from apps.monitor.services.prevalence import levels, prevalence_frame
from moderation import clock
from moderation.db.log import insert, record_version
from moderation.db.models import Rollup
from moderation.labels import LABELS
from moderation.review.access import local_session
from tests.apps.pages import charts, open_page
from tests.moderation.db.records import VERSION, prediction, version

DAY = timedelta(days=1)


POINT = {"sensitivity": 0.8, "specificity": 0.95, "positives": 1500, "negatives": 6800}
REFERENCE = {
    "score_shares": {label: [0.05] * 20 for label in LABELS},
    "prevalence": dict.fromkeys(LABELS, 0.1),
    "length_bin_edges": [0.0, 16.0, 32.0, 48.0, 4096.0],
    "length_shares": [0.1, 0.2, 0.3, 0.4],
    "language_shares": {"en": 0.97, "de": 0.03},
    "unknown_shares": [0.9, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    "density_shares": [0.0] * 15 + [1.0] + [0.0] * 35,
}


def fill(engine: Engine, shares: list[float], spanish_from: int = 1_000, **stated: object) -> None:
    """Forty comments on each of the last days, of which a share, a little more or less from day to day, is toxic.

    From the day ``spanish_from`` on half of them are Spanish.
    """
    midnight = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    rows = []
    for ago, share in enumerate(reversed(shares), start=1):
        toxic = round(40 * share) + (-1, 0, 1, 0, 2)[ago % 5]
        rows += [
            prediction(
                created_at=midnight - ago * DAY + timedelta(minutes=k),
                scores=dict.fromkeys(LABELS, 0.01) | {"toxic": 0.8 if k < toxic else 0.1},
                tokens_read=5 + k,
                language="es" if k % 2 and len(shares) - ago >= spanish_from else "en",
                characters=(4 - k % 2) * (5 + k),
                unknown_tokens=k % 2,
            )
            for k in range(40)
        ]
    with engine.begin() as connection:
        record_version(connection, version(reference=REFERENCE, **stated))
        insert(connection, rows)


def test_a_change_raises_the_alarm_and_the_distance(monitor: AppTest, engine: Engine) -> None:
    fill(engine, [0.2] * 21 + [0.8] * 10)
    at = open_page(monitor, "drift")
    assert not at.exception
    assert any("Predicted more or less often than before: toxic" in each.value for each in at.warning)
    alarms, _, distances = (each.value for each in at.dataframe)
    toxic = alarms.set_index("label").loc["toxic"]
    assert toxic["state"] == "changed"
    assert toxic["share since"] == pytest.approx(0.8, abs=0.1)
    assert alarms.set_index("label").loc["threat", "why not"]
    apart = distances.set_index("of").loc["toxic"]
    assert apart["PSI"] > apart["PSI if quiet"]
    assert apart["p-value"] < 0.05
    assert apart["PSI from training"] > 0
    assert charts(at) == 7
    assert "not known yet. The bundle does not state how its threshold does" in " ".join(
        each.value for each in at.caption
    )


def test_a_new_language_is_seen_and_the_classes_stay_quiet(engine: Engine) -> None:
    fill(engine, [0.2] * 30, spanish_from=23)
    found = drift.read(engine, local_session(engine, clock.now()), version(reference=REFERENCE), clock.now())
    assert found is not None
    distances = drift.distances_frame(found).set_index("of")
    assert distances.loc["language", "p-value"] < 0.05
    assert distances.loc["toxic", "p-value"] > 0.05
    traits = ["language", "unknown tokens", "tokens per character", "length (tokens)"]
    assert distances.loc[traits, "PSI from training"].notna().all()
    languages = drift.languages_frame(found)
    last = languages[languages["day"] == languages["day"].max()].set_index("language")["share"]
    assert last.to_dict() == {"en": 0.5, "es": 0.5, "others": 0.0}
    texts = drift.texts_frame(found).iloc[-1]
    assert texts["with unknown tokens"] == 0.5
    assert texts["tokens per character"] == pytest.approx((1 / 4 + 1 / 3) / 2, abs=0.02)
    assert texts["tokens"] == pytest.approx(24.5, abs=8)


def test_the_prevalence_is_corrected_where_the_threshold_in_force_is_the_stated_one(
    monitor: AppTest, engine: Engine
) -> None:
    points = {"toxic": POINT | {"threshold": 0.5}, "insult": POINT | {"threshold": 0.4}}
    fill(engine, [0.2] * 16 + [0.5] * 10, operating_points=points)
    record = version(reference=REFERENCE, operating_points=points)
    page = drift.read(engine, local_session(engine, clock.now()), record, clock.now())
    assert page is not None
    frame = prevalence_frame(page).set_index(["label", "days"])
    toxic = frame.loc["toxic"]
    assert toxic["predictions"].to_list() == [14 * 40, 7 * 40]
    for _, row in toxic.iterrows():
        assert row["value"] == pytest.approx((row["predicted"] - 0.05) / 0.75, abs=1e-9)
        assert row["low"] < row["value"] < row["high"]
    assert frame.loc["insult"]["why not"].iloc[0] == ("threshold in force: 0.5; the bundle states only how 0.4 does")
    assert "does not state" in frame.loc["threat"]["why not"].iloc[0]
    assert levels(page, "toxic")["training"] == pytest.approx(0.1 * 0.8 + 0.9 * 0.05)
    assert set(levels(page, "insult")) == {"first 14 days"}
    at = open_page(monitor, "drift")
    assert not at.exception
    assert charts(at) == 8


def test_of_a_version_from_before_traits_were_logged_the_page_says_so(monitor: AppTest, engine: Engine) -> None:
    fill(engine, [0.2] * 16)
    with engine.begin() as connection:
        connection.execute(update(Rollup).values(language_bins=null(), unknown_bins=null(), density_bins=null()))
    at = open_page(monitor, "drift")
    assert not at.exception
    assert any("not measured for this version yet" in each.value for each in at.caption)
    assert charts(at) == 4


def test_the_length_is_compared_with_training_only_where_the_bins_are_the_same(engine: Engine) -> None:
    fill(engine, [0.2] * 16)
    for edges, comparable in (([0.0, 16.0, 4096.0], True), ([0.0, 20.0, 4096.0], False)):
        stated = {"length_bin_edges": edges, "length_shares": [0.4, 0.6]}
        found = drift.read(engine, local_session(engine, clock.now()), version(reference=stated), clock.now())
        assert found is not None
        assert (found.distances[drift.TRAIT_NAMES["tokens"]].from_reference is not None) == comparable


def test_quiet_days_raise_none(engine: Engine) -> None:
    fill(engine, [0.2] * 30)
    found = drift.read(engine, local_session(engine, clock.now()), version(), clock.now())
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
    assert drift.read(engine, local_session(engine, clock.now()), version(version=VERSION), clock.now()) is None
