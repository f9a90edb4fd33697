import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select
from sqlalchemy.exc import StatementError

from moderation.db.log import feedback_record, insert, prediction_record, record_version
from moderation.db.models import SCORE_COLUMNS, Base, Feedback, Prediction, Version
from moderation.labels import LABELS
from tests.moderation.db.records import feedback, prediction, version

# Every example rolls back what it wrote, so that one database serves them all.
on_one_database = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
# What storage can get wrong: NUL, both kinds of surrogate, quotes, escapes, emoji, marks, overrides.
ODD = "\x00\ud800\udfff'\"\\%\n\r\t\x1a\u202e\u0301\u200dé👩🏽\uffff\U0010ffffa"
TEXTS = st.text(st.sampled_from(ODD) | st.characters())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))])
INSTANTS = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=ZONES)  # noqa: DTZ001 - hypothesis asks so


def stored(text: str) -> str:
    return "".join("\ufffd" if c == "\x00" or "\ud800" <= c <= "\udfff" else c for c in text)


def is_ours(name: str | None, kind: str, parents: Mapping[str, str | None]) -> bool:
    """Return whether a model says it: no partition, and no column that is kept for the release before (m0009)."""
    if kind == "column" and parents["table_name"] == "review_populations":
        return not (name or "").startswith("predicted_")
    return kind != "table" or not re.search(r"_predictions?_(before|default|20\d\d)|^predictions_", name or "")


def test_every_label_has_its_column() -> None:
    assert tuple(SCORE_COLUMNS) == LABELS
    assert {f"score_{label}" for label in LABELS} == {c for c in Prediction.__table__.c.keys() if "score" in c}  # noqa: SIM118


def test_migrations_build_what_the_models_say(engine: Engine) -> None:
    with engine.connect() as connection:
        opts = {"compare_type": True, "compare_server_default": True, "include_name": is_ours}
        context = MigrationContext.configure(connection, opts=opts)
        assert compare_metadata(context, Base.metadata) == []


@on_one_database
@given(texts=st.tuples(TEXTS, TEXTS, TEXTS, TEXTS))
def test_text_is_kept_but_for_what_cannot_be_stored(engine: Engine, texts: tuple[str, ...]) -> None:
    names = ("text", "client", "request_id", "route")
    with engine.connect() as connection:
        insert(connection, [prediction(**dict(zip(names, texts, strict=True)))])
        row = connection.execute(select(*(Prediction.__table__.c[name] for name in names))).one()
        connection.rollback()
    assert tuple(row) == tuple(map(stored, texts))


def test_long_and_odd_text_is_kept(engine: Engine) -> None:
    texts = ["👩‍👩‍👧‍👦🏳️‍🌈", "a" + "\u0301" * 10_000, "\u202eevil\u202c", "x" * 1_000_000, ""]
    with engine.begin() as connection:
        insert(connection, [prediction(text=text, latency_ms=float(k)) for k, text in enumerate(texts)])
        assert connection.scalars(select(Prediction.text).order_by(Prediction.latency_ms)).all() == texts


@on_one_database
@given(scores=st.lists(st.floats(0, 1, width=32), min_size=6, max_size=6), latency_ms=st.floats(0, 1e9))
def test_scores_of_single_precision_come_back_exactly(engine: Engine, scores: list[float], latency_ms: float) -> None:
    record = prediction(scores=dict(zip(LABELS, scores, strict=True)), latency_ms=latency_ms)
    with engine.connect() as connection:
        insert(connection, [record])
        found = prediction_record(connection.execute(select(Prediction.__table__)).mappings().one())
        connection.rollback()
    assert found == record


def test_a_label_that_was_not_scored_stays_absent(engine: Engine) -> None:
    record = prediction(scores={"toxic": 0.5}, text=None)
    with engine.begin() as connection:
        insert(connection, [record])
        assert prediction_record(connection.execute(select(Prediction.__table__)).mappings().one()) == record


@on_one_database
@given(instant=INSTANTS)
def test_times_come_back_as_the_same_instant_in_utc(engine: Engine, instant: datetime) -> None:
    record = prediction(created_at=instant.astimezone(UTC))
    with engine.connect() as connection:
        insert(connection, [record])
        # Asked for in whatever zone the reader lives.
        found = connection.scalars(select(Prediction.created_at).where(Prediction.created_at == instant)).one()
        connection.rollback()
    assert found == instant
    assert found.tzinfo is UTC


def test_a_time_without_zone_is_refused(engine: Engine) -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001
    with engine.connect() as connection, pytest.raises(StatementError, match="has no time zone"):
        connection.execute(select(Prediction).where(Prediction.created_at < naive))


@on_one_database
@given(reference=st.dictionaries(TEXTS, JSON, max_size=4))
def test_json_comes_back_equal(engine: Engine, reference: dict[str, Any]) -> None:
    record = version(reference=reference)
    with engine.connect() as connection:
        record_version(connection, record)
        found = connection.scalars(select(Version.reference)).one()
        connection.rollback()
    assert found == reference


@pytest.mark.parametrize("labels", [None, {"insult": True, "threat": False}])
def test_feedback_comes_back_equal(engine: Engine, labels: dict[str, bool] | None) -> None:
    record = feedback(agree=False, labels=labels)
    with engine.begin() as connection:
        insert(connection, [], [record])
        assert feedback_record(connection.execute(select(Feedback.__table__)).mappings().one()) == record
        assert connection.scalar(select(Feedback.labels.is_(None))) is (labels is None)
