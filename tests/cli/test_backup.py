"""docs/backup.md on a PostgreSQL of the test's own: dump, destroy, restore, and everything is there again."""

import os
import subprocess
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Engine, make_url

from moderation.db import keys
from moderation.db.database import connect, migrate, require_current
from moderation.db.log import insert, record_version
from moderation.db.models import Base
from tests.cli.conftest import Moderation
from tests.moderation.db.records import NOON, feedback, prediction, version
from tests.postgres import binaries, own_cluster


def fill(engine: Engine) -> None:
    made = [prediction(created_at=NOON + timedelta(days=20 * number), text=f"ü {number}") for number in range(30)]
    with engine.begin() as connection:
        record_version(connection, version())
        insert(connection, made, [feedback(prediction_id=made[0].id)])
        keys.create(connection, "site", ("predict",))


def rows(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    with engine.connect() as connection:
        tables = (*Base.metadata.tables, "alembic_version")
        read = {table: connection.exec_driver_sql(f"SELECT * FROM {table}").all() for table in tables}
    return {table: sorted(tuple(map(str, row)) for row in found) for table, found in read.items()}


def test_backup_destroy_restore(moderation: Moderation, tmp_path: Path) -> None:
    folders, dump = binaries(), tmp_path / "moderation.dump"
    with own_cluster(folders) as server:
        url = make_url(server.url).set(database="moderation")
        plain = url.set(drivername="postgresql").render_as_string(hide_password=False)

        def run(program: str, *arguments: str) -> None:
            (path,) = [folder / program for folder in folders if (folder / program).exists()][:1]
            at = {"PGHOST": url.query["host"], "PGUSER": "postgres"}
            subprocess.run((path, *arguments), env={**os.environ, **at}, check=True, timeout=60)  # type: ignore[dict-item]

        create = ("createdb", "--encoding", "UTF8", "--template", "template0", "moderation")
        run(*create)
        engine = connect(plain)
        migrate(engine)
        fill(engine)
        before = rows(engine)
        engine.dispose()
        assert len(before["predictions"]) == 30
        assert len(before["rollups"]) > 30
        run("pg_dump", "--format", "custom", "--file", str(dump), plain)
        run("dropdb", "moderation")
        run(*create)
        run("pg_restore", "--no-owner", "--no-privileges", "--exit-on-error", "--dbname", plain, str(dump))
        assert rows(engine) == before
        for command in (("migrate",), ("roles", "--apply")):
            done = moderation(*command, MODERATION_DATABASE_URL=plain)
            assert done.returncode == 0, done.stderr
        require_current(engine)
        assert rows(engine) == before
        engine.dispose()
