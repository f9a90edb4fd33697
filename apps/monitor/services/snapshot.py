"""Everything that the dashboard shows of one time range, read at one moment. Knows no Streamlit."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine

from moderation.db import promotion, queries
from moderation.registry.registry import AliasEvent
from moderation.review.access import Session, resume
from moderation.statistics.sample import Estimate
from moderation.statistics.shares import share

MOST_ROWS = 500


@dataclass(frozen=True)
class TimeRange:
    """A choice of how far back to look, and how fine; ``time_format`` is d3's, for the time axis."""

    name: str
    length: timedelta
    bucket: timedelta
    bucket_name: str
    time_format: str


TIME_RANGES = (
    TimeRange("1 hour", timedelta(hours=1), timedelta(minutes=1), "minute", "%H:%M"),
    TimeRange("1 day", timedelta(days=1), timedelta(minutes=15), "15 minutes", "%H:%M"),
    TimeRange("1 week", timedelta(days=7), timedelta(hours=2), "2 hours", "%a %d"),
    TimeRange("30 days", timedelta(days=30), timedelta(hours=8), "8 hours", "%d %b"),
    TimeRange("1 year", timedelta(days=365), timedelta(days=4), "4 days", "%d %b"),
)


@dataclass(frozen=True)
class Snapshot:
    """What the database says about ``[start, end)``; lists are in time order, ``newest`` and ``versions`` newest first.

    ``total`` is the whole range as one bucket; ``moves`` of aliases are those of all time; ``last_at`` is when the
    newest prediction of all time was made. ``texts`` says whether those of the newest were read.
    """

    time_range: TimeRange
    start: datetime
    end: datetime
    traffic: list[queries.Traffic]
    failures: list[queries.Failures]
    total: queries.Traffic
    feedback: queries.FeedbackSummary
    newest: list[queries.LoggedPrediction]
    versions: list[queries.VersionUse]
    last_at: datetime | None
    moves: list[AliasEvent]
    texts: bool

    @property
    def faults(self) -> int:
        """How many requests failed by a fault of the server or for want of room (5xx)."""
        return sum(number for each in self.failures for status, number in each.statuses.items() if status >= 500)

    @property
    def agreement(self) -> Estimate:
        """The share of the feedback that agrees; who gives it is no sample of anything."""
        return share(self.feedback.agreed, self.feedback.received, "no feedback in this range")

    @property
    def cached_share(self) -> float | None:
        """The share, in [0, 1], that was answered from the cache; None without predictions."""
        return self.total.cached / self.predictions if self.predictions else None

    @property
    def predictions(self) -> int:
        """How many predictions the range holds."""
        return self.total.predictions

    @property
    def acted_on_share(self) -> float | None:
        """The share, in [0, 1], that was sent to review or removed; None without predictions."""
        acted = self.total.decisions["review"] + self.total.decisions["remove"]
        return acted / self.predictions if self.predictions else None


def take_snapshot(engine: Engine, session: Session, time_range: TimeRange, now: datetime) -> Snapshot:
    """Read the range that ends ``now``; texts only for viewers: reviewers must not know what was decided of them.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.resume`.
        UnavailableError: the database went away.
    """
    texts = resume(engine, session.token, now).role == "viewer"
    start, bucket_s = now - time_range.length, int(time_range.bucket.total_seconds())
    traffic, total = queries.traffic(engine, start, now, bucket_s)
    return Snapshot(
        time_range=time_range,
        start=start,
        end=now,
        traffic=traffic,
        failures=queries.failures(engine, start, now, bucket_s),
        total=total,
        feedback=queries.feedback_summary(engine, start, now),
        newest=queries.newest(engine, start, now, limit=MOST_ROWS, texts=texts),
        versions=queries.versions(engine, start, now, bucket_s),
        last_at=queries.last_prediction_at(engine),
        moves=promotion.moves(engine),
        texts=texts,
    )
