"""What many servers that log at once cost one PostgreSQL: rows and write-ahead log, by rows per insert and by servers.

A server inserts what has come together in half a second (`serve.shipper.LINGER_S`), so many servers mean many small
inserts, each of which brings the roll-ups up to date under one lock. Here each writer inserts as fast as it can into a
throw-away server with its default settings that waits for the disk. Roll-ups have counted some thousand rows before, so
that their histograms are as wide as on any day, and a checkpoint comes before each combination, so that the whole pages
that follow one are in its log. Writers and server share the machine, so that a database by itself takes more.

    python -m benchmarks.writers --rows 20000 --inserts 1000
"""

import argparse
import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, text
from tqdm import tqdm

from benchmarks.database import VERSION, make_traffic
from moderation.db.database import connect, migrate
from moderation.db.log import PredictionRecord, VersionRecord, record_version
from moderation.labels import LABELS
from serve.prediction_log import PredictionLog
from tests.postgres import binaries, cluster

PER_INSERT, WRITERS = (1, 2, 10, 66, 250, 1_000), (1, 8)
COUNTED_BEFORE = 5_000
_PLACE = text("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")


def measure(engine: Engine, rows: list[PredictionRecord], per_insert: int, writers: int) -> tuple[float, float]:
    """Insert ``rows``; return predictions per second and bytes of write-ahead log per prediction."""
    log = PredictionLog(engine)
    batches = [rows[first : first + per_insert] for first in range(0, len(rows), per_insert)]
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CHECKPOINT"))
    before = _written(engine)
    began = time.perf_counter()
    with ThreadPoolExecutor(writers) as pool:
        for done in tqdm(
            pool.map(log.insert, batches), total=len(batches), desc=f"{per_insert} rows, {writers} writers"
        ):
            assert done is None
    seconds = time.perf_counter() - began
    return len(rows) / seconds, (_written(engine) - before) / len(rows)


def _written(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(_PLACE).scalar_one())


def main() -> None:
    """Print a line per combination."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="predictions per combination (default 20,000)")
    parser.add_argument("--inserts", type=int, default=1_000, help="inserts per combination at most (default 1,000)")
    chosen, random_ = parser.parse_args(), random.Random(0)
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    thresholds: dict[str, dict[str, float | None]] = {label: {"review": 0.5, "remove": 0.9} for label in LABELS}
    with cluster(binaries(), fsync=True) as url:
        engine = connect(url)
        migrate(engine)
        with engine.begin() as connection:
            record_version(connection, VersionRecord(VERSION, midnight, "benchmark", list(LABELS), thresholds, {}))
        PredictionLog(engine).insert(make_traffic(midnight, 60, COUNTED_BEFORE, random_).predictions)
        found = []
        for number, (writers, per_insert) in enumerate(((w, n) for w in WRITERS for n in PER_INSERT), 1):
            count = min(chosen.rows, chosen.inserts * per_insert)
            rows = make_traffic(midnight + timedelta(minutes=number), count / 1_000, count, random_).predictions
            found.append((writers, per_insert, *measure(engine, rows, per_insert, writers)))
        engine.dispose()
    print("| writers | rows per insert | predictions/s | inserts/s | bytes of log each |\n|---|---|---|---|---|")
    for writers, per_insert, per_s, wal_bytes in found:
        print(f"| {writers} | {per_insert:,} | {per_s:,.0f} | {per_s / per_insert:,.0f} | {wal_bytes:,.0f} |")


if __name__ == "__main__":
    main()
