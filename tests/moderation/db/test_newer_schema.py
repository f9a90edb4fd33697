"""Going back: this release on tables that a newer one migrated, when that says that it may, and when not."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, func, select, text

from moderation.db.database import connect, migrate, require_current
from moderation.db.log import insert, record_version
from moderation.db.models import Prediction
from moderation.errors import ConfigurationError
from tests.moderation.db.records import prediction, version

PACKAGE = Path(__file__).parents[3] / "moderation"
VERSIONS = "db/migrations/versions"
MIGRATE = "import sys; from moderation.db.database import connect, migrate; migrate(connect(sys.argv[1]))"
OWN = max(path.name[1:5] for path in (PACKAGE / VERSIONS).glob("m*.py"))
NEXT = f"{int(OWN) + 1:04d}"
MIGRATION = f"""import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{OWN}"
{{oldest}}

def upgrade() -> None:
    op.add_column("predictions", sa.Column("mood", sa.Text(), nullable=False, server_default="fine"))
    op.create_table("moods", sa.Column("name", sa.Text(), primary_key=True))
"""


def release_after(folder: Path, oldest: str) -> Path:
    """Make the next release, of which nothing differs but one more migration, in ``folder``."""
    shutil.copytree(PACKAGE, folder / "moderation", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / f"moderation/{VERSIONS}/m{NEXT}_moods.py").write_text(MIGRATION.format(oldest=oldest))
    return folder


def migrate_by(release: Path, url: str) -> None:
    subprocess.run([sys.executable, "-c", MIGRATE, url], cwd=release, env={"PATH": ""}, check=True, timeout=120)


@pytest.fixture
def kept(database_url: str) -> "Engine":
    """The database at this release's revision, with a prediction in it."""
    engine = connect(database_url)
    migrate(engine)
    with engine.begin() as connection:
        record_version(connection, version())
        insert(connection, [prediction()])
    return engine


def test_this_release_works_on_a_newer_schema_that_says_so(kept: Engine, database_url: str, tmp_path: Path) -> None:
    newer = release_after(tmp_path, f'oldest = "{OWN}"')
    migrate_by(newer, database_url)
    require_current(kept)
    assert migrate(kept) is False
    with kept.begin() as connection:
        assert insert(connection, [prediction()]) == 1
        assert connection.execute(select(func.count()).select_from(Prediction)).scalar_one() == 2
        assert set(connection.execute(text("SELECT mood FROM predictions")).scalars()) == {"fine"}
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == NEXT
    migrate_by(newer, database_url)  # and forward again
    kept.dispose()


@pytest.mark.parametrize("oldest", [f'oldest = "{NEXT}"', ""])
def test_this_release_refuses_a_newer_schema_that_breaks_or_says_nothing(
    kept: Engine, database_url: str, tmp_path: Path, oldest: str
) -> None:
    migrate_by(release_after(tmp_path, oldest), database_url)
    said = (
        f"^database is at revision {NEXT}, which this release does not know: a newer release migrated it "
        f"for releases from revision {NEXT} on, this one is of {OWN}; run that one or restore a backup$"
    )
    for step in (require_current, migrate):
        with pytest.raises(ConfigurationError, match=said):
            step(kept)
    kept.dispose()


def test_a_database_of_before_releases_said_so_learns_it_with_the_next_migration(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE alembic_version DROP COLUMN oldest"))
    require_current(engine)
    assert migrate(engine) is True
    with engine.connect() as connection:
        assert connection.execute(text("SELECT oldest FROM alembic_version")).scalar_one() == stated()[-1]


def test_every_migration_states_the_oldest_release_that_works_on_its_tables() -> None:
    found = stated()
    assert found
    assert found == sorted(found)
    assert all(oldest <= f"{int('0007') + at:04d}" for at, oldest in enumerate(found))


def stated() -> list[str]:
    """Return what the migrations from 0007 on state, in order; from those before there was no way back."""
    scripts = ScriptDirectory(str(PACKAGE / "db/migrations")).walk_revisions()
    return [script.module.oldest for script in sorted(scripts, key=lambda it: it.revision) if script.revision >= "0007"]
