"""`moderation maintain`, `retention` and `erase` as commands."""

import asyncio
import getpass
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, update

from moderation.db.database import connect, migrate
from moderation.db.erasure import erase
from moderation.db.log import PredictionRecord, insert
from moderation.db.models import Erasure, Prediction
from moderation.db.review_models import AuditEntry
from serve.ids import uuid7
from serve.outbox import Outbox
from tests.cli.conftest import Moderation
from tests.moderation.db.records import feedback, prediction


@pytest.fixture
def database(state_dir: Path) -> Iterator[Engine]:
    engine = connect(f"sqlite:///{state_dir / 'moderation.db'}")
    migrate(engine)
    yield engine
    engine.dispose()


def store(engine: Engine, *records: PredictionRecord) -> None:
    with engine.begin() as connection:
        insert(connection, records, [feedback(prediction_id=each.id, created_at=each.created_at) for each in records])


def without_times(said: str) -> str:
    return re.sub(r"\d\d:\d\d UTC", "", said)


def test_retention_counts_and_then_deletes(moderation: Moderation, database: Engine, state_dir: Path) -> None:
    ages = [timedelta(days=days) for days in (1, 40, 400)]
    store(database, *(prediction(created_at=datetime.now(UTC) - age) for age in ages))
    outbox = Outbox(state_dir / "outbox.db", max_rows=10)
    outbox.start()
    asyncio.run(outbox.append([prediction(created_at=datetime.now(UTC) - ages[1])]))
    outbox.set_aside(outbox.oldest(1)[0], "DataError")
    outbox.forget(outbox.oldest(1))
    outbox.stop()
    outbox.close()
    tried = moderation("retention", "--days", "365", "--texts-days", "30", "--dry-run")
    assert tried.returncode == 0, tried.stderr
    assert "1 predictions, 0 shadow predictions, 1 feedback, 0 jobs, 0 backtest scores, 0 refused" in tried.stdout
    assert "text, hash or author of 2 predictions, 1 refused ones" in tried.stdout
    assert f"1 refused rows in {state_dir / 'outbox.db'}" in moderation("maintain").stdout
    done = moderation("retention", "--days", "365", "--texts-days", "30")
    assert without_times(done.stdout) == without_times(tried.stdout).replace("would delete", "deleted")
    with database.connect() as connection:
        texts = connection.scalars(select(Prediction.text).order_by(Prediction.created_at)).all()
    assert texts == [None, "a comment"]


def test_erase_covers_the_database_and_the_outbox_and_may_be_repeated(
    moderation: Moderation, database: Engine, state_dir: Path
) -> None:
    now = datetime.now(UTC)
    in_database, waiting = (prediction(id=uuid7(), created_at=now, author="me", text="a quiet word") for _ in range(2))
    store(database, in_database)
    outbox = Outbox(state_dir / "outbox.db", max_rows=10)
    outbox.start()
    asyncio.run(outbox.append([waiting]))
    outbox.stop()
    outbox.close()
    done = moderation("erase", "--author", "me", "--id", in_database.id.upper())
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "erased in the database: 1 predictions, 1 feedback",
        f"erased in the outbox of {state_dir}: 1 rows",
    ]
    assert b"a quiet word" not in b"".join(file.read_bytes() for file in state_dir.glob("*.db*"))
    again = moderation("erase", "--author", "me", "--id", in_database.id)
    assert again.stdout.splitlines()[0] == "erased in the database: 0 predictions, 0 feedback"
    assert (again.returncode, "erased already" in again.stderr, len(again.stderr.splitlines())) == (1, True, 1)
    unknown = moderation("erase", "--id", uuid7())
    assert (unknown.returncode, "nothing was found" in unknown.stderr) == (1, True)
    with database.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Prediction)) == 1


def test_erasures_are_in_the_audit_log_which_names_no_author(moderation: Moderation, database: Engine) -> None:
    ours, other = uuid7(), uuid7()
    store(database, prediction(id=ours, created_at=datetime.now(UTC), author="me"))
    named = ("--id", ours, "--id", other, "--id", ours.upper(), "--author", "me", "--author", "you")
    assert moderation("erase", *named).returncode == 0
    with database.connect() as connection:
        written = connection.execute(select(AuditEntry.reviewer, AuditEntry.action, AuditEntry.subject)).all()
    who = f"cli:{getpass.getuser()}"
    assert sorted(written) == sorted([(who, "erase", ours), (who, "erase", other), (who, "erase authors", "2")])


def test_partitions_are_made_where_the_database_has_them(
    moderation: Moderation, database: Engine, postgres_url: str
) -> None:
    assert "made 0 partitions" in moderation("maintain").stdout
    assert moderation("migrate", MODERATION_DATABASE_URL=postgres_url).returncode == 0
    done = moderation("maintain", MODERATION_DATABASE_URL=postgres_url)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "made 0 partitions")  # those of a year are there


def test_maintain_forgets_erasures_after_90_days(moderation: Moderation, database: Engine) -> None:
    erase(database, ids=[uuid7(), uuid7()])
    assert "forgot 0 erasures" in moderation("maintain").stdout
    with database.begin() as connection:
        connection.execute(update(Erasure).values(erased_at=datetime.now(UTC) - timedelta(days=91)))
    assert "forgot 2 erasures" in moderation("maintain").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("retention",), "say --days, --texts-days or both"),
        (("retention", "--days", "0"), "--days"),
        (("erase",), "say --id or --author"),
        (("erase", "--id", "p1"), "'p1' is no id of a prediction"),
    ],
)
def test_a_call_that_makes_no_sense_is_one_line(
    arguments: tuple[str, ...], said: str, moderation: Moderation, database: Engine
) -> None:
    done = moderation(*arguments)
    assert done.returncode in (1, 2)
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
