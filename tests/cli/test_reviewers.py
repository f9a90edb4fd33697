"""`moderation reviewers`, `reviews`, `worker` and `export reviews`, as processes."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, update

from moderation.bundle import read_bundle
from moderation.db.database import connect, migrate
from moderation.db.log import insert, record_version
from moderation.db.review_models import AuditEntry, BacktestScore, ReviewItem
from moderation.db.review_models import Job as JobRow
from moderation.exports import read_export
from moderation.jobs.backtest import backtest_sample
from moderation.jobs.queue import jobs, request_backtest
from moderation.labels import LABELS
from moderation.registry.local import LocalRegistry
from moderation.review.access import sign_in
from moderation.review.draw import draw
from moderation.review.queue import next_item, submit
from moderation.scoring.scorer import Scorer
from tests.cli.conftest import ROOT, Moderation
from tests.moderation.db.records import VERSION, prediction, version
from tests.moderation.review.records import NO, TOXIC, policy, signed_in, states
from train.config import DataConfig
from train.data.rows import load_rows

PASSWORD = "correct horse battery"
UNKNOWN = "00000000-0000-4000-8000-000000000000"
NOW = datetime.now(UTC)
YESTERDAY = NOW.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)
TEXTS = [f"comment number {k} {'idiot' if k % 3 == 0 else 'thank you'}" for k in range(150)]


@pytest.fixture
def database(state_dir: Path) -> Iterator[Engine]:
    engine = connect(f"sqlite:///{state_dir / 'moderation.db'}")
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def logged(database: Engine) -> Engine:
    """The database with 150 predictions of a day that is closed."""
    with database.begin() as connection:
        record_version(connection, version())
        insert(connection, [
            prediction(created_at=YESTERDAY + timedelta(minutes=k), text=text) for k, text in enumerate(TEXTS)
        ])  # fmt: skip
    return database


def command(environment: dict[str, str], *arguments: str, said: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments], cwd=ROOT, env=environment, input=said, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_reviewer_is_added_listed_and_disabled(environment: dict[str, str], database: Engine) -> None:
    added = command(
        environment, "reviewers", "add", "ann", "--role", "reviewer", "--expires", "30", said=f"{PASSWORD}\n"
    )
    assert (added.returncode, added.stdout) == (0, "ann is added, as reviewer\n"), added.stderr
    assert sign_in(database, "ann", PASSWORD, NOW).role == "reviewer"
    changed = command(environment, "reviewers", "password", "ann", said="another long one\n")
    assert changed.returncode == 0, changed.stderr
    assert sign_in(database, "ann", "another long one", NOW)
    assert command(environment, "reviewers", "disable", "ann").stdout == "ann is disabled\n"
    header, row = (re.split(" {2,}", line) for line in command(environment, "reviewers", "list").stdout.splitlines())
    assert header == ["NAME", "STATE", "ROLE", "SIGNS IN BY", "CREATED", "EXPIRES"]
    assert row[:4] == ["ann", "disabled", "reviewer", "password"]
    with database.connect() as connection:
        by = set(connection.scalars(select(AuditEntry.reviewer).where(AuditEntry.subject == "ann")))
    assert {each.partition(":")[0] for each in by} == {"cli", "ann"}


def test_a_password_can_lie_in_a_file_where_there_is_no_terminal(
    environment: dict[str, str], database: Engine, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    added = command(environment, "reviewers", "add", "ann", "--role", "reviewer", "--password-file", str(file))
    assert added.returncode == 0, added.stderr
    assert sign_in(database, "ann", PASSWORD, NOW).role == "reviewer"
    file.write_text("another long one")
    changed = command(environment, "reviewers", "password", "ann", "--password-file", str(file))
    assert changed.returncode == 0, changed.stderr
    assert sign_in(database, "ann", "another long one", NOW)
    file.write_text("")
    empty = command(environment, "reviewers", "add", "bob", "--role", "viewer", "--password-file", str(file))
    assert (empty.returncode, empty.stderr) == (
        1,
        f"error: --password-file: {file} is empty; expected the secret\n",
    )


@pytest.mark.parametrize(
    ("arguments", "said", "message"),
    [
        (("add", "ann", "--role", "reviewer"), "", "no password on stdin"),
        (("add", "ann", "--role", "reviewer"), "short\n", "password has 5 characters; expected 12"),
        (("add", "ann", "--role", "boss"), f"{PASSWORD}\n", "role is 'boss'; expected one of viewer"),
        (("disable", "ann"), "", "no reviewer is named 'ann'"),
    ],
)
def test_what_is_wrong_is_one_line(
    environment: dict[str, str], database: Engine, arguments: tuple[str, ...], said: str, message: str
) -> None:
    done = command(environment, "reviewers", *arguments, said=said)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert message in done.stderr


def test_golden_items_come_from_a_file(moderation: Moderation, database: Engine, tmp_path: Path) -> None:
    file = tmp_path / "golden.csv"
    file.write_text(f"comment_text,{','.join(LABELS)}\nfirst,1,0,0,0,0,0\nsecond,0,0,0,0,0,0\n")
    done = moderation("reviews", "golden", file)
    assert (done.returncode, done.stdout) == (0, "added 2 golden items\n"), done.stderr
    with database.connect() as connection:
        assert dict(map(tuple, connection.execute(select(ReviewItem.text, ReviewItem.labels)))) == {
            "first": TOXIC,
            "second": NO,
        }
    file.write_text(f"comment_text,{','.join(LABELS)}\nsecret,maybe,0,0,0,0,0\n")
    done = moderation("reviews", "golden", file)
    assert (done.returncode, "row 1: toxic is 'maybe'; expected 0 or 1" in done.stderr) == (1, True)
    assert "secret" not in done.stderr


def test_a_reviewed_prediction_is_made_golden(moderation: Moderation, logged: Engine) -> None:
    draw(logged, policy(), NOW)
    ann = signed_in(logged, "ann", now=NOW)
    task = next_item(logged, ann, policy(), NOW)
    assert task is not None
    submit(logged, ann, task.review_id, "labels", NOW, TOXIC)
    (settled,) = [each for each, state in states(logged).items() if state == "done"]
    done = moderation("reviews", "golden", "--prediction", settled.upper())
    assert (done.returncode, done.stdout) == (0, "added 1 golden item\n"), done.stderr
    with logged.connect() as connection:
        golden = select(ReviewItem.prediction_id, ReviewItem.labels).where(ReviewItem.kind == "golden")
        assert connection.execute(golden).all() == [(settled, TOXIC)]
        written = select(AuditEntry.reviewer).where(AuditEntry.action == "make golden", AuditEntry.subject == settled)
        assert connection.scalars(written).one().startswith("cli:")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say FILE or --prediction"),
        (("golden.csv", "--prediction", UNKNOWN), "say FILE or --prediction"),
        (("--prediction", "p1"), "'p1' is no id of a prediction"),
        (("--prediction", UNKNOWN), "has no review with a consensus"),
    ],
)
def test_what_cannot_be_made_golden_is_one_line(
    moderation: Moderation, database: Engine, arguments: tuple[str, ...], said: str
) -> None:
    done = moderation("reviews", "golden", *arguments)
    assert (done.returncode in (1, 2), done.stderr.count("\n")) == (True, 1)
    assert said in done.stderr


def test_reviews_leave_weighted_and_training_reads_them(moderation: Moderation, logged: Engine, tmp_path: Path) -> None:
    (tmp_path / "review.yaml").write_text(policy().model_dump_json())  # JSON is YAML
    done = moderation("worker", "--once", MODERATION_REVIEW_POLICY_PATH=str(tmp_path / "review.yaml"))
    assert done.returncode == 0, done.stderr
    assert "drew 100 of 150 predictions" in done.stdout
    ann, rules = signed_in(logged, "ann", now=NOW), policy()
    for place in range(20):
        task = next_item(logged, ann, rules, NOW)
        assert task is not None
        labels = dict.fromkeys(LABELS, place % 2 == 0)
        submit(logged, ann, task.review_id, "labels", NOW - timedelta(seconds=60 - place), labels)
    file = tmp_path / "reviews.parquet"
    done = moderation("export", "reviews", file)
    assert done.returncode == 0, done.stderr
    export = read_export(file)
    assert (export.kind, export.rows, export.versions) == ("reviews", 20, {VERSION: 20})
    source = {"layout": "reviews", "path": str(file), "licence": "ours", "split": "train"}
    held = tmp_path / "held.jsonl"
    rows = [{"comment_text": f"row {k}", **dict.fromkeys(LABELS, k % 2)} for k in range(4)]
    held.write_text("".join(json.dumps(row) + "\n" for row in rows))
    other = {"layout": "table", "path": str(held), "licence": "ours"}
    sources = [source, other | {"split": "validation"}, other | {"split": "test"}]
    data = DataConfig.model_validate({"sources": sources, "near_duplicates": "keep"})
    loaded = load_rows(data)
    reviewed = loaded[loaded["split"] == "train"]
    assert reviewed["weight"].tolist() == pytest.approx([1.5] * 20)
    assert reviewed["toxic"].tolist() == [1.0, 0.0] * 10
    with logged.connect() as connection:
        assert (
            connection.scalar(select(AuditEntry.subject).where(AuditEntry.action == "export reviews")) == export.sha256
        )


def test_a_killed_worker_leaves_its_job_to_the_next(
    environment: dict[str, str], moderation: Moderation, logged: Engine, state_dir: Path
) -> None:
    ann = signed_in(logged, "ann", now=NOW)
    job_id = request_backtest(logged, ann, "production", (YESTERDAY, YESTERDAY + timedelta(days=1)), 150, NOW)
    process = subprocess.Popen([sys.executable, "-m", "cli", "worker"], cwd=ROOT, env=environment,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # fmt: skip
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up and jobs(logged, ann, NOW)[0].state == "waiting":
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with logged.begin() as connection:  # as it would be after its lease, or halfway if it was quick
        connection.execute(update(JobRow).values(leased_until=YESTERDAY, state="running"))
        half = select(BacktestScore.prediction_id).limit(75)
        connection.execute(
            update(BacktestScore).where(BacktestScore.prediction_id.in_(half)).values(scored=False, score_toxic=None)
        )
    done = moderation("worker", "--once")
    assert done.returncode == 0, done.stderr
    found = backtest_sample(logged, ann, job_id, NOW)
    (job,) = jobs(logged, ann, NOW)
    assert (job.state, job.done, len(found.ids)) == ("done", 150, 150)
    registry = LocalRegistry(state_dir / "registry")
    scorer = Scorer.load(read_bundle(registry.fetch(registry.resolve("production"))))
    scores = scorer.score(TEXTS).scores
    assert sorted(found.candidate[:, 0]) == pytest.approx(sorted(scores[:, 0].astype(float)))
    assert not any(text in done.stderr for text in TEXTS)


def test_a_version_that_is_not_there_fails_the_job_and_not_the_worker(moderation: Moderation, logged: Engine) -> None:
    ann = signed_in(logged, "ann", now=NOW)
    request_backtest(logged, ann, "nonesuch", (YESTERDAY, NOW), 5, NOW)
    assert moderation("worker", "--once").returncode == 0
    (job,) = jobs(logged, ann, NOW)
    assert job.state == "failed"
    assert "nonesuch" in str(job.error)
    with logged.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(BacktestScore)) == 0
