"""What a deployment runs before the services start, on the database of another environment: a real PostgreSQL."""

from pathlib import Path

from deploy import PREPARATION, SECRETS
from sqlalchemy import make_url

from moderation.db import keys
from moderation.db.database import connect, migrate
from tests.cli.conftest import Moderation, bundle, environment, moderation, state_dir  # noqa: F401
from tests.postgres import binaries, own_cluster

KEY_ID = "6d6f64657261"
"""As data.yaml has it: the same in every environment."""


def test_a_database_from_a_snapshot_gets_the_new_environments_moderator_key(
    moderation: Moderation,  # noqa: F811
    tmp_path: Path,
) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "MODERATOR_API_KEY").write_text(f"mod_{KEY_ID}_{'b' * 64}")
    with own_cluster(binaries()) as cluster:  # roles belong to a whole server
        urls = {"owner": cluster.url}
        for role in ("api", "monitor", "tools"):
            account = make_url(cluster.url).set(username=f"{role}_login", password="f" * 40)
            urls[role] = account.render_as_string(hide_password=False)
            (secrets / f"{role.upper()}_DATABASE_URL").write_text(urls[role])
        owner = connect(cluster.url)
        migrate(owner)
        with owner.begin() as connection:
            keys.register(connection, "moderator", ["predict"], f"mod_{KEY_ID}_{'a' * 64}")
        for account_name, command in PREPARATION:
            words = [word.replace(SECRETS, str(secrets)) for word in command]
            done = moderation(*words, MODERATION_DATABASE_URL=urls[account_name])
            assert done.returncode == 0, done.stderr
        (key,) = keys.read(owner).keys
        owner.dispose()
    assert (key.name, key.secret_hash) == ("moderator", keys.hash_of("b" * 64))
    assert (key.scopes, key.revoked_at) == (("predict", "feedback"), None)
