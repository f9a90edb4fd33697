from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from sqlalchemy import Engine

from apps.monitor.components import charts
from apps.monitor.services import frames
from apps.monitor.services.snapshot import TIME_RANGES, Snapshot, TimeRange, take_snapshot
from moderation import clock
from moderation.db.promotion import record_moves
from moderation.registry.registry import AliasEvent
from moderation.review.access import local_session
from tests.apps.monitor.records import VERSION, feedback, fill, prediction


@pytest.fixture
def snapshot(engine: Engine) -> Snapshot:
    rows = [prediction(toxic=0.9, decision="remove"), prediction(ago=timedelta(minutes=30))]
    fill(engine, rows, [feedback(rows[0], False, {"toxic": False})])
    return look(engine)


def look(engine: Engine, now: datetime | None = None) -> Snapshot:
    now = now or clock.now()
    return take_snapshot(engine, local_session(engine, now), TIME_RANGES[0], now)


def axis_of(snapshot: Snapshot) -> charts.TimeAxis:
    return charts.TimeAxis(snapshot.start, snapshot.end, snapshot.time_range.time_format)


@pytest.mark.parametrize("time_range", TIME_RANGES, ids=lambda each: each.name)
def test_every_range_has_a_readable_number_of_buckets(time_range: TimeRange) -> None:
    assert 50 <= time_range.length / time_range.bucket <= 100


def test_every_axis_of_time_or_number_says_what_it_measures(snapshot: Snapshot) -> None:
    bucket = snapshot.time_range.bucket_name
    titles = {
        chart: {channel: axis.get("title") for channel, axis in spec["encoding"].items() if channel in ("x", "y")}
        for chart, spec in {
            "volume": charts.volume_chart(frames.volume_frame(snapshot), bucket, axis_of(snapshot)).to_dict(),
            "decisions": charts.decisions_chart(frames.decisions_frame(snapshot), bucket, axis_of(snapshot)).to_dict(),
            "latency": charts.latency_chart(frames.latency_frame(snapshot), axis_of(snapshot)).to_dict(),
            "classes": charts.classes_chart(frames.classes_frame(snapshot), axis_of(snapshot)).to_dict(),
            "parts": charts.parts_chart(frames.parts_frame(snapshot, "p95"), "p95", axis_of(snapshot)).to_dict(),
            "failures": charts.failures_chart(frames.failures_frame(snapshot), bucket, axis_of(snapshot)).to_dict(),
            "cache": charts.cache_chart(frames.cache_frame(snapshot), axis_of(snapshot)).to_dict(),
            "corrections": charts.corrections_chart(frames.corrections_frame(snapshot)).to_dict(),
        }.items()
    }
    assert titles == {
        "volume": {"x": "Time (UTC)", "y": "Predictions per minute"},
        "decisions": {"x": "Time (UTC)", "y": "Predictions per minute"},
        "latency": {"x": "Time (UTC)", "y": "Latency (ms)"},
        "classes": {"x": "Time (UTC)", "y": None},  # the names of the classes
        "parts": {"x": "Time (UTC)", "y": "p95 of each part (ms)"},
        "failures": {"x": "Time (UTC)", "y": "Requests per minute"},
        "cache": {"x": "Time (UTC)", "y": "From the cache (%)"},
        "corrections": {"x": "Corrections (count)", "y": None},
    }


def test_charts_of_a_page_span_the_same_time_however_little_they_show(snapshot: Snapshot) -> None:
    frame = frames.cache_frame(snapshot)
    spec = charts.cache_chart(frame.head(1), axis_of(snapshot)).to_dict()
    assert spec["encoding"]["x"]["scale"]["domain"] == [
        1000 * snapshot.start.timestamp(),
        1000 * snapshot.end.timestamp(),
    ]


def test_frames_count_every_prediction_once(snapshot: Snapshot) -> None:
    assert snapshot.predictions == 2
    assert frames.volume_frame(snapshot)["predictions"].sum() == 2
    assert frames.decisions_frame(snapshot).groupby("decision")["predictions"].sum().to_dict() == {
        "allow": 1,
        "remove": 1,
        "review": 0,
    }
    assert snapshot.acted_on_share == 0.5


def test_latency_has_gaps_where_nothing_was_answered(snapshot: Snapshot) -> None:
    frame = frames.latency_frame(snapshot)
    assert frame["latency_ms"].notna().sum() == 2 * 3
    assert len(frame) == len(snapshot.traffic) * 3


def test_class_shares_are_of_the_buckets_predictions(snapshot: Snapshot) -> None:
    frame = frames.classes_frame(snapshot)
    assert sorted(frame[frame["label"] == "toxic"]["share"]) == [0.0, 1.0]
    assert frame["share"].between(0, 1).all()


def test_corrections_tell_missed_classes_from_false_alarms(snapshot: Snapshot) -> None:
    frame = frames.corrections_frame(snapshot)
    toxic: pd.DataFrame = frame[frame["label"] == "toxic"]
    assert dict(zip(toxic["kind"], toxic["corrections"], strict=True)) == {"missed": 0, "false alarm": 1}


def test_failures_are_told_apart_by_what_they_mean() -> None:
    kinds = {status: frames.failure_kind(status) for status in (400, 401, 404, 422, 429, 499, 500, 503, 504)}
    assert set(kinds.values()) == set(frames.FAILURE_KINDS)
    assert kinds[504] == kinds[500] == "fault (5xx)"
    assert kinds[503] == "no room (503)"
    assert kinds[404] == kinds[400] == "refused (4xx)"


def test_parts_and_cache_hits_are_those_that_were_measured(engine: Engine) -> None:
    row = prediction()
    fill(engine, [replace(row, queue_ms=2.0, tokenize_ms=1.0, inference_ms=9.0), replace(prediction(), cached=True)])
    snapshot = look(engine)
    parts = frames.parts_frame(snapshot, "p50").dropna().set_index("part")["latency_ms"]
    assert parts.to_dict() == pytest.approx({"waiting": 2.0, "tokenising": 1.0, "inference": 9.0}, rel=0.026)
    assert snapshot.cached_share == 0.5
    assert frames.cache_frame(snapshot)["cached"].sum() == 1


def test_alias_periods_are_cut_to_the_range_and_marked_where_they_begin(engine: Engine) -> None:
    now = datetime.now(UTC)
    with engine.begin() as connection:
        moves = [("a" * 64, 9), ("b" * 64, 3), (VERSION, 0.5)]
        record_moves(
            connection,
            [AliasEvent("production", version, None, now - timedelta(hours=ago), "ann", "") for version, ago in moves],
        )
    fill(engine, [prediction()])
    snapshot = look(engine, now)
    periods = frames.periods_frame(snapshot)
    assert list(periods["version"]) == ["b" * 12, f"tiny {VERSION[:12]}"]
    assert list(periods["began"]) == [False, True]
    assert (periods["at"] >= snapshot.start).all()
    chart = charts.volume_chart(frames.volume_frame(snapshot), "minute", axis_of(snapshot))
    assert len(charts.marked(chart, periods, "#000").to_dict()["layer"]) == 2
    assert "layer" not in charts.marked(chart, periods[:1], "#000").to_dict()
