import hashlib
import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, select

from moderation.db.keys import SCOPES, Key, create, hash_of, note_use, read, register, revoke, split
from moderation.db.models import ApiKey
from moderation.errors import InvalidInputError, NotFoundError

SOON = datetime.now(UTC) + timedelta(hours=1)


def made(engine: Engine, name: str = "site", **values: object) -> str:
    with engine.begin() as connection:
        return create(connection, name, **{"scopes": ["predict"], **values})  # type: ignore[arg-type]


def key_named(engine: Engine, name: str) -> Key:
    (key,) = [key for key in read(engine).keys if key.name == name]
    return key


def test_only_the_hash_of_a_key_is_kept(engine: Engine) -> None:
    token = made(engine)
    assert re.fullmatch("mod_[0-9a-f]{12}_[0-9a-f]{64}", token)
    parts = split(token)
    assert parts is not None
    with engine.connect() as connection:
        row = connection.execute(select(ApiKey)).one()
    assert (row.id, row.secret_hash) == (parts[0], hashlib.sha256(parts[1].encode()).hexdigest())
    assert parts[1] not in str(tuple(row))
    assert row.secret_hash not in repr(key_named(engine, "site"))


def test_no_two_keys_are_alike(engine: Engine) -> None:
    assert len({made(engine, f"site-{number}") for number in range(20)}) == 20


def test_a_key_comes_back_as_it_was_made(engine: Engine) -> None:
    made(engine, scopes=["admin", "predict", "admin"], quota_per_minute=600, expires_at=SOON)
    found = read(engine)
    (key,) = found.keys
    assert (key.name, key.scopes, key.quota_per_minute) == ("site", ("predict", "admin"), 600)
    assert key.expires_at == SOON
    assert key.created_at <= found.read_at
    assert (key.revoked_at, key.last_used_at) == (None, None)
    assert abs(found.read_at - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize("name", ["", "anonymous", "-x", "a b", "x" * 65, "a\n", "é", "a'--"])
def test_a_name_that_is_unfit_is_refused(engine: Engine, name: str) -> None:
    with pytest.raises(InvalidInputError, match="key name is"):
        made(engine, name)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scopes": []}, "scopes are none; expected some of predict, feedback, admin"),
        ({"scopes": ["predict", "root"]}, "scopes are predict, root"),
        ({"quota_per_minute": 0}, "quota is 0; expected 1 to 1000000000"),
        ({"quota_per_minute": 10**10}, "quota is 10000000000"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "expiry is 2020-01-01"),
    ],
)
def test_what_cannot_be_is_refused(engine: Engine, values: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        made(engine, **values)
    assert read(engine).keys == ()


def test_a_name_is_given_out_once_even_if_its_key_is_revoked(engine: Engine) -> None:
    made(engine)
    with engine.begin() as connection:
        revoke(connection, "site")
    with pytest.raises(InvalidInputError, match="'site' is taken"):
        made(engine)


def registered(engine: Engine, token: str, name: str = "app", **values: object) -> str:
    with engine.begin() as connection:
        return register(connection, name, **{"scopes": ["predict"], "token": token, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize("key_id", ["a" * 12, "d" * 12])
def test_a_key_made_elsewhere_replaces_the_one_before(engine: Engine, key_id: str) -> None:
    assert registered(engine, f"mod_{'a' * 12}_{'b' * 64}", quota_per_minute=5) == "made"
    note_use(engine, {"a" * 12: datetime.now(UTC)})
    with engine.begin() as connection:
        revoke(connection, "app")
    assert registered(engine, f"mod_{key_id}_{'c' * 64}", scopes=["feedback"], expires_at=SOON) == "replaced"
    (key,) = read(engine).keys
    assert (key.id, key.name, key.secret_hash) == (key_id, "app", hash_of("c" * 64))
    assert (key.scopes, key.quota_per_minute, key.expires_at) == (("feedback",), None, SOON)
    assert (key.revoked_at, key.last_used_at) == (None, None)


def test_the_same_key_stays_as_it_is_and_revoked_if_it_was(engine: Engine) -> None:
    token = f"mod_{'a' * 12}_{'b' * 64}"
    registered(engine, token)
    with engine.begin() as connection:
        revoke(connection, "app")
    before = key_named(engine, "app")
    assert registered(engine, token, scopes=["admin"]) == "kept"
    assert key_named(engine, "app") == before
    assert before.revoked_at is not None


def test_a_key_made_elsewhere_takes_no_other_names_place(engine: Engine) -> None:
    registered(engine, f"mod_{'a' * 12}_{'b' * 64}")
    registered(engine, f"mod_{'d' * 12}_{'b' * 64}", name="other")
    for name in ("third", "other"):
        with pytest.raises(InvalidInputError, match="the id aaaaaaaaaaaa of this key is another key's"):
            registered(engine, f"mod_{'a' * 12}_{'c' * 64}", name=name)
    assert {key.name: key.id for key in read(engine).keys} == {"app": "a" * 12, "other": "d" * 12}


def test_a_revoked_key_stays_revoked_since_the_first_time(engine: Engine) -> None:
    made(engine)
    moments = []
    for _ in range(2):
        with engine.begin() as connection:
            revoke(connection, "site")
        moments.append(key_named(engine, "site").revoked_at)
    assert moments[0] is not None
    assert moments[0] == moments[1]
    with engine.begin() as connection, pytest.raises(NotFoundError, match="'nobody'"):
        revoke(connection, "nobody")


def test_a_key_holds_until_it_expires_or_is_revoked() -> None:
    key = Key("a", "b", "c", SCOPES, None, SOON, expires_at=SOON)
    assert key.holds(SOON - timedelta(microseconds=1))
    assert not key.holds(SOON)
    assert not Key("a", "b", "c", SCOPES, None, SOON, revoked_at=SOON).holds(SOON)


def test_the_last_use_only_moves_forward(engine: Engine) -> None:
    made(engine, "one")
    made(engine, "two")
    one, two = key_named(engine, "one").id, key_named(engine, "two").id
    note_use(engine, {one: SOON, two: SOON})
    note_use(engine, {one: SOON - timedelta(minutes=5), two: SOON + timedelta(minutes=5), "gone": SOON})
    assert key_named(engine, "one").last_used_at == SOON
    assert key_named(engine, "two").last_used_at == SOON + timedelta(minutes=5)


@pytest.mark.parametrize(
    "token", ["", "mod_", "mod_0_0", "Bearer x", "mod_" + "A" * 12 + "_" + "a" * 64, "mod_" + "٣" * 12 + "_" + "3" * 64]
)
def test_what_has_not_the_form_of_a_key_is_none(token: str) -> None:
    assert split(token) is None
