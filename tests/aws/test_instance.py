"""The instances' user data, as the stack in moto holds it, run to the point of serving and back.

Without an engine or a second machine: folders of the system lie in a folder of the test, and what only such an
instance has (dnf, systemd, Docker, metadata) is played by the programs in ``shims``. The server is real, its database
and registry are, and secrets and logs are moto's.
"""

import base64
import contextlib
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from sqlalchemy import make_url, text
from stacks import Stacks

from moderation.db import keys
from moderation.db.database import connect, migrate
from moderation.registry.local import LocalRegistry
from moderation.registry.starter import seed
from tests.aws.conftest import REGION, Clients, empty_account
from tests.aws.test_deploy import FIRST, World
from tests.integration.test_tls import make_certificate, start_with_tls
from tests.postgres import binaries, own_cluster

SHIMS = Path(__file__).with_name("shims")
NOTHING = ("dnf", "mkfs.xfs", "mount", "blkid", "chown", "cfn-signal")
MOVED = re.compile(
    r"(?<![\w.}/])/(etc|usr/local/lib|var/lib/moderation|run/moderation|srv/registry|opt/aws/bin|usr/bin/docker)\b"
)
INSTANCE = "i-0123456789abcdef0"
ROOT = Path(__file__).resolve().parents[2]
WELL = {
    "moderation_database_up": "1.0",
    "moderation_outbox_up": "1.0",
    "moderation_outbox_oldest_seconds": "12.5",
    "moderation_registry_up": "1.0",
    "moderation_keys_age_seconds": "4.0",
    "moderation_refused_rows_total": "0.0",
    "moderation_refused_versions_total": "0.0",
    "moderation_shadow_up": "1.0",
}
"""Figures of /metrics of a server that is well."""


class Instance:
    """One machine: a folder with what the script makes in it."""

    def __init__(self, root: Path, script: str, moto_url: str) -> None:
        self.root = root
        self.port, self.private = _free_port(), _free_port()
        for name in ("shims", "opt/aws/bin", "etc/systemd/system", "run"):
            (root / name).mkdir(parents=True)
        for shim in SHIMS.iterdir():
            # Their `python` is this one, which has boto3 and the project.
            body = shim.read_text().replace("#!/usr/bin/env python\n", f"#!{sys.executable}\n")
            (root / "shims" / shim.name).write_text(body)
            (root / "shims" / shim.name).chmod(0o755)
        for name in NOTHING:
            shutil.copy(root / "shims" / "nothing", root / "shims" / name)
        (root / "opt/aws/bin/cfn-signal").symlink_to(root / "shims/cfn-signal")
        (root / "usr/bin").mkdir(parents=True)
        (root / "usr/bin/docker").symlink_to(root / "shims/docker")
        (root / "lifecycle").write_text("InService")
        self.script = self.moved(script).replace("8001", str(self.port)).replace("9001", str(self.private))
        self.environment = {
            "PATH": f"{root / 'shims'}:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            "SHIM_ROOT": str(root),
            "SHIM_STATE": str(root / "var/lib/moderation"),
            "SHIM_AWS": moto_url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": REGION,
        }

    def moved(self, script: str) -> str:
        """Return the script with the system's folders in this folder, and with less patience."""
        return (
            MOVED.sub(lambda found: f"{self.root}{found[0]}", script)
            .replace("sleep 10", "sleep 0.2")
            .replace("sleep 20", "sleep 0.2")
        )

    def boot(self) -> subprocess.CompletedProcess[str]:
        """Run the script as cloud-init does."""
        log = self.root / "boot.log"
        with log.open("w") as out:
            done = subprocess.run(
                ["bash"],
                input=self.script,
                text=True,
                env=self.environment,
                stdout=out,
                stderr=out,
                timeout=120,
                check=False,
            )
        return subprocess.CompletedProcess(done.args, done.returncode, log.read_text())

    def calls(self) -> list[str]:
        return (self.root / "calls").read_text().splitlines()

    def end(self) -> None:
        for pid in self.root.glob("*.pid"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(pid.read_text()), signal.SIGKILL)


@pytest.fixture(scope="module")
def account(moto_url: str) -> Iterator[Clients]:
    """An account with an environment in it."""
    for clients in empty_account(moto_url):
        World(clients).deploy(FIRST)
        yield clients


@pytest.fixture
def user_data(account: Clients) -> Callable[[str], str]:
    """Return what the stack of a service gives its instances."""

    def of(service: str) -> str:
        found = account("autoscaling").describe_auto_scaling_groups(
            AutoScalingGroupNames=[f"moderation-test-{service}"]
        )
        template = found["AutoScalingGroups"][0]["LaunchTemplate"]["LaunchTemplateId"]
        data = account("ec2").describe_launch_template_versions(LaunchTemplateId=template, Versions=["$Latest"])
        return base64.b64decode(data["LaunchTemplateVersions"][0]["LaunchTemplateData"]["UserData"]).decode()

    return of


@pytest.fixture
def machine(tmp_path: Path, moto_url: str) -> Iterator[Callable[[str], Instance]]:
    made: list[Instance] = []

    def make(script: str) -> Instance:
        made.append(Instance(tmp_path / "machine", script, moto_url))
        return made[-1]

    yield make
    for each in made:
        each.end()


def test_an_api_instance_serves_and_goes_only_with_an_empty_outbox(
    user_data: Callable[[str], str], machine: Callable[[str], Instance], account: Clients, postgres_url: str
) -> None:
    instance = machine(user_data("api"))
    plain_url = make_url(postgres_url).update_query_dict({"sslmode": "disable"}).render_as_string(hide_password=False)
    engine = connect(postgres_url)
    migrate(engine)
    with engine.begin() as connection:
        key = keys.create(connection, "me", ["predict"])
    outputs = Stacks(account("cloudformation")).outputs("moderation-test-data")
    account("secretsmanager").put_secret_value(SecretId=outputs["ApiUrl"], SecretString=plain_url)
    seed(LocalRegistry(instance.root / "srv/registry"), "production")

    booted = instance.boot()
    assert booted.returncode == 0, booted.stdout + (instance.root / "moderation.log").read_text()
    assert [call for call in instance.calls() if call.startswith("cfn-signal")] == [
        f"cfn-signal --exit-code 0 --stack moderation-test-api --resource Instances --region {REGION}"
    ]
    answered = httpx.post(
        f"http://127.0.0.1:{instance.port}/predict",
        json={"comment_text": "You are disgusting."},
        headers={"X-API-Key": key},
        trust_env=False,
    )
    assert answered.status_code == 200
    assert answered.json()["decision"] != "allow"
    secret = instance.root / "run/moderation/MODERATION_DATABASE_URL"
    assert (secret.read_text().strip(), oct(secret.stat().st_mode)[-3:]) == (plain_url, "600")
    assert "mkfs.xfs -q /dev/sdf" in instance.calls()
    figures = httpx.get(f"http://127.0.0.1:{instance.private}/metrics", trust_env=False).text
    answered_names = {line.split()[0] for line in figures.splitlines() if not line.startswith("#")}
    assert {*WELL} - {"moderation_shadow_up"} <= answered_names  # that one is there with a candidate

    (instance.root / "lifecycle").write_text("Terminated")
    calls = _wait_for(instance, "aws autoscaling complete-lifecycle-action")
    order = [next(at for at, call in enumerate(calls) if call.startswith(what)) for what in (
        "docker stop", "aws ec2 modify-instance-attribute", "aws autoscaling complete-lifecycle-action")]  # fmt: skip
    assert order == sorted(order)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM predictions")).scalar_one() == 1
    engine.dispose()
    streams = account("logs").get_log_events(logGroupName="/moderation/test/api", logStreamName=f"{INSTANCE}/care")
    said = {event["message"].split()[0]: event["message"] for event in streams["events"]}
    assert set(said) == {"disk_used_percent", "outbox_rows", "pages", "tickets"}
    assert {"pages 0 none", "tickets 0 none"} <= {event["message"] for event in streams["events"]}


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A PostgreSQL over TLS: its URL, and the folder with its certificate and another."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("server", "other"):
        make_certificate(folder, name)
    with own_cluster(binaries()) as cluster:
        migrated = connect(cluster.url)
        migrate(migrated)
        migrated.dispose()
        cluster.stop()
        port = start_with_tls(cluster, folder)
        yield f"postgresql+psycopg2://postgres@127.0.0.1:{port}/postgres", folder


@pytest.mark.parametrize(("certificate", "code"), [("server", 0), ("other", 1)])
def test_an_instance_talks_to_no_database_but_that_whose_certificate_it_was_given(
    user_data: Callable[[str], str],
    machine: Callable[[str], Instance],
    account: Clients,
    tls: tuple[str, Path],
    certificate: str,
    code: int,
) -> None:
    url, folder = tls
    outputs = Stacks(account("cloudformation")).outputs("moderation-test-data")
    pem = (folder / f"{certificate}.pem").read_text()
    for output, value in (("ApiUrl", url), ("DatabaseCaSecret", pem)):
        account("secretsmanager").put_secret_value(SecretId=outputs[output], SecretString=value)
    instance = machine(user_data("api"))
    if code:
        instance.script = instance.script.replace("seq 120", "seq 8").replace("sleep 5", "sleep 1")
    seed(LocalRegistry(instance.root / "srv/registry"), "production")
    booted = instance.boot()
    log = (instance.root / "moderation.log").read_text()
    assert booted.returncode == code, booted.stdout + log
    assert ("certificate verify failed" in log) == bool(code)


def test_an_instance_whose_outbox_is_not_empty_waits(
    user_data: Callable[[str], str], machine: Callable[[str], Instance]
) -> None:
    instance = machine(user_data("api"))
    outbox = instance.root / "var/lib/moderation/outbox.db"
    outbox.parent.mkdir(parents=True)
    with sqlite3.connect(outbox) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE outbox (seq INTEGER PRIMARY KEY)")
        connection.execute("CREATE TABLE refused (id TEXT)")
        connection.execute("INSERT INTO outbox VALUES (1)")
        connection.execute("INSERT INTO refused VALUES ('1')")
    _without_container(instance)
    assert instance.boot().returncode == 0
    (instance.root / "lifecycle").write_text("Terminated")
    _wait_for(instance, "aws autoscaling record-lifecycle-action-heartbeat")
    assert not [call for call in instance.calls() if "complete-lifecycle-action" in call]
    with sqlite3.connect(outbox) as connection:
        connection.execute("DELETE FROM outbox")
    calls = _wait_for(instance, "aws autoscaling complete-lifecycle-action")
    # What the database refused is nowhere else: the volume stays.
    assert not [call for call in calls if "modify-instance-attribute" in call]


def test_a_server_that_hangs_is_an_alert_and_is_started_anew(
    user_data: Callable[[str], str], machine: Callable[[str], Instance], account: Clients
) -> None:
    instance = machine(user_data("api"))
    _without_container(instance)
    instance.script = instance.script.replace("deaf=-60", "deaf=0").replace("$deaf -ge 12", "$deaf -ge 3")
    assert instance.boot().returncode == 0
    _wait_for(instance, "systemctl restart moderation")
    streams = account("logs").get_log_events(logGroupName="/moderation/test/api", logStreamName=f"{INSTANCE}/care")
    assert {"pages 1 ApiAway", "tickets 0 none"} <= {event["message"] for event in streams["events"]}


class Care:
    """The part of the instance's script that judges a server's figures, at a time that the test chooses."""

    def __init__(self, script: str, folder: Path) -> None:
        found = re.search(r"(?s)( *alerts\(\) \{.*?\n *\}\n *named\(\) \{.*?\n *\}\n)", script)
        assert found
        self._functions = found[1].replace("/run/moderation-care", str(folder / "seen"))

    def says(self, at_s: int, **figures: str) -> list[str]:
        """Return the two lines of a server with ``figures`` that are not those of one that is well."""
        said = {**WELL, **{f"moderation_{name}": value for name, value in figures.items()}}
        body = "".join(f"# TYPE {name} gauge\n{name} {value}\n" for name, value in said.items())
        head = f"set -euo pipefail\ncurl() {{ cat; }}\ndate() {{ echo {1_800_000_000 + at_s}; }}\n"
        script = f'{head}{self._functions}\non=$(alerts)\nnamed page "$on"\nnamed ticket "$on"'
        done = subprocess.run(["bash", "-c", script], input=body, text=True, capture_output=True, check=True)
        return done.stdout.splitlines()


@pytest.fixture
def care(user_data: Callable[[str], str], tmp_path: Path) -> Care:
    return Care(user_data("api"), tmp_path)


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({}, ["pages 0 none", "tickets 0 none"]),
        ({"database_up": "0.0"}, ["pages 1 DatabaseAway", "tickets 0 none"]),
        ({"outbox_up": "0.0"}, ["pages 1 OutboxBroken", "tickets 0 none"]),
        ({"outbox_oldest_seconds": "301.5"}, ["pages 0 none", "tickets 1 OutboxBehind"]),
        ({"registry_up": "0.0"}, ["pages 0 none", "tickets 1 RegistryAway"]),
        ({"keys_age_seconds": "3601.0"}, ["pages 0 none", "tickets 1 KeysOld"]),
        ({"refused_rows_total": "2.0"}, ["pages 0 none", "tickets 1 RowsRefused"]),
        ({"refused_versions_total": "1.0"}, ["pages 0 none", "tickets 1 VersionRefused"]),
        ({"shadow_up": "0.0"}, ["pages 0 none", "tickets 1 CandidateAway"]),
        (
            {"database_up": "0.0", "outbox_up": "0.0", "outbox_oldest_seconds": "1e+06", "registry_up": "0.0"},
            ["pages 2 DatabaseAway/OutboxBroken", "tickets 2 OutboxBehind/RegistryAway"],
        ),
    ],
)
def test_what_a_server_says_of_itself_becomes_an_alert(care: Care, figures: dict[str, str], said: list[str]) -> None:
    """The names are those of the runbook's headings, and pages are what pages are in Prometheus's rules."""
    assert care.says(0, **figures) == said
    severities = {
        rule["alert"]: rule["labels"]["severity"]
        for group in yaml.safe_load((ROOT / "docker/prometheus/alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    }
    for line in said:
        kind, _, names = line.split()
        expected = {} if names == "none" else dict.fromkeys(names.split("/"), kind.removesuffix("s"))
        assert expected.items() <= severities.items()


def test_what_was_refused_once_is_an_alert_for_an_hour_and_again_when_there_is_more(care: Care) -> None:
    well, refused = "tickets 0 none", "tickets 1 RowsRefused"
    seen = [(0, "0.0", well), (60, "2.0", refused), (3600, "2.0", refused), (3700, "2.0", well), (7200, "2.0", well)]
    more = [(7260, "3.0", refused), (12000, "3.0", well)]
    # It starts anew, at 0; that is none, and the same number again is another row.
    again = [(12060, "0.0", well), (12120, "3.0", refused), (20000, "3.0", well), (20060, "1.0", refused)]
    for at_s, value, said in (*seen, *more, *again):
        assert (at_s, care.says(at_s, refused_rows_total=value)[1]) == (at_s, said)
    assert care.says(20120, refused_rows_total="1.0", refused_versions_total="1.0")[1] == (
        "tickets 2 RowsRefused/VersionRefused"
    )


def test_an_instance_that_never_served_holds_nobody_up(
    user_data: Callable[[str], str], machine: Callable[[str], Instance]
) -> None:
    instance = machine(user_data("api"))
    _without_container(instance)
    assert instance.boot().returncode == 0
    (instance.root / "lifecycle").write_text("Terminated")
    calls = _wait_for(instance, "aws autoscaling complete-lifecycle-action")
    assert not [call for call in calls if "record-lifecycle-action-heartbeat" in call]


def _without_container(instance: Instance) -> None:
    """Let something sleep in the container's place."""
    start = "#!/bin/bash\nexec sleep 1000\n"
    instance.script = re.sub(r"(?s)(lib/moderation/start <<'END'\n).*?(END\n)", rf"\1{start}\2", instance.script)
    instance.script = instance.script.replace(
        f"ExecStop={instance.root}/usr/bin/docker stop --time 120 moderation",
        f"ExecStop=/usr/bin/pkill --pidfile {instance.root}/moderation.pid",
    )
    instance.script = instance.script.partition("for _ in $(seq 120)")[0].replace("answered=1", "answered=0")


@pytest.mark.parametrize("service", ["moderator", "monitor"])
def test_the_apps_get_their_own_settings_and_secrets_only(user_data: Callable[[str], str], service: str) -> None:
    script = user_data(service)
    assert f"/moderation-{service}:{FIRST}" in script
    words = dict(re.findall(r"(\w+)=(arn:aws:secretsmanager:\S+?)[\s\"]", script))
    own = {"moderator": {"MODERATION_API_KEY"}, "monitor": {"MODERATION_DATABASE_URL", "DATABASE_CA"}}
    assert set(words) == own[service]
    assert "if [ none != none ]" in script  # neither a data volume nor the registry's folder


def test_a_container_that_does_not_answer_is_signalled(
    user_data: Callable[[str], str], machine: Callable[[str], Instance]
) -> None:
    instance = machine(user_data("monitor"))
    instance.script = instance.script.replace("seq 120", "seq 2").replace("sleep 5", "sleep 0.1")
    (instance.root / "shims/docker").write_text("#!/bin/sh\nexit 1\n")
    booted = instance.boot()
    assert booted.returncode == 1
    assert "the container did not answer within ten minutes" in booted.stdout
    assert [call for call in instance.calls() if call.startswith("cfn-signal --exit-code 1")]


def _wait_for(instance: Instance, call: str) -> list[str]:
    until = time.monotonic() + 60
    while not any(it.startswith(call) for it in instance.calls()):
        assert time.monotonic() < until, "\n".join(instance.calls()[-20:])
        time.sleep(0.1)
    return instance.calls()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
