"""Docker and Compose as commands, and the images that the tests need."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
LOAD = (Path(__file__).parent / "load.py").read_text()
CALLERS = 6
TARGETS = ("api", "moderator", "monitor", "tools", "train", "api-gpu")


def image(target: str) -> str:
    """Return the name of an image that docker/build.sh built."""
    return f"{os.environ.get('IMAGE_PREFIX', 'moderation-')}{target}:{os.environ.get('IMAGE_TAG', 'latest')}"


def docker(*arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
    return run(("docker", *arguments), **options)


def run(command: Sequence[str], **options: object) -> "subprocess.CompletedProcess[str]":
    check, settings = options.pop("check", True), {"input": options.pop("stdin", None), "timeout": 170, **options}
    done = subprocess.run(command, capture_output=True, text=True, check=False, **settings)  # type: ignore[call-overload]
    assert not check or done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done  # type: ignore[no-any-return]


@contextmanager
def container(image: str, *options: str, command: Sequence[str] = ()) -> Iterator[str]:
    """Yield the id of a container that runs as it should: nothing of it can be written but /tmp and its volume."""
    name = docker("run", "--detach", "--read-only", "--tmpfs", "/tmp", *options, image, *command).stdout.strip()
    try:
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


def networks_of(container: str) -> dict[str, str]:
    """Return the container's address on each of its networks."""
    found = json.loads(docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", container).stdout)
    return {name: it["IPAddress"] for name, it in found.items()}


def callers_network(container: str) -> str:
    """Return the name of the network on which callers reach the container."""
    (name,) = (each for each in networks_of(container) if each.endswith("_callers"))
    return name


@contextmanager
def load(network: str, url: str, key: str) -> Iterator["subprocess.Popen[str]"]:
    """Run callers in a container on ``network``; yield what prints what came of it (load.py) once nobody answers."""
    name = "moderation-test-load"
    options = ("--rm", "-i", "--name", name, "--network", network, "--entrypoint", "python")
    command = ("docker", "run", *options, image("tools"), "-", url, key, str(CALLERS))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(LOAD)
        process.stdin.close()
        try:
            yield process
        finally:
            docker("rm", "--force", name, check=False)


class Compose:
    """The system of ``docker/compose.yaml``, copied to ``folder`` so that its secrets are its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder / "docker"
        left_out = shutil.ignore_patterns("secrets", "aws", "compose.override.yaml")
        shutil.copytree(ROOT / "docker", self.folder, ignore=left_out)
        run(("sh", str(self.folder / "secrets.sh")))
        names = ("API_PORT", "BALANCER_PORT", "MODERATOR_PORT", "MONITOR_PORT", "PROMETHEUS_PORT")
        self.ports = dict(zip(names, map(str, free_ports(len(names))), strict=True))
        self._environment = {**os.environ, **self.ports, "COMPOSE_PROJECT_NAME": "moderation-test", **environment}
        plugin = subprocess.run(("docker", "compose", "version"), capture_output=True, check=False).returncode == 0
        self._command = ("docker", "compose") if plugin else ("docker-compose",)

    def __call__(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        done = run((*self._command, *arguments), cwd=self.folder, env=self._environment, stdin=stdin, check=check)
        return done.stdout

    def dump(self, file: Path) -> None:
        """Back the database up as docs/backup.md says."""
        command = (*self._command, "exec", "-T", "postgres", "pg_dump", "-U", "postgres", "-Fc", "moderation")
        with file.open("wb") as out:
            subprocess.run(command, cwd=self.folder, env=self._environment, stdout=out, timeout=120, check=True)

    def restore(self, file: Path) -> None:
        """Restore it as docs/backup.md says."""
        command = (*self._command, "exec", "-T", "postgres", "pg_restore", "-U", "postgres", "--no-owner")
        options = ("--no-privileges", "--exit-on-error", "-d", "moderation")
        with file.open("rb") as dump:
            subprocess.run(
                (*command, *options), cwd=self.folder, env=self._environment, stdin=dump, timeout=120, check=True
            )

    def sql(self, statement: str) -> str:
        command = ("exec", "-T", "postgres", "psql", "-U", "postgres", "-d", "moderation", "-tAc", statement)
        return self(*command).strip()

    def id_of(self, service: str) -> str:
        return self("ps", "-q", service).strip()


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def wait_for(get: Callable[[], T], timeout_s: float = 120) -> T:
    """Return what ``get`` returns once it is true; what it raises until then is ignored."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if found := get():
                return found
        except Exception:
            if time.monotonic() > deadline:
                raise
        if time.monotonic() > deadline:
            raise TimeoutError(f"still not so after {timeout_s} s")
        time.sleep(0.5)
