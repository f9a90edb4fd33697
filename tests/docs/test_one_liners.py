"""The commands in tables of the documentation, which nobody runs: commands, options, targets, services are there."""

import re
import shlex
import subprocess
from collections.abc import Iterator

import pytest
import typer
import yaml

from cli.main import app
from tests.docs.commands import PAGES, ROOT

COMMAND = re.compile(r"`((?:moderation|make|docker) [^`]+)`")
ROOT_COMMAND = typer.main.get_command(app)
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))

IMAGES = re.findall(
    r"^FROM (?:server|app|command) AS (\S+)", (ROOT / "docker/Dockerfile").read_text(), re.MULTILINE
)  # fmt: skip


def one_liners() -> Iterator[tuple[str, str]]:
    """Yield each command that stands in a table, with its place."""
    for pattern in PAGES:
        for path in sorted(ROOT.glob(pattern)):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                for command in COMMAND.findall(line) if line.lstrip().startswith("|") else ():
                    yield f"{path.relative_to(ROOT)}:{number}", command


def check(words: list[str]) -> None:
    """Raise for a command that cannot be as it is written."""
    match words:
        case ["make", *rest]:
            _check_make(rest)
        case ["docker", "compose", *rest]:
            _check_compose(rest)
        case ["docker", "run", *rest]:
            assert rest[-1].removeprefix("moderation-") in IMAGES
        case ["moderation", *rest]:
            _check_moderation(rest)


def _check_moderation(words: list[str]) -> None:
    """Parse the words as the command would, and do nothing."""
    command, context = ROOT_COMMAND, typer.Context(ROOT_COMMAND, info_name="moderation")
    while words and isinstance(command, typer.core.TyperGroup):
        _, command, words = command.resolve_command(context, words)
    assert command is not None
    options = [word for word in words if word.startswith("-")]
    if "…" in words or not words:
        assert {*options} <= {name for parameter in command.params for name in parameter.opts}
    else:
        command.make_context("moderation", ["1" if word == "N" else word for word in words])


def _check_make(words: list[str]) -> None:
    targets = [word for word in words if "=" not in word]
    assert {*targets} <= TARGETS
    for name, _, value in (word.partition("=") for word in words if "=" in word):
        assert f"$({name})" in MAKEFILE, name
        if name == "RUN":
            _check_moderation(shlex.split(value))
    done = subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


def _check_compose(words: list[str]) -> None:
    services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
    verb, named = words[0], [word for word in words[1:] if not word.startswith("-")]
    assert verb in {"up", "run", "stop", "restart", "logs", "ps"}
    if verb == "run":
        assert named[0] == "tools"
        _check_moderation(words[words.index("tools") + 1 :])
    else:
        assert {*named} <= services.keys()


FOUND = list(one_liners())


def test_tables_hold_commands() -> None:
    assert {"moderation", "make", "docker"} == {command.split()[0] for _, command in FOUND}
    assert {"README.md", "docs/aws.md"} <= {place.partition(":")[0] for place, _ in FOUND}


@pytest.mark.parametrize(("place", "command"), FOUND, ids=[f"{place} {command}" for place, command in FOUND])
def test_a_command_of_a_table_can_be_called(place: str, command: str) -> None:
    check(shlex.split(command))


@pytest.mark.parametrize(
    "command",
    [
        "moderation keys make NAME",
        "moderation keys create NAME --skope predict",
        "moderation keys create --scope predict",
        "make deplox ENV=prod",
        "make deploy ENVIRONMENT=prod",
        'make aws-run ENV=prod RUN="keys make NAME"',
        "docker compose up -d monitoring",
        "docker compose run --rm tools keys make NAME",
        "docker run moderation-app",
    ],
)  # fmt: skip
def test_a_command_that_is_not_there_is_found(command: str) -> None:
    with pytest.raises((AssertionError, typer.TyperException)):
        check(shlex.split(command))
