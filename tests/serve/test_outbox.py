import asyncio
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

import serve.outbox_care
from moderation.db.log import PredictionRecord
from moderation.errors import ConfigurationError, OverloadedError, UnavailableError
from serve.outbox import Outbox
from serve.outbox_care import Refused, count_refused, erase_waiting, expire_refused
from tests.moderation.db.records import feedback, prediction
from tests.serve.server import wait_until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "outbox.db"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    outbox = Outbox(path, max_rows=1000)
    outbox.start()
    yield outbox
    outbox.stop()
    outbox.close()


def test_rows_are_on_disk_when_append_returns_in_the_order_of_appending(outbox: Outbox, path: Path) -> None:
    records = [prediction(text=f"text {number}") for number in range(5)]
    verdict = feedback(prediction_id=records[0].id)

    async def scenario() -> None:
        for record in records:
            await outbox.append([record])
        await outbox.append([verdict])

    asyncio.run(scenario())
    with sqlite3.connect(path) as other:
        rows = other.execute("SELECT kind, id, body FROM outbox ORDER BY seq").fetchall()
    other.close()
    assert rows == [("prediction", record.id, record.to_json()) for record in records] + [
        ("feedback", verdict.id, verdict.to_json())
    ]
    assert outbox.pending() == 6


def test_many_callers_share_commits_and_all_are_stored(outbox: Outbox) -> None:
    records = [prediction() for _ in range(600)]

    async def scenario() -> None:
        await asyncio.gather(*(outbox.append([record]) for record in records))

    asyncio.run(scenario())
    assert [row.id for row in outbox.oldest(1000)] == [record.id for record in records]


def test_shipped_rows_are_forgotten_and_newer_ones_stay(outbox: Outbox) -> None:
    first, second = prediction(), prediction()
    asyncio.run(outbox.append([first]))
    shipped = outbox.oldest(10)
    asyncio.run(outbox.append([second]))
    outbox.forget(shipped)
    assert [row.id for row in outbox.oldest(10)] == [second.id]
    assert outbox.pending() == 1
    assert not outbox.find_scores(first.id)
    assert outbox.find_scores(second.id)


def test_feedback_is_no_prediction(outbox: Outbox) -> None:
    verdict = feedback()
    asyncio.run(outbox.append([verdict]))
    assert not outbox.find_scores(verdict.id)


def test_the_bound_is_kept_and_room_comes_back(path: Path) -> None:
    outbox = Outbox(path, max_rows=3)
    outbox.start()
    asyncio.run(outbox.append([prediction(), prediction()]))
    with pytest.raises(OverloadedError):
        asyncio.run(outbox.append([prediction(), prediction()]))
    asyncio.run(outbox.append([prediction()]))
    assert outbox.problem == "is full with 3 rows"
    outbox.forget(outbox.oldest(2))
    assert outbox.problem is None
    asyncio.run(outbox.append([prediction(), prediction()]))
    outbox.stop()
    outbox.close()


def test_rows_of_an_earlier_process_are_still_there(outbox: Outbox, path: Path, tmp_path: Path) -> None:
    record = prediction()
    asyncio.run(outbox.append([record]))
    copy = tmp_path / "copy"  # as it lies on disk while the first process has it open
    copy.mkdir()
    for name in ("outbox.db", "outbox.db-wal"):
        (copy / name).write_bytes((path.parent / name).read_bytes())
    later = Outbox(copy / "outbox.db", max_rows=1000)
    assert later.pending() == 1
    assert later.find_scores(record.id)
    later.close()


def test_stopping_commits_what_is_queued_and_refuses_what_comes_later(path: Path) -> None:
    outbox = Outbox(path, max_rows=1000)

    async def scenario() -> None:
        queued = [asyncio.create_task(outbox.append([prediction()])) for _ in range(50)]
        await asyncio.sleep(0)
        outbox.start()
        await asyncio.to_thread(outbox.stop)
        await asyncio.gather(*queued)
        with pytest.raises(UnavailableError):
            await outbox.append([prediction()])

    asyncio.run(scenario())
    assert len(outbox.oldest(1000)) == 50
    outbox.close()


def test_a_file_that_cannot_be_written_is_told_to_callers_and_heals(outbox: Outbox, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("ALTER TABLE outbox RENAME TO away")
    with pytest.raises(UnavailableError, match="OperationalError"):
        asyncio.run(outbox.append([prediction()]))
    assert outbox.problem is not None
    other.execute("ALTER TABLE away RENAME TO outbox")
    other.close()
    asyncio.run(outbox.append([prediction()]))
    assert outbox.problem is None
    assert outbox.pending() == 1


def test_a_problem_passes_without_an_append(outbox: Outbox, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("ALTER TABLE outbox RENAME TO away")
        with pytest.raises(UnavailableError):
            asyncio.run(outbox.append([prediction()]))
        other.execute("ALTER TABLE away RENAME TO outbox")
    wait_until(lambda: outbox.problem is None)
    assert outbox.pending() == 0
    assert outbox.oldest(10) == []


def test_an_outbox_is_half_full_from_half_of_its_bound_on(path: Path) -> None:
    outbox = Outbox(path, max_rows=4)
    outbox.start()
    asyncio.run(outbox.append([prediction()]))
    assert not outbox.half_full
    asyncio.run(outbox.append([prediction()]))
    assert outbox.half_full
    outbox.stop()
    outbox.close()


def test_a_caller_who_leaves_does_not_stop_the_writer(outbox: Outbox) -> None:
    async def scenario() -> None:
        leaving = asyncio.create_task(outbox.append([prediction()]))
        await asyncio.sleep(0)
        leaving.cancel()
        await outbox.append([prediction()])

    asyncio.run(scenario())
    assert 1 <= outbox.pending() == len(outbox.oldest(10))  # the first one, if its commit had begun


def test_a_second_process_on_the_same_file_is_refused(outbox: Outbox, path: Path) -> None:
    with pytest.raises(ConfigurationError, match="another API server uses"):
        Outbox(path, max_rows=1)


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="MODERATION_STATE_DIR"):
        Outbox(tmp_path / "file" / "outbox.db", max_rows=1)


def test_what_the_database_refuses_is_kept_aside(outbox: Outbox, path: Path) -> None:
    record = prediction()
    asyncio.run(outbox.append([record]))
    rows = outbox.oldest(1)
    outbox.set_aside(rows[0], "DataError")
    outbox.set_aside(rows[0], "DataError")  # again, after a crash before it was forgotten
    outbox.forget(rows)
    other = sqlite3.connect(path)
    assert other.execute("SELECT id, kind, body, reason FROM refused").fetchall() == [
        (record.id, "prediction", record.to_json(), "DataError")
    ]
    other.close()
    assert outbox.pending() == 0


def test_the_event_loop_does_not_wait_for_a_slow_disk(outbox: Outbox, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # nobody else can write now
    reading = threading.Thread(target=lambda: outbox.find_scores("x"))

    async def scenario() -> None:
        waiting = asyncio.create_task(outbox.append([prediction()]))
        reading.start()
        for _ in range(20):
            await asyncio.wait_for(asyncio.sleep(0.001), 0.5)
        assert not waiting.done()
        other.execute("ROLLBACK")
        await asyncio.wait_for(waiting, 10)

    asyncio.run(scenario())
    reading.join()
    other.close()


def test_the_age_of_the_oldest_row_is_known_from_its_commit_until_it_is_shipped(outbox: Outbox, path: Path) -> None:
    assert outbox.oldest_age_s() == 0
    asyncio.run(outbox.append([prediction()]))
    assert 0 <= outbox.oldest_age_s() < 10
    asyncio.run(outbox.append([prediction(created_at=datetime.now(UTC) - timedelta(minutes=5))]))
    outbox.forget(outbox.oldest(1))
    assert 290 < outbox.oldest_age_s() < 400
    outbox.forget(outbox.oldest(1))
    assert outbox.oldest_age_s() == 0


def test_what_is_taken_at_once_is_bounded_in_size_as_well(outbox: Outbox) -> None:
    records = [prediction(text="x" * 10_000) for _ in range(5)]
    asyncio.run(outbox.append(records))
    assert [row.id for row in outbox.oldest(10, max_characters=25_000)] == [record.id for record in records[:2]]
    assert [row.id for row in outbox.oldest(10, max_characters=1)] == [records[0].id]


def test_erasing_leaves_nothing_of_the_text_in_the_files_and_the_row_to_ship(outbox: Outbox, path: Path) -> None:
    by_id, by_author, other = (prediction(text=f"secret words {name}", author=name) for name in ("a", "b", "c"))
    refused = prediction(text="secret words d", author="b")
    asyncio.run(outbox.append([refused]))
    outbox.set_aside(outbox.oldest(1)[0], "DataError")
    outbox.forget(outbox.oldest(1))
    asyncio.run(outbox.append([by_id, by_author, other]))
    assert set(erase_waiting(path, [by_id.id], ["b"])) == {by_id.id, by_author.id, refused.id}
    assert erase_waiting(path, [by_id.id], ["b"]) == []
    found = [PredictionRecord.from_json(row.body) for row in outbox.oldest(10)]
    nothing = {"text": None, "author": None}
    assert found == [replace(by_id, **nothing), replace(by_author, **nothing), other]
    files = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"secret words c" in files
    assert not [name for name in (b"a", b"b", b"d") if b"secret words " + name in files]


def test_an_outbox_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert erase_waiting(tmp_path / "outbox.db", [], ["a"]) == []
    assert list(tmp_path.iterdir()) == []


def test_erasing_takes_a_long_outbox_in_slices_while_the_server_writes_and_ships(
    outbox: Outbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.outbox_care.ROWS_PER_ERASURE", 3)
    records = [prediction(author="me" if number % 2 else "you") for number in range(10)]
    asyncio.run(outbox.append(records))
    between = iter([lambda: outbox.forget(outbox.oldest(4)), lambda: asyncio.run(outbox.append([prediction()]))])
    slices: list[int] = []
    read = serve.outbox_care._erase

    def erase(connection: sqlite3.Connection, table: str, rows: Sequence[Any], *others: Any) -> list[str]:
        next(between, lambda: None)()  # fails after ten seconds if the file is locked meanwhile
        slices.append(len(rows))
        return read(connection, table, rows, *others)

    monkeypatch.setattr("serve.outbox_care._erase", erase)
    # The second was shipped after it was read, the fourth before; what comes during it is not looked at.
    assert erase_waiting(path, [], ["me"]) == [records[number].id for number in (5, 7, 9)]
    assert max(slices) == 3
    assert outbox.pending() == len(outbox.oldest(100)) == 7


def test_refused_feedback_on_what_is_erased_goes_and_what_waits_stays_counted(outbox: Outbox, path: Path) -> None:
    erased = prediction(author="me")
    refused, waiting = (feedback(prediction_id=erased.id) for _ in range(2))
    asyncio.run(outbox.append([refused]))
    outbox.set_aside(outbox.oldest(1)[0], "DataError")
    outbox.forget(outbox.oldest(1))
    asyncio.run(outbox.append([erased, waiting]))
    assert erase_waiting(path, [], ["me"]) == [erased.id]
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM refused").fetchone() == (0,)
    assert outbox.pending() == len(outbox.oldest(10)) == 2


def test_shipped_texts_do_not_stay_in_the_file(outbox: Outbox, path: Path) -> None:
    asyncio.run(outbox.append([prediction(text="secret words")]))
    outbox.forget(outbox.oldest(1))
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"secret words" not in b"".join(file.read_bytes() for file in path.parent.iterdir())


def refuse(outbox: Outbox, *records: PredictionRecord) -> None:
    asyncio.run(outbox.append(records))
    rows = outbox.oldest(10)
    for row in rows:
        outbox.set_aside(row, "DataError")
    outbox.forget(rows)


def test_refused_rows_are_counted_and_wait_again_after_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    assert count_refused(path) == 0
    records = [prediction(), prediction()]
    first = Outbox(path, max_rows=10)
    first.start()
    refuse(first, *records)
    assert (count_refused(path), first.pending()) == (2, 0)
    first.stop()
    first.close()
    later = Outbox(path, max_rows=10)
    assert (count_refused(path), later.pending()) == (0, 2)
    assert {row.id: row.body for row in later.oldest(10)} == {each.id: each.to_json() for each in records}
    later.close()


def test_refused_rows_are_kept_no_longer_than_others(outbox: Outbox, path: Path) -> None:
    now = datetime.now(UTC)
    old, middle, new = (
        prediction(created_at=now - timedelta(days=days), text=f"secret words {days}", author="me")
        for days in (400, 40, 1)
    )
    refuse(outbox, old, middle, new)
    bounds = now - timedelta(days=365), now - timedelta(days=30)
    assert expire_refused(path, *bounds, dry_run=True) == Refused(rows=1, texts=2)
    assert count_refused(path) == 3
    assert expire_refused(path, None, bounds[1]) == Refused(rows=0, texts=2)
    assert expire_refused(path, *bounds) == Refused(rows=1, texts=0)
    with closing(sqlite3.connect(path)) as other:
        kept = [
            PredictionRecord.from_json(body) for (body,) in other.execute("SELECT body FROM refused ORDER BY rowid")
        ]
    assert kept == [replace(middle, text=None, author=None), new]
    files = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert [days for days in (400, 40, 1) if f"secret words {days}".encode() in files] == [1]


def test_what_nobody_waits_for_any_more_is_not_committed(path: Path) -> None:
    outbox = Outbox(path, max_rows=10)
    given_up, kept = prediction(), prediction()

    async def scenario() -> None:
        left = asyncio.create_task(outbox.append([given_up]))
        stays = asyncio.create_task(outbox.append([kept]))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.sleep(0)
        outbox.start()
        await stays

    asyncio.run(scenario())
    assert [row.id for row in outbox.oldest(10)] == [kept.id]
    outbox.stop()
    assert outbox.pending() == 1
    outbox.close()


@pytest.mark.parametrize(("sync", "level"), [("normal", 1), ("full", 2)])
def test_a_commit_is_synced_as_it_is_set(tmp_path: Path, sync: Literal["normal", "full"], level: int) -> None:
    outbox = Outbox(tmp_path / "outbox.db", max_rows=10, sync=sync)
    assert outbox._writer.execute("PRAGMA synchronous").fetchone() == (level,)
    outbox.close()
