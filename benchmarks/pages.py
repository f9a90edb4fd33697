"""What every page of the monitor asks for, timed on a throw-away PostgreSQL.

A day of traffic is made and copied to the days before it, as in benchmarks/database.py; a candidate scores a tenth of
it; the worker's own draw takes the sample of each day, and nine of ten items are labelled as their scores say. Then
each page's call runs on a new connection (first), and some more times. It says nothing of drawing in the browser.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.pages --rows 10000000 --days 90 --reviews 50000

The variable is what ``python -m apps.monitor`` sets for the app. With ``--database`` an empty database of yours is
filled and kept, and one that holds predictions is only timed.
"""

import argparse
import random
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, text
from tqdm import tqdm

from apps.monitor.services import backtest, candidate, drift, lineage, quality, shadow
from apps.monitor.services.data import PAGE_ENTRIES, audit_frame
from apps.monitor.services.desk import ReviewDesk
from apps.monitor.services.people import PERIODS, read_people
from apps.monitor.services.snapshot import TIME_RANGES, take_snapshot
from benchmarks.database import VERSION, copy_day, insert_day, make_traffic, milliseconds, vacuum
from moderation import clock
from moderation.db.database import connect, migrate
from moderation.db.log import VersionRecord, record_version
from moderation.db.queries import last_prediction_at
from moderation.errors import InvalidInputError
from moderation.jobs.queue import jobs, request_backtest
from moderation.labels import LABELS
from moderation.policy import LabelThresholds
from moderation.review.access import Session, local_session
from moderation.review.draw import draw
from moderation.review.history import audit_entries
from moderation.review.policy import ReviewPolicy, read_review_policy
from moderation.review.score_bins import EDGES
from tests.postgres import binaries, cluster, fresh_database

RUNS, MOST_DAYS = 5, 365
CANDIDATE = "cd" * 32
RANDOM = 2_000
_SHADOWS = f"""
    INSERT INTO shadow_predictions (created_at, id, version, latency_ms, decision, {{scores}})
    SELECT created_at, id, '{CANDIDATE}', latency_ms,
        CASE WHEN random() < 0.05 THEN 'review' ELSE decision END, {{scores}}
    FROM predictions WHERE random() < 0.1
"""
_LABELS = "SELECT json_object_agg(key, random() < value::double precision) FROM json_each_text(scores)"
_LABEL = f"""
    UPDATE review_items SET state = 'done', closed_at = drawn_at, labels = ({_LABELS}) WHERE random() < 0.9;
    UPDATE reviews SET reviewer = CASE WHEN reviews.id = firsts.id THEN 'ann' ELSE 'bob' END, submitted_at = drawn_at,
        outcome = 'labels', labels = review_items.labels
    FROM review_items, (SELECT item_id, min(id::text)::uuid AS id FROM reviews GROUP BY item_id) AS firsts
    WHERE review_items.id = reviews.item_id AND firsts.item_id = reviews.item_id AND review_items.state = 'done'
"""
_CONFLICTS = """;
    UPDATE review_items SET state = 'conflict' WHERE state = 'open' AND random() < 0.5;
    INSERT INTO reviews (id, item_id, adjudicates) SELECT gen_random_uuid(), id, true FROM review_items
    WHERE state = 'conflict'
"""
_SCORES = ", ".join(f"score_{label}" for label in LABELS)
_DRAWN = ", ".join(f"least(1, 1.1 * (scores->>'{label}')::double precision)" for label in LABELS)
_BACKTEST = f"""
    INSERT INTO backtest_scores (job_id, prediction_id, predicted_at, scored, random, {_SCORES})
    SELECT :job, prediction_id, predicted_at, true, false, {_DRAWN} FROM review_items WHERE kind = 'sample';
    INSERT INTO backtest_scores (job_id, prediction_id, predicted_at, scored, random, {_SCORES})
    SELECT :job, id, created_at, true, true, {_SCORES} FROM predictions LIMIT {RANDOM} ON CONFLICT DO NOTHING;
    UPDATE jobs SET state = 'done', total = {RANDOM}, done = {RANDOM}, population = (SELECT count(*) FROM predictions)
    WHERE id = :job
"""


def policy(reviews_per_day: int, days: int) -> ReviewPolicy:
    """Return the shipped policy with another budget, and a life of items that reaches back to the first day."""
    usual = read_review_policy(Path(__file__).resolve().parents[1] / "configs" / "review.yaml")
    return ReviewPolicy(**usual.model_dump() | {"daily_budget": reviews_per_day, "expiry_days": days + 2})


def fill(engine: Engine, rows: int, days: int, reviews: int, midnight: datetime) -> None:
    """Make the traffic of ``days``, its shadow, and its sample with labels."""
    start, random_ = midnight - timedelta(days=1), random.Random(0)
    thresholds: dict[str, dict[str, float | None]] = {label: {"review": 0.5, "remove": 0.9} for label in LABELS}
    with engine.begin() as connection:
        for version in (VERSION, CANDIDATE):
            record_version(connection, VersionRecord(version, start, "benchmark", list(LABELS), thresholds, {}))
    insert_day(engine, make_traffic(start, 86_399, rows // days, random_))
    copy_day(engine, start, midnight, days - 1)
    rules = policy(reviews // days, days)
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text(_SHADOWS.format(scores=", ".join(f"score_{label}" for label in LABELS))))
    drawn = draw(engine, rules, midnight + 2 * rules.delay)
    print(f"{len(drawn)} windows drawn, {sum(sum(each.items.values()) for each in drawn):,} items")
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        for statement in (_LABEL + _CONFLICTS).split(";"):
            connection.execute(text(statement))
    _back_test(engine, days, midnight)
    vacuum(engine)


def _back_test(engine: Engine, days: int, midnight: datetime) -> None:
    """Leave a job that has scored a random sample and all that was drawn for review."""
    period = (midnight - timedelta(days=days), midnight)
    job = request_backtest(engine, local_session(engine, midnight), CANDIDATE, period, RANDOM, midnight)
    with engine.begin() as connection:
        for statement in _BACKTEST.split(";"):
            connection.execute(text(statement), {"job": job})


def calls(session: Session, now: datetime) -> dict[str, Callable[[Engine], object]]:
    """Return what each page asks for, by a name for it."""

    def live_quality(engine: Engine, weeks: int) -> None:
        live = quality.read(engine, session, weeks, now)
        quality.answered(live)
        quality.estimate(live)

    def by_week(engine: Engine) -> None:
        quality.compared(quality.read(engine, session, 12, now), "toxic", "recall", "week")

    def back_test(engine: Engine, length: timedelta) -> None:
        (record, *_) = backtest.versions_with_samples(engine, session, length, now)
        replay = backtest.read(engine, session, record, length, now)
        if replay is not None:
            backtest.outcome(replay, replay.thresholds)
            backtest.figures_frame(replay, replay.thresholds)

    known: backtest.Known = {}
    reviews = iter(EDGES[1:-1])

    def moved(engine: Engine) -> None:
        record = backtest.versions_with_samples(engine, session, timedelta(days=84), now)[0]
        replay = backtest.read(engine, session, record, timedelta(days=84), now)
        if replay is not None:
            thresholds = dict(replay.thresholds) | {"toxic": LabelThresholds(next(reviews), None)}
            backtest.outcome(replay, thresholds)
            backtest.figures_frame(replay, thresholds, known)

    def candidate_page(engine: Engine) -> None:
        found = candidate.read(engine, session, jobs(engine, session, now)[0], now)
        if found is not None:
            backtest.outcome(found.replay, found.replay.thresholds)
            backtest.figures_frame(found.replay, found.replay.thresholds)

    def shadow_page(engine: Engine) -> None:
        found = shadow.read(engine, session, timedelta(days=30), now)
        for version in found.candidates:
            shadow.decisions_frame(found.pairs, version)
            shadow.labels_frame(found.pairs, version)

    def drift_page(engine: Engine) -> None:
        for record in lineage.versions(engine, session, now).records.values():
            drift.read(engine, session, record, now)

    found: dict[str, Callable[[Engine], object]] = {}
    for each in TIME_RANGES:
        found[f"overview, {each.name}"] = lambda engine, each=each: take_snapshot(engine, session, each, now)
    for weeks in (1, 4, 12, 52):
        found[f"live quality, {weeks} weeks"] = lambda engine, weeks=weeks: live_quality(engine, weeks)
    found["live quality, one label by week"] = by_week
    for days in (7, 28, 84):
        found[f"back-test, {days} days"] = lambda engine, days=days: back_test(engine, timedelta(days=days))
    found["back-test, 84 days, a threshold moved"] = moved
    found["back-test, candidate"] = candidate_page
    for name, length in PERIODS.items():
        found[f"reviewers, {name}"] = lambda engine, length=length: read_people(
            engine, session, length, now + timedelta(hours=6)
        )
    found["back-test, jobs"] = lambda engine: jobs(engine, session, now)
    found["shadow, 30 days"] = shadow_page
    found["drift, all days"] = drift_page
    return found | _people_and_lineage(session, now)


def _people_and_lineage(session: Session, now: datetime) -> dict[str, Callable[[Engine], object]]:
    def lineage_page(engine: Engine) -> None:
        record, *_ = lineage.versions(engine, session, now).records.values()
        lineage.steps_frame(lineage.lineage(engine, session, record, now))
        lineage.moves_frame(engine, session, now)

    def desk(engine: Engine, adjudicates: bool) -> None:
        desk = ReviewDesk(session, policy(100, MOST_DAYS), adjudicates)
        desk.look(engine)
        if desk.task is None:
            raise InvalidInputError("nothing waits for review; expected a database that this program has filled")

    return {
        "lineage": lineage_page,
        "review queue": lambda engine: desk(engine, adjudicates=False),
        "adjudication": lambda engine: desk(engine, adjudicates=True),
        "data, audit log": lambda engine: audit_frame(audit_entries(engine, session, now, limit=PAGE_ENTRIES)),
    }


def main() -> None:
    """Build the database, and print what each page costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="predictions in all (default 1,000,000)")
    parser.add_argument("--days", type=int, default=90, help="days that they span (default 90)")
    parser.add_argument("--reviews", type=int, default=50_000, help="drawn items in all (default 50,000)")
    parser.add_argument("--database", help="URL of a database to fill and keep, or to time as it is")
    chosen = parser.parse_args()
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with ExitStack() as stack:
        url = chosen.database or stack.enter_context(fresh_database(stack.enter_context(cluster(binaries(), True))))
        engine = connect(url)
        migrate(engine)
        if (last := last_prediction_at(engine)) is None:
            fill(engine, chosen.rows, chosen.days, chosen.reviews, midnight)
        else:
            midnight = last.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        session = local_session(engine, clock.now())  # the desk looks at the clock
        engine.dispose()
        print("| page | first, ms | p50, ms | max, ms |\n|---|---|---|---|")
        for name, ask in tqdm(calls(session, midnight).items(), desc="pages", unit="call"):
            engine = connect(url)
            engine.connect().close()
            first_ms, *others_ms = (milliseconds(lambda ask=ask, engine=engine: ask(engine)) for _ in range(1 + RUNS))  # type: ignore[misc]
            engine.dispose()
            tqdm.write(f"| {name} | {first_ms:.0f} | {statistics.median(others_ms):.0f} | {max(others_ms):.0f} |")


if __name__ == "__main__":
    main()
