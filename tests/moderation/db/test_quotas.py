from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, func, select

from moderation.db.models import QuotaMinute
from moderation.db.quotas import Lease, lease

NOON = datetime(2026, 5, 1, 12, 0, 20, tzinfo=UTC)


def at(moment: datetime, engine: Engine, wanted: int, quota: int = 100) -> Lease:
    return lease(engine, "key", quota, wanted, now=lambda _: moment)


def test_a_minute_is_leased_until_it_is_used_up(engine: Engine) -> None:
    assert at(NOON, engine, 60) == Lease(NOON.replace(second=0), 60, 40, 40.0)
    assert at(NOON, engine, 60).granted == 40
    assert at(NOON, engine, 60) == Lease(NOON.replace(second=0), 0, 0, 40.0)


def test_the_next_minute_begins_anew_and_each_key_has_its_own(engine: Engine) -> None:
    at(NOON, engine, 100)
    assert at(NOON + timedelta(seconds=40), engine, 10) == Lease(NOON.replace(minute=1, second=0), 10, 90, 60.0)
    assert lease(engine, "other", 100, 10, now=lambda _: NOON).granted == 10


def test_a_clock_that_jumps_back_finds_the_minute_as_used_as_it_was(engine: Engine) -> None:
    at(NOON, engine, 100)
    assert at(NOON + timedelta(hours=5), engine, 10).granted == 10
    at(NOON - timedelta(minutes=1), engine, 70)
    assert at(NOON - timedelta(minutes=1), engine, 70).granted == 30


def test_old_minutes_are_forgotten(engine: Engine) -> None:
    for minutes in range(0, 600, 10):
        at(NOON + timedelta(minutes=minutes), engine, 1)
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(QuotaMinute)) <= 7


def test_many_who_lease_at_once_never_get_more_than_the_quota(engine: Engine) -> None:
    with ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(lambda wanted: at(NOON, engine, wanted, quota=500), [7, 30, 1] * 30))
    assert sum(each.granted for each in leases) == 500
    assert min(each.left for each in leases) == 0


def test_the_clock_is_that_of_the_database(engine: Engine) -> None:
    found = lease(engine, "key", 100, 1)
    assert abs(found.minute + timedelta(seconds=60 - found.left_s) - datetime.now(UTC)) < timedelta(seconds=10)
    assert 0 < found.left_s <= 60
