"""The tests' own PostgreSQL: it starts from whatever there is, or says in one line why not."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import text

from moderation.db.database import connect
from tests.postgres import URL_VARIABLE, WHEEL, PostgresMissingError, binaries, cluster


def server_version(url: str) -> int:
    engine = connect(url)
    with engine.connect() as connection:
        found = connection.scalar(text("SELECT current_setting('server_version_num')::int"))
    engine.dispose()
    assert isinstance(found, int)
    return found


def command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_text(errors="replace")
    except OSError:  # it has ended since
        return ""


def test_the_wheels_binaries_start_even_where_no_other_account_can_read_them(tmp_path: Path) -> None:
    found = next(folder for folder in binaries() if WHEEL in folder.parts)
    site = found.parents[2]
    for part in (found.parent, site / f"{WHEEL}.libs"):
        shutil.copytree(part, tmp_path / part.relative_to(site), symlinks=True)
    tmp_path.chmod(0o700)
    with cluster([tmp_path / found.relative_to(site)]) as url:
        assert server_version(url) >= 160_000
        home = Path(url.split("host=")[1])
        assert home.exists()
    assert not home.exists()


def test_a_cluster_is_stopped_and_deleted_when_the_tests_fail() -> None:
    homes: list[Path] = []

    def fail() -> None:
        with cluster(binaries()) as url:
            homes.append(Path(url.split("host=")[1]))
            assert (homes[0] / "data" / "postmaster.pid").exists()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not homes[0].exists()
    assert [pid for pid in Path("/proc").glob("[0-9]*") if str(homes[0]) in command_line(pid)] == []


def test_binaries_that_cannot_start_are_passed_over(tmp_path: Path) -> None:
    broken = tmp_path / "bin"
    broken.mkdir()
    (broken / "initdb").touch(mode=0o644)
    with cluster([broken, *binaries()]) as url:
        assert server_version(url) >= 130_000


def test_without_any_postgresql_one_line_says_what_to_do(tmp_path: Path) -> None:
    broken = tmp_path / "bin"
    with pytest.raises(PostgresMissingError) as caught, cluster([broken]):
        pass
    message = str(caught.value)
    assert message.startswith(f"these tests need PostgreSQL: install it or set {URL_VARIABLE} ({broken}: ")
    assert "\n" not in message
    with pytest.raises(PostgresMissingError, match="no server binaries on PATH"), cluster([]):
        pass
