"""Roll-ups: counts and histograms per minute, hour and day, version and route.

They are brought up to date in the transaction that inserts predictions and count inserted rows only, so they
always agree with what was logged, however often a row is sent. Rows that are deleted later stay counted.
Charts read some hundred roll-ups of the period that fits, whatever the number of predictions.

Histograms map the number of a bin to its count. Bins are fixed, so that histograms of any periods can be added:

- scores: 20 bins of equal width over [0, 1], the edges of the reference in every bundle;
- tokens: bins of 16 tokens;
- language: a bin per tag; unknown and density (tokens per character): those of `moderation.traits`, of texts that were
  read as a whole. Predictions of which nothing of the text may be stored are in none of the three;
- times: bins whose ends grow by a constant factor, from which any percentile comes out within `TIME_ERROR` of a time
  that was measured (Masson, Rim, Lee: DDSketch, VLDB 2019, section 2.1).
"""

import functools
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sqlalchemy import Connection, Insert, RowMapping, Table, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from moderation.db.database import ROLLUP_LOCK
from moderation.db.models import Rollup, Version
from moderation.labels import LABELS
from moderation.policy import DECISIONS
from moderation.traits import density_bin, unknown_bin

if TYPE_CHECKING:
    from moderation.db.log import PredictionRecord

MINUTE_S, HOUR_S, DAY_S = PERIODS_S = (60, 3_600, 86_400)
SCORE_EDGES = (*(k * 0.05 for k in range(20)), 1.0)
TOKENS_PER_BIN = 16
TIME_ERROR = 0.025
"""Relative; 0.01 would need two and a half times as many bins."""
MIN_TIME_MS = 0.001

_GROWTH = math.log((1 + TIME_ERROR) / (1 - TIME_ERROR))
_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_TABLE = cast(Table, Rollup.__table__)
_TIMES = {"latency_bins": "latency_ms", "queue_bins": "queue_ms", "tokenize_bins": "tokenize_ms",
          "inference_bins": "inference_ms"}  # fmt: skip
_COUNTS = (
    *("predictions", "cached", "truncated", "text_stored", "tokens_read", "classified"),
    *(f"decided_{decision}" for decision in DECISIONS),
    *(f"predicted_{label}" for label in LABELS),
)
_TRAITS = ("language_bins", "unknown_bins", "density_bins")
_HISTOGRAMS = (*_TIMES, "tokens_bins", *(f"score_{label}_bins" for label in LABELS), *_TRAITS)
Thresholds = Mapping[str, Mapping[str, float]]
"""Per version and label the score from which the class is predicted; infinite: never."""


class Key(NamedTuple):
    """What a roll-up counts: a period that begins at a multiple of its length since the epoch, a version, a route."""

    period_s: int
    started_at: datetime
    version: str
    route: str


@dataclass
class Counts:
    """What is counted of some predictions; the names are those of the table's columns."""

    first_at: datetime = _LATEST
    last_at: datetime = _EARLIEST
    counts: Counter[str] = field(default_factory=Counter)
    histograms: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in _HISTOGRAMS})

    @classmethod
    def of(cls, records: "Sequence[PredictionRecord]", thresholds: Mapping[str, float] | None) -> "Counts":
        """Count ``records``, all of one version; without its ``thresholds`` nothing is known of their classes."""
        times = [record.created_at for record in records]
        found = cls(min(times), max(times))
        found.counts |= {
            "predictions": len(records),
            "cached": sum(record.cached for record in records),
            "truncated": sum(record.truncated for record in records),
            "text_stored": sum(record.text is not None for record in records),
            "tokens_read": sum(record.tokens_read for record in records),
            "classified": 0 if thresholds is None else len(records),
        }
        found.counts.update(f"decided_{record.decision}" for record in records)
        for column, part in _TIMES.items():
            measured = (getattr(record, part) for record in records)
            found._fill(column, (time_bin(each) for each in measured if each is not None))
        found._fill("tokens_bins", (record.tokens_read // TOKENS_PER_BIN for record in records))
        found._fill_traits(records)
        for label in LABELS:
            scores = [record.scores[label] for record in records if label in record.scores]
            found._fill(f"score_{label}_bins", map(score_bin, scores))
            threshold = math.inf if thresholds is None else thresholds.get(label, math.inf)
            found.counts[f"predicted_{label}"] = sum(score >= threshold for score in scores)
        return found

    def _fill_traits(self, records: "Sequence[PredictionRecord]") -> None:
        self._fill("language_bins", (record.language for record in records if record.language is not None))
        whole = [record for record in records if not record.truncated]
        unknown = ((each.unknown_tokens, each.tokens_read) for each in whole)
        self._fill("unknown_bins", (unknown_bin(count, read) for count, read in unknown if count is not None))
        lengths = ((each.tokens_read, each.characters) for each in whole)
        self._fill("density_bins", (density_bin(read, count) for read, count in lengths if count is not None))

    def _fill(self, column: str, bins: Iterable[int | str]) -> None:
        self.histograms[column] = Counter({str(number): count for number, count in Counter(bins).items()})

    def add(self, other: "Counts") -> None:
        """Count what ``other`` counted as well."""
        self.first_at, self.last_at = min(self.first_at, other.first_at), max(self.last_at, other.last_at)
        self.counts.update(other.counts)
        for name, histogram in other.histograms.items():
            self.histograms[name].update(histogram)

    @classmethod
    def of_row(cls, row: RowMapping) -> "Counts":
        """Return what a row of the table holds."""
        histograms: dict[str, Counter[str]] = {name: Counter(row.get(name) or {}) for name in _HISTOGRAMS}
        return cls(row["first_at"], row["last_at"], Counter({name: row[name] for name in _COUNTS}), histograms)

    def row(self, key: Key) -> dict[str, Any]:
        """Return the table's row for ``key``."""
        counts = {name: self.counts[name] for name in _COUNTS}
        return key._asdict() | counts | self.histograms | {"first_at": self.first_at, "last_at": self.last_at}


def score_bin(score: float) -> int:
    """Return the bin, 0 to 19, of a score in [0, 1]; 1 is in the last, as in numpy's histogram."""
    return bisect_right(SCORE_EDGES, score, 1, len(SCORE_EDGES) - 1) - 1


def time_bin(milliseconds: float) -> int:
    """Return the bin of a time; what is shorter than `MIN_TIME_MS` counts as that."""
    return math.ceil(math.log(max(milliseconds, MIN_TIME_MS)) / _GROWTH)


def percentile(histogram: Mapping[str, int], percent: float) -> float:
    """Return a percentile of times in ms, within `TIME_ERROR` of the time at that rank (the lower one of two).

    Raises:
        ValueError: nothing was counted.
    """
    rank = math.floor(percent / 100 * (sum(histogram.values()) - 1))
    for number, count in sorted((int(name), count) for name, count in histogram.items()):
        rank -= count
        if rank < 0:
            return math.exp(number * _GROWTH) * (1 - TIME_ERROR)  # 2γⁱ / (γ + 1)
    raise ValueError("an empty histogram has no percentiles")


def collect(records: Iterable["PredictionRecord"], thresholds: Thresholds) -> dict[Key, Counts]:
    """Return the roll-ups, of every length of period, of ``records`` alone."""
    grouped: dict[Key, list[PredictionRecord]] = {}
    for record in records:
        key = Key(MINUTE_S, _start(record.created_at, MINUTE_S), record.version, record.route)
        grouped.setdefault(key, []).append(record)
    minutes = {key: Counts.of(some, thresholds.get(key.version)) for key, some in grouped.items()}
    found = dict(minutes)
    for period_s in PERIODS_S[1:]:
        for key, counts in minutes.items():
            longer = key._replace(period_s=period_s, started_at=_start(key.started_at, period_s))
            found.setdefault(longer, Counts()).add(counts)
    return found


def add(connection: Connection, records: Sequence["PredictionRecord"]) -> None:
    """Count ``records``, which were inserted in the transaction of ``connection``; the caller commits.

    Processes take turns from here until they commit: every one of them changes the roll-ups of the current day.
    """
    if records:
        write(connection, collect(records, read_thresholds(connection, {record.version for record in records})))


def write(connection: Connection, found: dict[Key, Counts], without: Container[str] = ()) -> None:
    """Add roll-ups to those in the table; a migration writes ``without`` the columns that it does not have yet."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(ROLLUP_LOCK)))
    keys = sorted(found)
    same = tuple_(*(_TABLE.c[name] for name in Key._fields)).in_(keys)
    columns = [column for column in _TABLE.c if column.name not in without]
    for row in connection.execute(select(*columns).where(same)).mappings():
        found[Key(*(row[name] for name in Key._fields))].add(Counts.of_row(row))
    statement = _upsert(connection.dialect.name, tuple(column.name for column in columns))
    rows = [found[key].row(key) for key in keys]
    connection.execute(statement, [{column.name: row[column.name] for column in columns} for row in rows])


@functools.cache
def _upsert(dialect: str, names: tuple[str, ...]) -> Insert:
    """Return the statement that replaces the columns ``names`` of a roll-up.

    Made once: a server runs it with every shipment, and each one made leaves 400 objects to the garbage collector.
    """
    insert = sqlite.insert(_TABLE) if dialect == "sqlite" else postgresql.insert(_TABLE)
    changed = {name: insert.excluded[name] for name in names if name not in Key._fields}
    return insert.on_conflict_do_update(index_elements=Key._fields, set_=changed)


def read_thresholds(connection: Connection, versions: Iterable[str]) -> Thresholds:
    """Return the thresholds of those versions that are recorded."""
    query = select(Version.version, Version.thresholds).where(Version.version.in_(versions))
    return {
        version: {label: math.inf if rule["review"] is None else rule["review"] for label, rule in rules.items()}
        for version, rules in connection.execute(query)
    }


def _start(at: datetime, period_s: int) -> datetime:
    return datetime.fromtimestamp(math.floor(at.timestamp()) // period_s * period_s, UTC)
