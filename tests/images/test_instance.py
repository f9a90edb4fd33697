"""The user data of an API instance on AWS, run in a container to the point of serving from the image with Docker.

Beside it stand a real PostgreSQL, and secrets and logs of moto. What only an instance has (dnf, systemd, metadata) is
played by programs in ``instance`` and of tests/aws; `docker` is the engine that starts the server.
"""

import os
import shutil
import site
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from stacks import Stacks

from tests.aws.conftest import REGION, Clients, moto_url  # noqa: F401 - fixture
from tests.aws.test_deploy import FIRST, VALUES
from tests.aws.test_instance import INSTANCE, NOTHING, SHIMS, account, user_data  # noqa: F401 - fixtures
from tests.images.docker import docker, free_ports, wait_for

pytestmark = [pytest.mark.images, pytest.mark.timeout(600)]
TAG = os.environ.get("IMAGE_TAG", "latest")
POSTGRES = os.environ.get("POSTGRES_IMAGE", "postgres:17-bookworm")
BASE = os.environ.get("BASE_IMAGE", "python:3.11-slim-bookworm")
PASSWORD = "correct-horse"
SHARED = ("run/moderation", "var/lib/moderation", "srv/registry")
"""Folders of the instance that its containers get; the engine looks for them on its own machine."""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[str]:
    """The URL, for containers, of a PostgreSQL that is migrated."""
    secret = tmp_path / "postgres_password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    options = ("-e", "POSTGRES_DB=moderation", "-e", "POSTGRES_PASSWORD_FILE=/password", "-v", f"{secret}:/password:ro")
    name = docker("run", "--detach", *options, POSTGRES).stdout.strip()
    try:
        wait_for(lambda: docker("exec", name, "pg_isready", "-h", "127.0.0.1"))
        address = docker(
            "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name
        ).stdout.strip()
        url = f"postgresql+psycopg2://postgres:{PASSWORD}@{address}:5432/moderation"
        tools(url, "migrate")
        yield url
    finally:
        docker("rm", "--force", "--volumes", name)


def tools(url: str, *words: str, volume: Path | None = None) -> str:
    mounted = () if volume is None else ("--volume", f"{volume}:/srv/registry")
    variables = ("-e", f"MODERATION_DATABASE_URL={url}", "-e", "MODERATION_REGISTRY_DIR=/srv/registry")
    return docker("run", "--rm", *mounted, *variables, f"moderation-tools:{TAG}", *words).stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """What stands for the disk of the instance, with the programs that stand for the rest."""
    root = tmp_path / "instance"
    programs = root / "programs"
    programs.mkdir(parents=True)
    for shared in SHARED:
        (root / shared).mkdir(parents=True)
    (root / "srv/registry").chmod(0o777)
    for name in ("aws", "systemctl"):
        body = (SHIMS / name).read_text().replace("#!/usr/bin/env python\n", "#!/usr/bin/env python3\n")
        (programs / name).write_text(body)
    for name in ("curl", "docker"):
        shutil.copy(Path(__file__).with_name("instance") / name, programs / name)
    for name in sorted(set(NOTHING) - {"chown"}):
        shutil.copy(SHIMS / "nothing", programs / name)
    for each in programs.iterdir():
        each.chmod(0o755)
    yield root
    # What containers wrote there belongs to their own account.
    docker("run", "--rm", "--volume", f"{root}:/instance", BASE, "sh", "-c", "rm -rf /instance/*", check=False)


def test_the_user_data_makes_a_machine_serve(
    user_data: Callable[[str], str],  # noqa: F811
    account: Clients,  # noqa: F811
    moto_url: str,  # noqa: F811
    database: str,
    folder: Path,
) -> None:
    outputs = Stacks(account("cloudformation")).outputs("moderation-test-data")
    account("secretsmanager").put_secret_value(SecretId=outputs["ApiUrl"], SecretString=f"{database}?sslmode=disable")
    tools(database, "registry", "seed", volume=folder / "srv/registry")
    key = tools(database, "keys", "create", "me", "--scope", "predict")
    port, private = free_ports(2)
    script = user_data("api").replace("8001", str(port)).replace("9001", str(private))
    image = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/moderation-api:{FIRST}"
    docker("tag", f"moderation-api:{TAG}", image)
    try:
        with machine_of(folder, moto_url) as machine:
            booted = docker("exec", "--interactive", machine, "bash", stdin=script, check=False)
            log = docker("exec", machine, "cat", "/moderation.log", check=False).stdout
            assert booted.returncode == 0, booted.stdout + booted.stderr + log
            body, headers = {"comment_text": "You are disgusting."}, {"X-API-Key": key}
            url = f"http://127.0.0.1:{port}/predict"
            answered = httpx.post(url, json=body, headers=headers, trust_env=False, timeout=30)
            assert answered.status_code == 200
            assert answered.json()["decision"] != "allow"
            assert _is_closed("moderation")
            given = docker("exec", "moderation", "sh", "-c", 'cat "$PGSSLROOTCERT"').stdout
            assert given.strip() == VALUES["DatabaseCa"].strip()
            wait_for(lambda: "pages 0 none" in _said(account))
            docker("exec", machine, "systemctl", "stop", "moderation")
        assert docker("ps", "--quiet", "--filter", "name=^moderation$").stdout == ""
    finally:
        docker("rm", "--force", "moderation", check=False)
        docker("rmi", image)


@contextmanager
def machine_of(folder: Path, moto: str) -> Iterator[str]:
    """Yield a container of the base image that stands for an instance: its folders, programs and way to AWS."""
    variables = {
        "PATH": "/instance/programs:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": "/site",
        "SHIM_ROOT": "/",
        "SHIM_AWS": moto,
        "INSTANCE_FOLDER": str(folder),
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
    }
    programs = folder / "programs"
    volumes = {programs: "/instance/programs", Path(site.getsitepackages()[0]): "/site:ro"}
    volumes |= {programs / "cfn-signal": "/opt/aws/bin/cfn-signal", programs / "docker": "/usr/bin/docker"}
    volumes |= {folder / shared: f"/{shared}" for shared in SHARED}
    given = [("-e", f"{name}={value}") for name, value in variables.items()]
    mounted = [("-v", f"{outside}:{inside}") for outside, inside in volumes.items()]
    options = [word for pair in (*given, *mounted) for word in pair]
    command = ("sh", "-c", "mkdir -p /etc/systemd/system && exec sleep 600")
    name = docker("run", "--detach", "--network", "host", *options, *_engine(), BASE, *command).stdout.strip()
    try:
        yield name
    finally:
        docker("rm", "--force", name)


def _engine() -> tuple[str, ...]:
    """Return what lets the container speak with the engine that runs it."""
    socket = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    client = shutil.which("docker")
    mounted = ("-v", f"{socket}:{socket}", "-v", f"{client}:/usr/bin/docker.real:ro")
    return ("-e", f"DOCKER_HOST=unix://{socket}", *mounted)


def _is_closed(name: str) -> bool:
    """Return whether a container has a root that it cannot write, and no capability."""
    said = docker("inspect", "-f", "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}", name).stdout
    return said == "true [ALL]\n"


def _said(clients: Clients) -> set[str]:
    found = clients("logs").get_log_events(logGroupName="/moderation/test/api", logStreamName=f"{INSTANCE}/care")
    return {event["message"] for event in found["events"]}
