"""The command as people call it: help, one line per error, exit codes."""

import re
import sqlite3
import subprocess
import sys
import tomllib
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from cli.main import app
from moderation.release import VERSION
from moderation.settings import ApiSettings
from tests.cli.conftest import ROOT, Moderation
from tests.serve.process import environment as server_environment
from tests.serve.process import running

COMMANDS: list[tuple[str, ...]] = [
    *((), ("up",), ("migrate",), ("serve",), ("score",), ("registry",)),
    *(("maintain",), ("retention",), ("erase",), ("rescore",), ("migrate-check",)),
    *(("keys",), ("keys", "create"), ("keys", "list"), ("keys", "revoke"), ("roles",)),
    *(("gate",), ("promote",), ("rollback",), ("compare",), ("lineage",)),
]
REGISTRY_COMMANDS: list[tuple[str, ...]] = [
    ("registry", name) for name in ("list", "publish", "resolve", "fetch", "point", "seed")
]


@pytest.mark.parametrize("command", COMMANDS + REGISTRY_COMMANDS, ids=" ".join)
def test_every_command_explains_itself(moderation: Moderation, command: tuple[str, ...]) -> None:
    done = moderation(*command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(" ".join(("Usage: moderation", *command)))
    assert "\u2026" not in done.stdout
    assert "..." not in done.stdout.partition("Commands:")[2]  # a summary that is cut short


def test_every_command_is_registered_once() -> None:
    functions = [command.callback for command in app.registered_commands]
    assert len(functions) == len(set(functions))


def test_no_arguments_is_a_call_for_help(moderation: Moderation) -> None:
    done = moderation()
    assert done.returncode == 0
    assert re.search("registry +Publish, find and name bundles.", done.stdout)


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("registry",), ("registry", "point", "production"), ("score", "in.csv"), ("up", "--nonsense")],
    ids=" ".join,
)
def test_a_wrong_call_is_one_line_and_exit_code_2(moderation: Moderation, arguments: tuple[str, ...]) -> None:
    done = moderation(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


def test_an_expected_error_is_one_line_and_exit_code_1(moderation: Moderation) -> None:
    done = moderation("registry", "resolve", "staging")
    assert done.returncode == 1
    assert done.stderr.startswith("error: registry ")
    assert "has no alias 'staging' (it has: production)" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_version_is_that_of_the_package_and_of_the_api(moderation: Moderation) -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        assert tomllib.load(file)["project"]["version"] == VERSION
    assert moderation("--version").stdout == f"moderation {VERSION}\n"


@pytest.mark.parametrize(("arguments", "said"), [(("nonsense",), "'nonsense'. See"), (("gat",), "? See")])
def test_what_is_wrong_with_a_call_ends_before_the_hint(
    moderation: Moderation, arguments: tuple[str, ...], said: str
) -> None:
    assert said in moderation(*arguments).stderr


def test_migrate_makes_the_database_and_may_be_repeated(moderation: Moderation, state_dir: Path) -> None:
    for _ in range(2):
        done = moderation("migrate")
        assert done.returncode == 0, done.stderr
        assert f"{state_dir}/moderation.db has this release's schema" in done.stdout


def test_migrate_says_in_one_line_that_a_database_cannot_be_reached(moderation: Moderation) -> None:
    url = "postgresql+psycopg2://someone:secret@127.0.0.1:1/none"
    done = moderation("migrate", MODERATION_DATABASE_URL=url)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert "secret" not in done.stderr


def test_serve_makes_what_a_new_state_folder_lacks(tmp_path: Path) -> None:
    state_dir = tmp_path / "new"
    with running(server_environment(state_dir), tmp_path / "log", ("cli", "serve")) as (url, _):
        assert httpx.get(f"{url}/version", trust_env=False).json()["alias"] == "production"
    assert (state_dir / "moderation.db").is_file()


def test_a_new_server_that_asks_for_keys_prints_one_once(tmp_path: Path) -> None:
    variables, log = server_environment(tmp_path / "new", AUTH="on"), tmp_path / "log"
    for _ in range(2):
        with running(variables, log) as (url, _):
            (key,) = re.findall(r"^API key.*: (mod_\w+)$", log.read_text(), re.MULTILINE)
            headers = {"X-API-Key": key}
            answer = httpx.post(f"{url}/predict", json={"comment_text": "hello"}, headers=headers, trust_env=False)
            assert answer.status_code == 200
            assert httpx.get(f"{url}/metrics", headers=headers, trust_env=False).status_code == 403


@pytest.mark.parametrize(
    "elsewhere", [{"database_url": "sqlite:////tmp/other.db"}, {"registry_dir": "/tmp/other"}, {"registry": "wandb"}]
)
def test_what_others_may_depend_on_is_never_made_by_serve(tmp_path: Path, elsewhere: dict[str, str]) -> None:
    assert ApiSettings(state_dir=tmp_path / "new").is_new
    assert ApiSettings(state_dir=tmp_path).is_new
    assert not ApiSettings.model_validate({"state_dir": tmp_path} | elsewhere).is_new
    (tmp_path / "outbox.db").touch()  # of a server whose settings may only be forgotten this time
    assert not ApiSettings(state_dir=tmp_path).is_new
    assert not ApiSettings(state_dir=tmp_path / "outbox.db").is_new


def test_what_an_earlier_command_or_a_failed_start_leaves_is_still_new(tmp_path: Path, moderation: Moderation) -> None:
    state_dir = tmp_path / "new"
    commands = [
        ("keys", "list"),
        ("keys", "create", "me", "--scope", "predict"),
        ("registry", "list"),
        ("lineage", "x"),
    ]
    for command in commands:
        done = moderation(*command, MODERATION_STATE_DIR=str(state_dir))
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert ("`moderation up`" in done.stderr) == (command[0] == "keys")
        assert not state_dir.exists()
    state_dir.mkdir()
    (state_dir / "up.lock").touch()
    assert ApiSettings(state_dir=state_dir).is_new
    (state_dir / "moderation.db").touch()
    assert ApiSettings(state_dir=state_dir).is_new
    with closing(sqlite3.connect(state_dir / "moderation.db")) as database:
        database.execute("PRAGMA journal_mode = WAL")  # no longer an empty file
        assert ApiSettings(state_dir=state_dir).is_new
        database.execute("CREATE TABLE predictions (id)")
        assert not ApiSettings(state_dir=state_dir).is_new


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_that_cannot_be_written_is_one_line(environment: dict[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cli", "registry", "list"],
            env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "error: No space left on device: standard output\n")


def test_serve_refuses_a_database_that_was_not_migrated(moderation: Moderation) -> None:
    done = moderation("serve", MODERATION_API_PORT="1")
    assert done.returncode == 1
    assert "run `moderation migrate`" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
