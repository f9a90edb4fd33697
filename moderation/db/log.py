"""What is written to the database: records of predictions, shadow predictions, feedback, failures and versions.

A record is checked when it is made, in the process that answers, so that nothing waits in an outbox that
the database will refuse. As JSON it is ASCII and reads back equal, whatever its text holds.
"""

import json
import math
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, RowMapping, Table, func, select, text
from sqlalchemy.dialects import postgresql, sqlite

from moderation.db import erasure, rollups
from moderation.db.base import Base, storable, storable_in
from moderation.db.database import begin_writing
from moderation.db.ids import made_near
from moderation.db.models import SCORE_COLUMNS, SUGGESTED, Failure, Feedback, Prediction, ShadowPrediction, Version
from moderation.errors import InvalidInputError
from moderation.policy import DECISIONS, Decision

_MAY_BE_NONE = (
    *("text", "text_hash", "author", "queue_ms", "tokenize_ms", "inference_ms", "labels", "provenance"),
    *("language", "characters", "unknown_tokens", "operating_points", "origin"),
)
_UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_R = TypeVar("_R", "PredictionRecord", "ShadowRecord", "FeedbackRecord", "FailureRecord", "VersionRecord")


@dataclass(frozen=True)
class PredictionRecord:
    """One answered prediction; ``text`` is None where it is not stored.

    ``text_hash`` is the keyed hash that may stand for it, ``author`` the caller's name or hash of who wrote it.
    ``queue_ms``, ``tokenize_ms`` and ``inference_ms`` are parts of ``latency_ms``, None where they were not
    measured. ``language``, ``characters`` and ``unknown_tokens`` are the text's `moderation.traits.Traits`, None of one
    of which nothing may be stored. What follows ``text`` is absent from lines that earlier releases wrote, and has its
    default then.

    Raises:
        InvalidInputError: ``id`` is no UUID in its usual form, ``created_at`` is not in UTC, or the scores are
            not finite numbers for known labels.
    """

    id: str
    created_at: datetime
    request_id: str
    client: str
    route: str
    version: str
    scores: dict[str, float]
    decision: Decision
    reasons: list[str]
    latency_ms: float
    tokens_read: int
    truncated: bool
    text: str | None
    cached: bool = False
    queue_ms: float | None = None
    tokenize_ms: float | None = None
    inference_ms: float | None = None
    text_hash: str | None = None
    author: str | None = None
    language: str | None = None
    characters: int | None = None
    unknown_tokens: int | None = None

    def __post_init__(self) -> None:
        _require_uuid("id", self.id)
        _require_utc("created_at", self.created_at)
        _require_decided(self.scores, self.decision)
        parts = (self.latency_ms, self.queue_ms, self.tokenize_ms, self.inference_ms)
        _require_finite("latency_ms and its parts", [part for part in parts if part is not None])

    def to_json(self) -> str:
        """Return the record as one line."""
        return _dump(self, "created_at")

    @classmethod
    def from_json(cls, line: str) -> "PredictionRecord":
        """Read what `to_json` wrote; raises InvalidInputError if it is anything else."""
        return _load(cls, line, "created_at")


@dataclass(frozen=True)
class LoggedScores:
    """The scores of a logged prediction, in [0, 1], and the version that gave them."""

    version: str
    scores: Mapping[str, float]


@dataclass(frozen=True)
class ShadowRecord:
    """What another version said of an answered prediction's text; ``id`` and ``created_at`` are the prediction's.

    Raises:
        InvalidInputError: as for `PredictionRecord`.
    """

    id: str
    created_at: datetime
    version: str
    scores: dict[str, float]
    decision: Decision
    latency_ms: float

    def __post_init__(self) -> None:
        _require_uuid("id", self.id)
        _require_utc("created_at", self.created_at)
        _require_decided(self.scores, self.decision)
        _require_finite("latency_ms", [self.latency_ms])

    def to_json(self) -> str:
        """Return the record as one line."""
        return _dump(self, "created_at")

    @classmethod
    def from_json(cls, line: str) -> "ShadowRecord":
        """Read what `to_json` wrote; raises InvalidInputError if it is anything else."""
        return _load(cls, line, "created_at")


@dataclass(frozen=True)
class FeedbackRecord:
    """A verdict on one prediction; ``labels`` are the right ones, as far as the caller is sure.

    ``origin`` is that of what a caller suggested in Perspective's way: no verdict until a person has looked at it.

    Raises:
        InvalidInputError: ``id`` or ``prediction_id`` is no UUID in its usual form, ``created_at`` is not in UTC,
            or a label is unknown.
    """

    id: str
    created_at: datetime
    request_id: str
    client: str
    prediction_id: str
    agree: bool
    labels: dict[str, bool] | None
    origin: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        _require_uuid("id", self.id)
        _require_uuid("prediction_id", self.prediction_id)
        _require_utc("created_at", self.created_at)
        _require_known("labels", self.labels or {})

    def to_json(self) -> str:
        """Return the record as one line."""
        return _dump(self, "created_at", without=() if self.origin else ("origin",))  # earlier releases know none

    @classmethod
    def from_json(cls, line: str) -> "FeedbackRecord":
        """Read what `to_json` wrote; raises InvalidInputError if it is anything else."""
        return _load(cls, line, "created_at")


@dataclass(frozen=True)
class FailureRecord:
    """``number`` requests of a ``route`` that one server answered with a ``status`` from 400 on, in one minute.

    ``created_at`` is when the last of them was, to the second.

    Raises:
        InvalidInputError: ``id`` is no UUID in its usual form, or ``created_at`` is not in UTC.
    """

    id: str
    created_at: datetime
    route: str
    status: int
    number: int

    def __post_init__(self) -> None:
        _require_uuid("id", self.id)
        _require_utc("created_at", self.created_at)

    def to_json(self) -> str:
        """Return the record as one line."""
        return _dump(self, "created_at")

    @classmethod
    def from_json(cls, line: str) -> "FailureRecord":
        """Read what `to_json` wrote; raises InvalidInputError if it is anything else."""
        return _load(cls, line, "created_at")


@dataclass(frozen=True)
class VersionRecord:
    """A bundle: per label the scores from which it decides (None: never), its reference, and where it comes from.

    ``operating_points`` says of each label how well the bundle's own threshold does; None: the bundle does not say.

    Raises:
        InvalidInputError: ``first_seen_at`` is not in UTC.
    """

    version: str
    first_seen_at: datetime
    name: str
    labels: list[str]
    thresholds: dict[str, dict[str, float | None]]
    reference: dict[str, Any]
    provenance: dict[str, Any] | None = None
    operating_points: dict[str, dict[str, float]] | None = None

    def __post_init__(self) -> None:
        _require_utc("first_seen_at", self.first_seen_at)

    def to_json(self) -> str:
        """Return the record as one line."""
        return _dump(self, "first_seen_at")

    @classmethod
    def from_json(cls, line: str) -> "VersionRecord":
        """Read what `to_json` wrote; raises InvalidInputError if it is anything else."""
        return _load(cls, line, "first_seen_at")


def insert(
    connection: Connection,
    predictions: Sequence[PredictionRecord] = (),
    feedback: Sequence[FeedbackRecord] = (),
    shadows: Sequence[ShadowRecord] = (),
    failures: Sequence[FailureRecord] = (),
) -> int:
    """Insert what is not there yet, and return how many rows that were; the caller commits.

    What was erased meanwhile is inserted without its text and author, and feedback on it is not. The roll-ups count
    what is inserted.
    Any number of processes may insert the same records at once, in any order.
    """
    begin_writing(connection)
    predictions = erasure.redact(connection, predictions)
    feedback = erasure.without_erased(connection, feedback)  # after it: that may erase more
    inserted = _insert_missing(connection, Prediction, list(map(_scored_row, predictions)))
    shadowed = _insert_missing(connection, ShadowPrediction, list(map(_scored_row, shadows)))
    judged = [
        vars(record) | {"labels": record.labels or None, "origin": storable_in(record.origin)} for record in feedback
    ]
    received = _insert_missing(connection, Feedback, judged)
    failed = _insert_missing(connection, Failure, [dict(vars(record)) for record in failures])
    # Last: other processes wait from here on until this one commits.
    traffic = [record for record in predictions if record.id in inserted and record.route != SUGGESTED]
    rollups.add(connection, list({record.id: record for record in traffic}.values()))
    return len(inserted) + len(shadowed) + len(received) + len(failed)


def record_version(connection: Connection, record: VersionRecord) -> None:
    """Insert the version, or update what is known of it; when it was first seen stays. The caller commits."""
    statement = _insert_into(connection, Version).values(**vars(record))
    changed: dict[str, Any] = {name: statement.excluded[name] for name in ("name", "labels", "thresholds", "reference")}
    for name, known in (("provenance", Version.provenance), ("operating_points", Version.operating_points)):
        changed[name] = func.coalesce(statement.excluded[name], known)
    connection.execute(statement.on_conflict_do_update(index_elements=["version"], set_=changed))


def find_scores(connection: Connection, prediction_id: str) -> LoggedScores | None:
    """Return what was answered for the prediction; None if the database has none of this id."""
    try:
        canonical = str(uuid.UUID(prediction_id))
    except ValueError:
        return None
    # Column by column: a server's role may not read the rest of the row.
    query = select(Prediction.version, *SCORE_COLUMNS.values())
    query = query.where(Prediction.id == canonical, *made_near(Prediction.created_at, [canonical])).limit(1)
    row = connection.execute(query).first()
    if row is None:
        return None
    scores = dict(zip(SCORE_COLUMNS, row[1:], strict=True))
    return LoggedScores(row[0], {label: score for label, score in scores.items() if score is not None})


def prediction_record(row: RowMapping) -> PredictionRecord:
    """Return the record that a row of `Prediction` came from; a label that was not scored stays absent."""
    # A migration reads rows that lack the columns of later ones.
    fields = {name: row[name] for name in PredictionRecord.__dataclass_fields__ if name != "scores" and name in row}
    scores = {label: row[column.key] for label, column in SCORE_COLUMNS.items() if row[column.key] is not None}
    return PredictionRecord(scores=scores, **fields)


def feedback_record(row: RowMapping) -> FeedbackRecord:
    """Return the record that a row of `Feedback` came from."""
    return FeedbackRecord(**{name: row[name] for name in FeedbackRecord.__dataclass_fields__})


def _scored_row(record: PredictionRecord | ShadowRecord) -> dict[str, Any]:
    scores = {column.key: record.scores.get(label) for label, column in SCORE_COLUMNS.items()}
    return {name: value for name, value in vars(record).items() if name != "scores"} | scores


def _insert_missing(connection: Connection, model: type[Base], rows: list[dict[str, Any]]) -> set[str]:
    """Return the ids of those that were not there."""
    if not rows:
        return set()
    # In one order everywhere: two processes with the same rows in different orders would wait for each other.
    rows.sort(key=lambda row: (row["created_at"], row["id"]))
    if connection.dialect.name == "postgresql":
        return _insert_json(connection, cast(Table, model.__table__), rows)
    statement = _insert_into(connection, model).on_conflict_do_nothing()
    return set(connection.scalars(statement.returning(statement.table.c.id), rows))


def _insert_json(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> set[str]:
    """Insert through one parameter that holds all rows: several times as fast as a statement with a value for each."""
    plain = [{name: storable(each) if type(each) is str else each for name, each in row.items()} for row in rows]
    columns = [table.c[name] for name in rows[0]]
    names = ", ".join(column.name for column in columns)
    types = ", ".join(f"{column.name} {column.type.compile(connection.dialect)}" for column in columns)
    statement = text(
        f"INSERT INTO {table.name} ({names}) SELECT {names}"  # noqa: S608 - names and types of our own columns
        f" FROM json_to_recordset(CAST(:rows AS json)) AS found({types}) ON CONFLICT DO NOTHING RETURNING id"
    )
    sent = json.dumps(plain, default=datetime.isoformat, separators=(",", ":"))
    return set(map(str, connection.scalars(statement, {"rows": sent})))


def _insert_into(connection: Connection, model: type[Base]) -> postgresql.Insert | sqlite.Insert:
    table = cast(Table, model.__table__)
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def _dump(
    record: PredictionRecord | ShadowRecord | FeedbackRecord | FailureRecord | VersionRecord,
    instant: str,
    without: Sequence[str] = (),
) -> str:
    fields = {name: value for name, value in vars(record).items() if name not in without}
    return json.dumps(fields | {instant: fields[instant].isoformat()}, separators=(",", ":"), allow_nan=False)


def _load(kind: type[_R], line: str, instant: str) -> _R:
    try:
        fields = json.loads(line)
        record = kind(**fields | {instant: datetime.fromisoformat(fields[instant])})
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidInputError(f"not a {kind.__name__}: {type(error).__name__}") from None
    # PostgreSQL's own refusal would repeat the whole row, with the comment.
    if absent := [name for name, value in fields.items() if value is None and name not in _MAY_BE_NONE]:
        raise InvalidInputError(f"not a {kind.__name__}: {', '.join(absent)} is null")
    return record


def _require_uuid(field: str, value: str) -> None:
    if not _UUID.fullmatch(value):
        raise InvalidInputError(f"{field} is {value!r}; expected a UUID, 36 lower-case characters")


def _require_utc(field: str, value: datetime) -> None:
    if value.utcoffset() != timedelta(0):
        raise InvalidInputError(f"{field} is {value.isoformat()}; expected a time in UTC")


def _require_decided(scores: Mapping[str, float], decision: str) -> None:
    _require_known("scores", scores)
    _require_finite("scores", list(scores.values()))
    if decision not in DECISIONS:
        raise InvalidInputError(f"decision is {decision!r}; expected one of {', '.join(DECISIONS)}")


def _require_finite(field: str, values: Sequence[float]) -> None:
    if not all(map(math.isfinite, values)):
        raise InvalidInputError(f"{field} must be finite numbers")


def _require_known(field: str, labels: Mapping[str, object]) -> None:
    if unknown := sorted(set(labels) - set(SCORE_COLUMNS)):
        raise InvalidInputError(f"{field} has labels {', '.join(unknown)}; known are {', '.join(SCORE_COLUMNS)}")
