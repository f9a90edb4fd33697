"""What the prediction log costs at scale: the monitor's queries, shipping and disk, on a throw-away PostgreSQL.

A burst as of 5,000 predictions a second goes the real way, from an outbox through the shipper, and is timed. Then a day
is inserted as servers do, and copied in the database to the days before it, roll-ups included, so that both agree.
Last, every query of the monitor's overview is timed, for each of its ranges; with ``--text-index`` also what
retention's partial index costs inserts and saves retention. The server has its default settings
(128 MB of shared buffers) and waits for the disk.

    python -m benchmarks.database --rows 1000000 --days 90
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, text
from tqdm import tqdm

from apps.monitor.services.snapshot import MOST_ROWS, TIME_RANGES, TimeRange, take_snapshot
from moderation.db import queries, retention
from moderation.db.database import connect, migrate
from moderation.db.log import FeedbackRecord, PredictionRecord, VersionRecord, insert, record_version
from moderation.labels import LABELS
from moderation.policy import DECISIONS
from moderation.review.access import local_session
from serve.outbox import Outbox
from serve.prediction_log import PredictionLog
from serve.shipper import Shipper
from tests.postgres import binaries, cluster, fresh_database

VERSION = "ab" * 32
FEEDBACK_SHARE = 0.005
RUNS = 20
_MOVED_ID = (
    "CAST(lpad(to_hex(CAST(floor(extract(epoch FROM {at} + :shift) * 1000) AS bigint)), 12, '0')"
    " || substr(replace(CAST({id} AS text), '-', ''), 13) AS uuid)"
)
_COLUMNS = text("SELECT column_name FROM information_schema.columns WHERE table_name = :name ORDER BY ordinal_position")
_SIZES = """
    SELECT (SELECT count(*) FROM {table}), sum(pg_table_size(relid)), sum(pg_total_relation_size(relid))
    FROM (SELECT relid FROM pg_partition_tree('{table}') UNION SELECT '{table}'::regclass) AS parts
"""
BURST_ROWS, BURST_PER_S = 30_000, 5_000
TEXT_INDEX = "ix_predictions_with_text"
INDEX_ROWS, INDEX_ROUNDS = 20_000, 5
_INDEX_SIZE = f"SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree('{TEXT_INDEX}')"


@dataclass(frozen=True)
class Traffic:
    """Predictions in the order of time, and feedback on some of them."""

    predictions: list[PredictionRecord]
    feedback: list[FeedbackRecord]


def make_traffic(start: datetime, span_s: float, rows: int, random_: random.Random) -> Traffic:
    """Return ``rows`` predictions: comments of 390 letters on average, log-normal latencies, few removals."""
    predictions, feedback = [], []
    for offset_s in sorted(random_.uniform(0, span_s) for _ in range(rows)):
        at = start + timedelta(seconds=offset_s)
        scores = {label: random_.betavariate(0.2, 4) for label in LABELS}
        latency_ms = random_.lognormvariate(2.5, 0.8)
        predictions.append(
            PredictionRecord(
                id=_uuid7(at, random_),
                created_at=at,
                request_id=_uuid7(at, random_),
                client="anonymous",
                route=random_.choice(("/predict", "/predict/batch")),
                version=VERSION,
                scores=scores,
                decision=random_.choices(DECISIONS, (90, 8, 2))[0],
                reasons=[],
                latency_ms=latency_ms,
                tokens_read=random_.randint(5, 150),
                truncated=False,
                text="".join(random_.choices("etaoin shrdlu", k=random_.randint(20, 760))),
                queue_ms=latency_ms * 0.2,
                tokenize_ms=latency_ms * 0.05,
                inference_ms=latency_ms * 0.7,
            )
        )
        if random_.random() < FEEDBACK_SHARE:
            labels = {random_.choice(LABELS): True} if random_.random() < 0.5 else None
            feedback.append(
                FeedbackRecord(
                    _uuid7(at, random_), at + timedelta(seconds=30), "r", "anonymous", predictions[-1].id,
                    random_.random() < 0.8, labels,
                )
            )  # fmt: skip
    return Traffic(predictions, feedback)


def ship(engine: Engine, burst: Traffic, folder: Path) -> float:
    """Send the burst through an outbox and the shipper; return its predictions per second."""
    outbox = Outbox(folder / "outbox.db", max_rows=10_000_000)
    outbox.start()
    records = [*burst.predictions, *burst.feedback]

    async def fill() -> None:
        for first in tqdm(range(0, len(records), 5_000), desc="filling the outbox", unit_scale=5_000, unit="row"):
            await outbox.append(records[first : first + 5_000])

    asyncio.run(fill())
    shipper = Shipper(outbox, PredictionLog(engine))
    began = time.perf_counter()
    shipper.start()
    with tqdm(total=len(records), desc="shipping", unit="row") as bar:
        while waiting := outbox.pending():
            bar.update(len(records) - waiting - bar.n)
            time.sleep(0.02)
    seconds = time.perf_counter() - began
    shipper.close(1)
    outbox.stop()
    outbox.close()
    return len(burst.predictions) / seconds


def insert_day(engine: Engine, day: Traffic) -> None:
    """Insert the day, some thousand predictions in a transaction."""
    for first in tqdm(range(0, len(day.predictions), 5_000), desc="inserting a day", unit_scale=5_000, unit="row"):
        with engine.begin() as connection:
            insert(connection, day.predictions[first : first + 5_000])
    with engine.begin() as connection:
        insert(connection, feedback=day.feedback)


def copy_day(engine: Engine, start: datetime, end: datetime, days: int) -> None:
    """Copy what lies between ``start`` and ``end``, a day later, to the ``days`` days before it, roll-ups included."""
    shifted = {name: f"{name} + :shift" for name in ("created_at", "started_at", "first_at", "last_at")}
    # The time in an id moves with the row; feedback came 30 s after its prediction.
    shifted["id"] = _MOVED_ID.format(at="created_at", id="id")
    shifted["prediction_id"] = _MOVED_ID.format(at="created_at - interval '30 s'", id="prediction_id")
    statements = []
    for table, since in (("predictions", "created_at"), ("feedback", "created_at"), ("rollups", "started_at")):
        with engine.connect() as connection:
            names = list(connection.scalars(_COLUMNS, {"name": table}))
        chosen = ", ".join(shifted.get(name, name) for name in names)
        within = f"{since} >= :start AND {since} < :end"
        statements.append(f"INSERT INTO {table} ({', '.join(names)}) SELECT {chosen} FROM {table} WHERE {within}")
    for back in tqdm(range(1, days + 1), desc="copying the day", unit="day"):
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            for statement in statements:
                connection.execute(text(statement), {"shift": timedelta(days=-back), "start": start, "end": end})
    vacuum(engine)


def time_queries(url: str, time_range: TimeRange, now: datetime) -> None:
    """Print how long the overview's queries take: first on a new connection, then median and maximum of some runs."""
    start, bucket_s = now - time_range.length, int(time_range.bucket.total_seconds())
    session = local_session(engine := connect(url), now)
    engine.dispose()
    asked: dict[str, Callable[[Engine], object]] = {
        "traffic": lambda engine: queries.traffic(engine, start, now, bucket_s),
        "versions": lambda engine: queries.versions(engine, start, now, bucket_s),
        "feedback": lambda engine: queries.feedback_summary(engine, start, now),
        "newest": lambda engine: queries.newest(engine, start, now, MOST_ROWS),
        "last": queries.last_prediction_at,
        "whole overview": lambda engine: take_snapshot(engine, session, time_range, now),
    }
    for name, ask in asked.items():
        engine = connect(url)
        engine.connect().close()
        first_ms, *others_ms = [milliseconds(lambda ask=ask, engine=engine: ask(engine)) for _ in range(1 + RUNS)]  # type: ignore[misc]
        engine.dispose()
        p50_ms, max_ms = statistics.median(others_ms), max(others_ms)
        print(f"| {time_range.name} | {name} | {first_ms:.1f} | {p50_ms:.1f} | {max_ms:.1f} |")


def time_text_index(engine: Engine, start: datetime, middle: datetime, random_: random.Random) -> None:
    """Print what the index of the rows that have a text costs each insert, and what it saves retention.

    Texts from before ``middle`` are deleted, and last the index is dropped.
    """
    with engine.connect() as connection:
        size = int(connection.scalar(text(_INDEX_SIZE)) or 0)
    with_index, without = zip(*(_insert_rates(engine, start, random_) for _ in range(INDEX_ROUNDS)), strict=True)
    ratio = statistics.median(one / other for one, other in zip(with_index, without, strict=True))
    print(f"{TEXT_INDEX}: {size / 1e6:,.0f} MB; inserts with it run at {ratio:.2f} of the rate without it")
    with tqdm(desc="deleting texts", unit="row") as bar:
        began = time.perf_counter()
        retention.delete_texts(engine, middle, bar.update)
        print(f"texts deleted: {bar.n:,} rows, {bar.n / (time.perf_counter() - began):,.0f} rows/s")
    for state in ("with the index", "without it"):
        vacuum(engine)
        again = [
            milliseconds(lambda: retention.delete_texts(engine, middle, lambda _: None)) for _ in range(INDEX_ROUNDS)
        ]
        print(f"deleting the texts of as many days again, of which there are none, {state}: {min(again):,.1f} ms")
        with engine.begin() as connection:
            connection.execute(text(f"DROP INDEX IF EXISTS {TEXT_INDEX}"))


def _insert_rates(engine: Engine, start: datetime, random_: random.Random) -> tuple[float, float]:
    """Return rows per second with the index of texts and without it; nothing is committed, so no disk is waited for."""
    rates = []
    for preparation in ("SELECT 1", f"DROP INDEX {TEXT_INDEX}"):
        rows = make_traffic(start, 86_399, INDEX_ROWS, random_).predictions
        with engine.connect() as connection:
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text(preparation))
            began = time.perf_counter()
            for first in range(0, INDEX_ROWS, 1_000):
                insert(connection, rows[first : first + 1_000])
            rates.append(INDEX_ROWS / (time.perf_counter() - began))
            connection.rollback()  # the index is back
    return rates[0], rates[1]


def vacuum(engine: Engine) -> None:
    """Clean up and count what was written, so that plans rest on it."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM ANALYZE"))


def print_sizes(engine: Engine) -> None:
    """Print rows and disk use per table, partitions added up."""
    with engine.connect() as connection:
        connection.execute(text("SET statement_timeout = 0"))
        for table in ("predictions", "feedback", "rollups"):
            rows, heap, whole = map(int, connection.execute(text(_SIZES.format(table=table))).one())
            each = f"{heap / rows:.0f} B of table and {(whole - heap) / rows:.0f} B of indexes each"
            print(f"{table}: {rows:,} rows, {each}, {whole / 1e6:,.0f} MB")


def main() -> None:
    """Build the database, and print what it costs."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=1_000_000, help="predictions in all (default 1,000,000)")
    arguments.add_argument("--days", type=int, default=90, help="days that they span (default 90)")
    arguments.add_argument("--text-index", action="store_true", help="measure what retention's index costs and saves")
    chosen = arguments.parse_args()
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start, random_ = midnight - timedelta(days=1), random.Random(0)
    with ExitStack() as stack:
        server = stack.enter_context(cluster(binaries(), fsync=True))
        url = stack.enter_context(fresh_database(server))
        engine = connect(url)
        migrate(engine)
        thresholds: dict[str, dict[str, float | None]] = {label: {"review": 0.5, "remove": 0.9} for label in LABELS}
        with engine.begin() as connection:
            record_version(connection, VersionRecord(VERSION, start, "benchmark", list(LABELS), thresholds, {}))
        burst = make_traffic(midnight, BURST_ROWS / BURST_PER_S, BURST_ROWS, random_)
        rate = ship(engine, burst, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        insert_day(engine, make_traffic(start, 86_399, chosen.rows // chosen.days, random_))
        copy_day(engine, start, midnight, chosen.days - 1)
        print(f"shipped from outbox to database: {rate:,.0f} predictions/s ({BURST_ROWS:,} rows)")
        print_sizes(engine)
        engine.dispose()
        print("| range | query | first, ms | p50, ms | max, ms |\n|---|---|---|---|---|")
        for time_range in TIME_RANGES:
            time_queries(url, time_range, midnight)
        if chosen.text_index:
            engine = connect(url)
            time_text_index(engine, start, midnight - timedelta(days=chosen.days / 2), random_)
            engine.dispose()


def _uuid7(at: datetime, random_: random.Random) -> str:
    bits = int(at.timestamp() * 1000) << 80 | random_.getrandbits(80)
    bits = bits & ~(0xF << 76) | 0x7 << 76  # version
    bits = bits & ~(0x3 << 62) | 0x2 << 62  # variant
    return str(uuid.UUID(int=bits))


def milliseconds(work: Callable[[], object]) -> float:
    """Return how long ``work`` takes."""
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    main()
