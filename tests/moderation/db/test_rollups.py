import gc
import json
import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, func, null, select, update

from moderation.db.log import PredictionRecord, insert, record_version
from moderation.db.models import Prediction, Rollup
from moderation.db.rollups import (
    DAY_S,
    HOUR_S,
    MIN_TIME_MS,
    MINUTE_S,
    SCORE_EDGES,
    TIME_ERROR,
    percentile,
    score_bin,
    time_bin,
)
from moderation.labels import LABELS
from tests.moderation.db.records import NOON, VERSION, prediction, version

STARTER = Path(__file__).parents[3] / "models" / "starter" / "manifest.json"


def rows(engine: Engine, period_s: int) -> list[dict[str, Any]]:
    query = select(Rollup.__table__).where(Rollup.period_s == period_s).order_by(Rollup.started_at, Rollup.route)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def store(engine: Engine, records: list[PredictionRecord]) -> None:
    with engine.begin() as connection:
        insert(connection, records)


def test_bins_of_scores_are_those_of_the_reference_in_bundles() -> None:
    assert json.loads(STARTER.read_text())["reference"]["score_bin_edges"] == list(SCORE_EDGES)
    assert np.linspace(0, 1, 21).tolist() == list(SCORE_EDGES)


@given(st.floats(0, 1) | st.floats(0, 1, width=32) | st.sampled_from(SCORE_EDGES))
def test_a_score_falls_into_the_bin_that_numpy_counts_it_in(score: float) -> None:
    assert np.histogram([score], SCORE_EDGES)[0].tolist().index(1) == score_bin(score)


@given(st.lists(st.floats(MIN_TIME_MS, 1e7), min_size=1, max_size=60), st.sampled_from([0, 1, 50, 95, 99, 100]))
def test_a_percentile_of_bins_is_within_its_error_of_the_real_one(times: list[float], percent: int) -> None:
    histogram = Counter(str(time_bin(each)) for each in times)
    exact = sorted(times)[math.floor(percent / 100 * (len(times) - 1))]
    assert percentile(histogram, percent) == pytest.approx(exact, rel=TIME_ERROR + 1e-9)


def test_times_shorter_than_the_clock_can_tell_are_counted_as_the_shortest() -> None:
    assert time_bin(0.0) == time_bin(-1.0) == time_bin(MIN_TIME_MS)


def test_a_prediction_is_counted_in_its_minute_hour_and_day(engine: Engine) -> None:
    with engine.begin() as connection:
        record_version(connection, version())
    first, last = NOON + timedelta(seconds=61), NOON + timedelta(seconds=119.5)
    scores = dict.fromkeys(LABELS, 0.02)
    store(
        engine,
        [
            prediction(
                created_at=first, scores=scores | {"toxic": 0.5}, decision="review", cached=True, text=None,
                queue_ms=1.0, tokenize_ms=2.0, inference_ms=3.0, latency_ms=9.0, tokens_read=33, truncated=True,
            ),
            prediction(created_at=last, scores=scores, latency_ms=9.0),
            prediction(created_at=NOON, scores=scores, route="/other"),
        ],
    )  # fmt: skip
    other, both = rows(engine, MINUTE_S)
    assert (other["route"], other["predictions"], other["started_at"]) == ("/other", 1, NOON)
    assert both["started_at"] == NOON + timedelta(minutes=1)
    expected = {
        "first_at": first, "last_at": last, "predictions": 2, "cached": 1, "truncated": 1, "text_stored": 1,
        "tokens_read": 40, "decided_allow": 1, "decided_review": 1, "decided_remove": 0, "classified": 2,
        "predicted_toxic": 1, "predicted_insult": 0, "latency_bins": {str(time_bin(9.0)): 2},
        "queue_bins": {str(time_bin(1.0)): 1}, "tokenize_bins": {str(time_bin(2.0)): 1},
        "inference_bins": {str(time_bin(3.0)): 1}, "tokens_bins": {"0": 1, "2": 1},
        "score_toxic_bins": {"0": 1, "10": 1}, "score_threat_bins": {"0": 2},
    }  # fmt: skip
    assert {name: both[name] for name in expected} == expected
    for period_s, start in ((HOUR_S, NOON), (DAY_S, NOON - timedelta(hours=12))):
        found = [row for row in rows(engine, period_s) if row["route"] == "/predict"]
        assert [row["started_at"] for row in found] == [start]
        assert {name: found[0][name] for name in expected} == expected


def test_a_row_that_is_sent_again_is_not_counted_again(engine: Engine) -> None:
    records = [prediction(created_at=NOON + timedelta(seconds=k)) for k in range(200)]
    store(engine, records[:120])
    store(engine, records[60:])
    store(engine, records * 2)
    for period_s in (MINUTE_S, HOUR_S, DAY_S):
        assert sum(row["predictions"] for row in rows(engine, period_s)) == 200


def test_what_is_not_committed_is_not_counted(engine: Engine) -> None:
    with engine.connect() as connection:
        insert(connection, [prediction()])
        connection.rollback()
    assert rows(engine, DAY_S) == []


def test_classes_of_a_version_that_is_not_recorded_are_not_counted(engine: Engine) -> None:
    store(engine, [prediction(scores=dict.fromkeys(LABELS, 1.0))])
    (row,) = rows(engine, DAY_S)
    assert (row["predictions"], row["classified"], row["predicted_toxic"]) == (1, 0, 0)


def test_writers_of_the_same_minutes_wait_for_each_other_and_lose_no_count(engine: Engine) -> None:
    def write(worker: int) -> None:
        for batch in range(8):
            spread = [NOON + timedelta(minutes=(k * (worker + 1)) % 30) for k in range(40)]
            versions = [VERSION, "b" * 64]
            store(engine, [prediction(created_at=at, version=versions[(k + batch) % 2]) for k, at in enumerate(spread)])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Prediction)) == 4 * 8 * 40
    for period_s in (MINUTE_S, HOUR_S, DAY_S):
        found = rows(engine, period_s)
        assert sum(row["predictions"] for row in found) == 4 * 8 * 40
        assert sum(sum(row["latency_bins"].values()) for row in found) == 4 * 8 * 40


def test_to_log_leaves_little_to_the_garbage_collector(engine: Engine) -> None:
    store(engine, [prediction()])  # statements are made once
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            store(engine, [prediction()])
        assert gc.collect() < 5 * 100  # the statement made anew would leave 400 each time
    finally:
        gc.enable()


def test_traits_of_texts_are_counted_where_they_were_measured(engine: Engine) -> None:
    store(
        engine,
        [
            prediction(language="en", characters=28, tokens_read=7, unknown_tokens=0),
            prediction(language="en", characters=14, tokens_read=7, unknown_tokens=1),
            prediction(language="und-Latn", characters=9_000, tokens_read=900, unknown_tokens=1, truncated=True),
            prediction(language="es", characters=28, tokens_read=7),  # by a tokenizer that knows every byte
            prediction(text=None),  # nothing of it may be stored
        ],
    )
    for period_s in (MINUTE_S, HOUR_S, DAY_S):
        (row,) = rows(engine, period_s)
        assert row["language_bins"] == {"en": 2, "und-Latn": 1, "es": 1}
        assert row["unknown_bins"] == {"0": 1, "5": 1}
        assert row["density_bins"] == {"12": 2, "25": 1}


def test_roll_ups_from_before_traits_were_measured_are_added_to(engine: Engine) -> None:
    store(engine, [prediction()])
    with engine.begin() as connection:
        connection.execute(update(Rollup).values(language_bins=null(), unknown_bins=null(), density_bins=null()))
    store(engine, [prediction(language="en", characters=28)])
    (row,) = rows(engine, DAY_S)
    assert (row["predictions"], row["language_bins"], row["unknown_bins"]) == (2, {"en": 1}, {})
