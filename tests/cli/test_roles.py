"""`moderation roles --apply` on a PostgreSQL of the test's own: roles belong to the whole server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from moderation.db.database import connect, migrate
from tests.cli.conftest import Moderation
from tests.postgres import Cluster, binaries, own_cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with own_cluster(binaries()) as started:
        owner = connect(started.url)
        migrate(owner)
        with owner.begin() as connection:
            connection.exec_driver_sql("ALTER DATABASE postgres SET log_statement = 'all'")
        owner.dispose()
        yield started


def account(folder: Path, name: str, password: str) -> str:
    (folder / name).write_text(f"postgresql://{name}:{password}@host/db\n")
    return str(folder / name)


def test_roles_and_accounts_are_made_and_made_again(moderation: Moderation, cluster: Cluster, tmp_path: Path) -> None:
    verifiers = set()
    for password in ("pass-one", "pass-two"):
        options = [f"--account={role}={account(tmp_path, f'{role}_x', password)}" for role in ("api", "tools")]
        done = moderation("roles", "--apply", *options, MODERATION_DATABASE_URL=cluster.url)
        assert done.returncode == 0, done.stderr
        assert "the roles api, monitor, tools and 2 accounts in them" in done.stdout
        owner = connect(cluster.url)
        with owner.connect() as connection:
            verifiers.add(connection.scalar(text("SELECT rolpassword FROM pg_authid WHERE rolname = 'api_x'")))
            assert connection.scalar(text("SELECT pg_has_role('api_x', 'moderation_api', 'member')"))
            assert not connection.scalar(text("SELECT pg_has_role('api_x', 'moderation_tools', 'member')"))
        owner.dispose()
    assert len(verifiers) == 2
    assert all(each.startswith("SCRAM-SHA-256$") for each in verifiers)
    assert "CREATE ROLE" in cluster.log()
    assert "pass-one" not in cluster.log() + done.stdout + done.stderr
    as_api = connect(make_url(cluster.url).set(username="api_x").render_as_string(hide_password=False))
    with as_api.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM api_keys")) == 0
    as_api.dispose()


@pytest.mark.parametrize(
    ("role", "content", "message"),
    [
        ("owner", "postgresql://x:hidden@h/d", "role is 'owner'; expected api, monitor, tools"),
        ("api", "postgresql://postgres:hidden@h/d", "'postgres' is the owner of the tables"),
        ("api", "postgresql://x@h/d", "holds no URL with user and password"),
        ("api", "hidden", "holds no URL with user and password"),
        ("api", "", "is empty"),
    ],
)
def test_an_account_that_cannot_be_made_is_said_in_one_line(
    moderation: Moderation, cluster: Cluster, tmp_path: Path, role: str, content: str, message: str
) -> None:
    (tmp_path / "url").write_text(content)
    option = f"--account={role}={tmp_path / 'url'}"
    done = moderation("roles", "--apply", option, MODERATION_DATABASE_URL=cluster.url)
    assert done.returncode == 1
    assert message in done.stderr
    assert "hidden" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_sqlite_has_no_roles(moderation: Moderation) -> None:
    moderation("migrate")
    done = moderation("roles", "--apply")
    assert done.returncode == 1
    assert "expected a PostgreSQL database" in done.stderr
