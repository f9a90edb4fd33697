import asyncio
import json
import logging
import stat
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from moderation.db.keys import Key, Keys, hash_of
from moderation.errors import UnavailableError
from serve.keys import EARLY_S, NOTE_S, KeyRing

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
SECRET = "ab" * 32
DAY_S = 86_400


def token(number: int = 1, secret: str = SECRET) -> str:
    return f"mod_{number:012x}_{secret}"


def key(number: int = 1, **values: object) -> Key:
    usual = {"scopes": ("predict",), "quota_per_minute": None, "created_at": NOON}
    return Key(id=f"{number:012x}", name=f"key-{number}", secret_hash=hash_of(SECRET), **{**usual, **values})  # type: ignore[arg-type]


class World:
    """A database of keys that can be away, and the clocks."""

    def __init__(self, copy: Path, *keys: Key) -> None:
        self.keys = keys
        self.away = False
        self.reads = 0
        self.noted: list[Mapping[str, datetime]] = []
        self.elapsed_s = 1_000.0
        self.database_clock = self.wall = NOON
        self.copy = copy

    def read(self) -> Keys:
        self.reads += 1
        if self.away:
            raise UnavailableError("away")
        return Keys(self.database_clock, tuple(self.keys))

    def note_use(self, used: Mapping[str, datetime]) -> None:
        if self.away:
            raise UnavailableError("away")
        self.noted.append(dict(used))

    def ring(self) -> KeyRing:
        return KeyRing(
            self.read, self.note_use, self.copy, DAY_S, monotonic=lambda: self.elapsed_s, wall=lambda: self.wall
        )

    def pass_s(self, seconds: float) -> None:
        self.elapsed_s += seconds
        self.database_clock += timedelta(seconds=seconds)
        self.wall += timedelta(seconds=seconds)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "keys.json", key())


def found(ring: KeyRing, shown: str) -> str | None:
    match = asyncio.run(ring.find(shown))
    return match and match.name


def refreshed(world: World) -> KeyRing:
    ring = world.ring()
    ring.refresh()
    return ring


def test_a_key_is_found_by_its_id_and_its_whole_secret(world: World) -> None:
    ring = refreshed(world)
    assert found(ring, token()) == "key-1"
    wrong = [token(secret="ab" * 31 + "ac"), token(2), token()[:-1], token() + "0", token().upper(), "", SECRET]
    assert [found(ring, shown) for shown in wrong] == [None] * len(wrong)


def test_a_revoked_key_stops_with_the_next_look(world: World) -> None:
    ring = refreshed(world)
    world.keys = (key(revoked_at=NOON),)
    assert found(ring, token()) == "key-1"
    ring.refresh()
    assert found(ring, token()) is None


def test_a_key_expires_by_the_databases_clock_whatever_this_machine_says(world: World) -> None:
    world.keys = (key(expires_at=NOON + timedelta(minutes=10)),)
    ring = refreshed(world)
    for jump in (timedelta(days=-400), timedelta(days=400), timedelta()):
        world.wall = NOON + jump
        assert found(ring, token()) == "key-1"
    world.elapsed_s += 601  # no look since, and this machine's clock was set back
    world.wall = NOON - timedelta(days=400)
    assert found(ring, token()) is None


def test_a_new_key_works_at_once(world: World) -> None:
    ring = refreshed(world)
    world.pass_s(EARLY_S)
    world.keys = (key(1), key(2))
    assert found(ring, token(2)) == "key-2"


def test_a_flood_of_unknown_keys_costs_one_look_a_second(world: World) -> None:
    ring = refreshed(world)

    async def flood() -> None:
        await asyncio.gather(*(ring.find(token(100 + number)) for number in range(500)))

    world.pass_s(EARLY_S)
    before = world.reads
    asyncio.run(flood())
    assert world.reads == before + 1
    asyncio.run(flood())  # waits until a second has passed
    assert world.reads == before + 2
    assert found(ring, token()) == "key-1"


def test_known_keys_never_wait_for_the_database(world: World) -> None:
    ring = refreshed(world)
    world.pass_s(100)
    before = world.reads
    assert found(ring, token()) == "key-1"
    assert found(ring, token(secret="cd" * 32)) is None
    assert world.reads == before


def test_the_last_known_keys_go_on_without_the_database_for_a_bounded_time(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    ring = refreshed(world)
    world.away = True
    for _ in range(3):
        world.pass_s(DAY_S / 4)
        ring.refresh()
    assert found(ring, token()) == "key-1"
    assert ring.problem == "cannot be read, those of 2026-05-01 12:00:00 UTC go on"
    assert len([each for each in caplog.records if each.levelno == logging.ERROR]) == 1
    world.pass_s(DAY_S / 4 + 1)
    assert not ring.usable
    with pytest.raises(UnavailableError, match="too long"):
        found(ring, token())
    world.away = False
    ring.refresh()
    assert (ring.problem, ring.usable, found(ring, token())) == (None, True, "key-1")


def test_a_server_that_restarts_without_the_database_knows_the_keys(world: World) -> None:
    refreshed(world)
    assert stat.S_IMODE(world.copy.stat().st_mode) == 0o600
    assert SECRET not in world.copy.read_text()
    world.away = True
    world.pass_s(3_600)
    ring = world.ring()
    ring.refresh()
    assert ring.load_copy()
    assert found(ring, token()) == "key-1"
    assert "12:00:00" in str(ring.problem)
    assert ring.age_s == pytest.approx(3_600)
    world.pass_s(DAY_S)
    assert not ring.usable


def test_a_revoked_key_is_not_in_a_copy_that_was_kept_after_it(world: World) -> None:
    ring = refreshed(world)
    world.keys = (key(revoked_at=NOON),)
    ring.refresh()
    again = world.ring()
    assert again.load_copy()
    assert found(again, token()) is None


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff", json.dumps({"read_at": "x", "keys": []}).encode()])
def test_a_copy_that_is_missing_or_damaged_is_none(world: World, content: bytes | None) -> None:
    if content is not None:
        world.copy.write_bytes(content)
    assert not world.ring().load_copy()


def test_a_copy_is_not_made_younger_by_a_clock_that_was_set_back_nor_used_when_old(world: World) -> None:
    refreshed(world)
    world.wall = NOON - timedelta(days=30)
    ring = world.ring()
    assert ring.load_copy()
    assert ring.age_s == 0
    world.wall = NOON + timedelta(days=2)
    assert not world.ring().load_copy()


def test_nothing_is_known_before_the_first_look(world: World) -> None:
    world.away = True
    with pytest.raises(UnavailableError):
        found(world.ring(), token())


def test_a_full_disk_costs_the_copy_and_nothing_else(world: World, tmp_path: Path) -> None:
    world.copy = tmp_path / "missing" / "keys.json"
    assert found(refreshed(world), token()) == "key-1"


def test_uses_are_written_at_most_once_a_minute(world: World) -> None:
    ring = refreshed(world)
    for _ in range(3 * int(NOTE_S)):
        found(ring, token())
        ring.look()
        world.pass_s(1)
    assert len(world.noted) == 3
    assert [set(used) for used in world.noted] == [{key().id}] * 3
    world.away = True
    world.pass_s(NOTE_S)
    found(ring, token())
    ring.look()  # a database that is away costs the note and nothing else
    assert found(ring, token()) == "key-1"


def test_a_secret_is_in_no_repr_and_no_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ring = refreshed(world)
    world.away = True
    ring.refresh()
    found(ring, token(7))
    assert SECRET not in caplog.text
    assert hash_of(SECRET) not in caplog.text + repr(key()) + repr(Keys(NOON, (key(),))) + repr(ring)
