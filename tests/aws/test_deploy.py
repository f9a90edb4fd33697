"""A deployment from end to end: the stacks in moto, tasks and the load balancer's opinion by hand-written fakes."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import deploy
import pytest
from deploy import Deployment, Environment
from images import push_images, release_of
from stacks import DeploymentError, Stacks, State

from tests.aws.conftest import REGION, Clients
from tests.aws.fakes import Balancers, Deleting, Repositories, Tasks

VALUES = {
    "ApiHost": "api.example.org",
    "ModeratorHost": "moderator.example.org",
    "MonitorHost": "monitor.example.org",
    "PeopleCidr": "203.0.113.0/24",
    "Ami": "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64",
}
FIRST, SECOND = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


class World:
    """One account, and what people and the load balancer say in it."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        certificate = clients("acm").request_certificate(DomainName="*.example.org")["CertificateArn"]
        self.values = {**VALUES, "CertificateArn": certificate}
        self.tasks = Tasks()
        self.cloudformation: Any = clients("cloudformation")
        self.sick: set[str] = set()
        self.questions: list[str] = []
        self.agrees = True

    def client(self, service: str) -> Any:
        if service == "ecs":
            return self.tasks
        if service == "elbv2":
            return Balancers(lambda group: not any(name in group.lower() for name in self.sick))
        return self.cloudformation if service == "cloudformation" else self._clients(service)

    def deployment(self, dry_run: bool = False, **values: str) -> Deployment:
        environment = Environment("test", REGION, {**self.values, **values})
        return Deployment(environment, self.client, self._confirm, dry_run, poll_s=0)

    def deploy(self, release: str, **values: str) -> None:
        deployment = self.deployment(**values)
        deployment.layers(release)
        deployment.prepare()
        for name in deploy.SERVICES:
            deployment.service(name, release)

    def stacks(self) -> dict[str, str]:
        found = self._clients("cloudformation").describe_stacks()["Stacks"]
        return {it["StackName"]: it["StackStatus"] for it in found}

    def release(self, service: str) -> str:
        found = self._clients("cloudformation").describe_stacks(StackName=f"moderation-test-{service}")["Stacks"][0]
        return {it["ParameterKey"]: it["ParameterValue"] for it in found["Parameters"]}["Release"]

    def _confirm(self, question: str) -> bool:
        self.questions.append(question)
        return self.agrees


@pytest.fixture
def world(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(deploy, "HEALTHY_WITHIN_S", 0.0)
    return World(clients)


def test_everything_is_made_in_order_each_change_is_asked_for_and_the_next_release_replaces_it(world: World) -> None:
    world.deploy(FIRST)
    names = ["network", "data", "tasks", "api", "moderator", "monitor"]
    assert world.questions == [f"Do this to moderation-test-{name}?" for name in names]
    assert set(world.stacks()) == {f"moderation-test-{name}" for name in names}
    assert [(family, words[0]) for family, words in world.tasks.ran] == [
        ("moderation-test-owner", "migrate"),
        ("moderation-test-owner", "roles"),
        ("moderation-test-tools", "registry"),
        ("moderation-test-tools", "keys"),
    ]
    assert all(network["assignPublicIp"] == "DISABLED" for network in world.tasks.networks)
    world.deploy(SECOND)
    assert {world.release(name) for name in deploy.SERVICES} == {SECOND}


@pytest.mark.full
def test_nothing_is_asked_when_nothing_changes(world: World) -> None:
    world.deploy(FIRST)
    world.questions.clear()
    world.deploy(FIRST)
    assert world.questions == []


@pytest.mark.full
def test_a_dry_run_changes_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    deployment = world.deployment(dry_run=True)
    deployment.layers(FIRST)
    deployment.prepare()
    deployment.service("api", FIRST)
    assert world.stacks() == {}
    world.deploy(FIRST)
    ran, asked = len(world.tasks.ran), len(world.questions)
    capsys.readouterr()
    deployment = world.deployment(dry_run=True, ApiDataGiB="40")
    deployment.layers(SECOND)
    deployment.prepare()
    deployment.service("api", SECOND)
    said = capsys.readouterr().out
    assert "moderation-test-api: " in said
    assert "would run: moderation migrate" in said
    assert (len(world.tasks.ran), len(world.questions)) == (ran, asked)
    assert world.release("api") == FIRST


def test_who_says_no_stops_before_the_change(world: World) -> None:
    world.agrees = False
    with pytest.raises(DeploymentError, match="stopped before moderation-test-network"):
        world.deploy(FIRST)
    assert world.stacks() == {}


@pytest.mark.parametrize(("code", "what"), [(1, "exit code 1"), (None, "CannotPullContainerError")])
def test_a_failed_migration_leaves_the_services_alone(world: World, code: int | None, what: str) -> None:
    world.deploy(FIRST)
    world.tasks.codes = {"migrate": code}
    with pytest.raises(DeploymentError, match=rf"`moderation migrate` failed \({what}\)"):
        world.deploy(SECOND)
    assert {world.release(name) for name in deploy.SERVICES} == {FIRST}
    assert world.tasks.ran[-1][1] == ["migrate"]


def test_a_service_that_is_not_well_goes_back(world: World) -> None:
    world.deploy(FIRST)
    world.sick = {"target"}
    with pytest.raises(DeploymentError, match="moderation-test-api was not well and is as it was before"):
        world.deploy(SECOND)
    assert {name: world.release(name) for name in deploy.SERVICES} == dict.fromkeys(deploy.SERVICES, FIRST)


@pytest.mark.full
def test_a_new_service_that_is_not_well_is_taken_away(world: World) -> None:
    world.sick = {"target"}
    with pytest.raises(DeploymentError, match="moderation-test-api was not well"):
        world.deploy(FIRST)
    assert "moderation-test-api" not in world.stacks()


@pytest.mark.full
def test_destroying_asks_unlocks_the_database_and_deletes_from_the_top(world: World) -> None:
    world.deploy(FIRST)
    world.agrees = False
    with pytest.raises(DeploymentError, match="nothing was deleted"):
        world.deployment().destroy()
    world.agrees = True
    world.cloudformation = cloudformation = Deleting(world.client("cloudformation"))
    world.deployment().destroy()
    names = ["monitor", "moderator", "api", "tasks", "data", "network"]
    assert cloudformation.deleted == [f"moderation-test-{name}" for name in names]
    ((stack, parameters),) = cloudformation.changed
    assert (stack, parameters["DatabaseProtection"]) == ("moderation-test-data", "false")


def test_a_missing_parameter_is_named_with_its_meaning(world: World) -> None:
    del world.values["PeopleCidr"]
    with pytest.raises(DeploymentError, match=r"test\.yaml lacks PeopleCidr: Who may open the two apps"):
        world.deploy(FIRST)


def test_a_command_needs_an_environment(world: World) -> None:
    with pytest.raises(DeploymentError, match="test is not deployed"):
        world.deployment().run("tools", ["keys", "list"])


def test_another_deployment_under_way_is_said() -> None:
    with pytest.raises(DeploymentError, match="x is UPDATE_IN_PROGRESS: another deployment is under way"):
        Stacks(InProgress(), poll_s=0).plan("x", State("", {}), {})


class InProgress:
    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - as boto3 names it
        return {"Stacks": [{"StackName": StackName, "StackStatus": "UPDATE_IN_PROGRESS"}]}


def test_images_are_built_and_pushed_once() -> None:
    ran: list[tuple[list[str], str | None]] = []
    ecr = Repositories({("moderation-api", FIRST)})

    def run(command: Sequence[str], stdin: str | None) -> None:
        ran.append((list(command), stdin))

    push_images(ecr, ["api", "monitor"], FIRST, run)
    tag = f"1.dkr.ecr.example/moderation-monitor:{FIRST}"
    built = ["env", "IMAGE_PREFIX=1.dkr.ecr.example/moderation-", f"IMAGE_TAG={FIRST}", "docker/build.sh", "monitor"]
    assert ran == [
        (["docker", "login", "--username", "AWS", "--password-stdin", "1.dkr.ecr.example"], "secret"),
        (built, None),
        (["docker", "push", "--quiet", tag], None),
    ]


def test_a_release_is_copied_from_where_its_images_were_built_and_listed() -> None:
    ran: list[list[str]] = []
    push_images(
        Repositories(set()), ["api"], FIRST, lambda command, _: ran.append([*command]), False, "ghcr.io/example"
    )
    tag, origin = f"1.dkr.ecr.example/moderation-api:{FIRST}", f"ghcr.io/example/moderation-api:{FIRST}"
    assert ran[1:] == [["docker", "buildx", "imagetools", "create", "--tag", tag, origin]]


def test_a_release_of_which_images_are_missing_is_not_built_from_what_is_checked_out() -> None:
    def run(command: Sequence[str], stdin: str | None) -> None:
        raise AssertionError(command)

    ecr = Repositories({("moderation-api", FIRST)})
    push_images(ecr, ["api"], FIRST, run, build=False)
    with pytest.raises(DeploymentError, match=f"no image of {FIRST} for monitor in ECR"):
        push_images(ecr, ["api", "monitor"], FIRST, run, build=False)


def test_what_differs_from_the_commit_has_no_name(tmp_path: Path) -> None:
    for words in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "--message", "First"]):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words], cwd=tmp_path, check=True)
    assert len(release_of(tmp_path)) == 12
    (tmp_path / "new").touch()
    with pytest.raises(DeploymentError, match="1 files differ from the commit"):
        release_of(tmp_path)


def test_the_command_line_helps_and_says_what_is_wrong_in_one_line() -> None:
    script = [sys.executable, str(deploy.HERE / "deploy.py")]
    helped = subprocess.run([*script, "deploy", "--help"], capture_output=True, text=True, timeout=60, check=False)
    assert "--dry-run" in helped.stdout
    failed = subprocess.run([*script, "deploy", "nowhere"], capture_output=True, text=True, timeout=60, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: there is no ")
    assert failed.stderr.count("\n") == 1
