import re
from pathlib import Path

import pytest
from sqlalchemy import select, update

from moderation.db import keys
from moderation.db.database import connect, migrate
from moderation.db.models import ApiKey
from moderation.db.review_models import AuditEntry
from tests.cli.conftest import Moderation


@pytest.fixture
def database(state_dir: Path) -> str:
    url = f"sqlite:///{state_dir / 'moderation.db'}"
    engine = connect(url)
    migrate(engine)
    engine.dispose()
    return url


def test_a_key_is_shown_once_listed_and_revoked(moderation: Moderation, database: str) -> None:
    made = moderation("keys", "create", "site", "--scope", "predict", "--scope", "feedback", "--quota-per-minute", "60")
    assert made.returncode == 0
    assert re.fullmatch("mod_[0-9a-f]{12}_[0-9a-f]{64}\n", made.stdout)  # ready for $(…)
    assert "cannot be shown again" in made.stderr
    moderation("keys", "create", "ops", "--scope", "admin", "--expires", "30")
    assert moderation("keys", "revoke", "site").stdout == "site is revoked\n"
    listed = moderation("keys", "list").stdout
    header, site, ops = (re.split(r" {2,}", line) for line in listed.splitlines())
    assert header == ["NAME", "STATE", "SCOPES", "PER MINUTE", "CREATED", "EXPIRES", "LAST USED"]
    assert site[:4] == ["site", "revoked", "predict,feedback", "60"]
    assert ops[:4] == ["ops", "valid", "admin", "-"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", ops[5])
    assert made.stdout.rpartition("_")[2].strip() not in listed
    engine = connect(database)
    with engine.begin() as connection:
        connection.execute(update(ApiKey).values(expires_at=ApiKey.created_at))
    engine.dispose()
    assert "expired" in moderation("keys", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("create", "a b", "--scope", "predict"), "key name is 'a b'"),
        (("create", "site", "--scope", "all"), "scopes are all; expected some of predict, feedback, admin"),
        (("create", "site", "--scope", "predict", "--expires", "soon"), "--expires is 'soon'"),
        (("create", "site", "--scope", "predict", "--expires", "2020-01-31"), "expected a time to come"),
        (("create", "site", "--scope", "predict", "--quota-per-minute", "0"), "quota is 0"),
        (("revoke", "nobody"), "no key is named 'nobody'"),
    ],
)
def test_what_is_wrong_is_one_line(
    moderation: Moderation, database: str, arguments: tuple[str, ...], message: str
) -> None:
    done = moderation("keys", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_key_made_elsewhere_is_taken_again_and_again_and_not_printed(
    moderation: Moderation, database: str, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(f"mod_{'a' * 12}_{'b' * 64}\n")
    create = ("keys", "create", "app", "--scope", "predict", "--token-file", file)
    for _ in range(2):
        made = moderation(*create)
        assert made.returncode == 0, made.stderr
        assert made.stdout.startswith("the key of app is in the database")
    engine = connect(database)
    assert [(key.id, key.name) for key in keys.read(engine).keys] == [("a" * 12, "app")]
    engine.dispose()
    for content, message in (("c" * 77, "expected mod_"), ("", "is empty")):
        file.write_text(content)
        refused = moderation(*create)
        assert refused.returncode == 1
        assert message in refused.stderr
        assert "c" * 64 not in refused.stderr


def test_a_key_made_anew_elsewhere_takes_the_place_of_the_one_before(
    moderation: Moderation, database: str, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    create = ("keys", "create", "app", "--scope", "predict", "--token-file", file)
    file.write_text(f"mod_{'a' * 12}_{'b' * 64}")
    moderation(*create)
    file.write_text(f"mod_{'a' * 12}_{'c' * 64}")
    done = moderation(*create, "--scope", "feedback")
    assert done.stdout == "the key of app is in the database; the one before opens nothing any more\n", done.stderr
    assert "stays as it was" in moderation(*create).stdout
    engine = connect(database)
    (key,) = keys.read(engine).keys
    assert (key.secret_hash, key.scopes) == (keys.hash_of("c" * 64), ("predict", "feedback"))
    with engine.connect() as connection:
        said = connection.execute(select(AuditEntry.action, AuditEntry.subject)).all()
    engine.dispose()
    assert said == [("replace key", "app")]


def test_without_keys_the_list_says_how_to_make_one(moderation: Moderation, database: str) -> None:
    done = moderation("keys", "list")
    assert (done.returncode, done.stdout) == (0, "")
    assert "moderation keys create" in done.stderr


def test_a_database_that_is_behind_is_said_so(moderation: Moderation) -> None:
    done = moderation("keys", "list")
    assert done.returncode == 1
    assert "moderation migrate" in done.stderr


def test_roles_are_sql(moderation: Moderation) -> None:
    lines = moderation("roles").stdout.splitlines()
    assert "GRANT SELECT, UPDATE (last_used_at) ON api_keys TO moderation_api;" in lines
    assert all(line.endswith(";") for line in lines)
