"""A deployment from end to end: the stacks in moto, tasks and the load balancer's opinion by hand-written fakes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import deploy
import pytest
from deploy import Deployment, Environment
from stacks import Change, DeploymentError, Stacks, State

from tests.aws.conftest import REGION, Clients
from tests.aws.fakes import Balancers, Deleting, Failing, Remains, Tasks

VALUES = {
    "ApiHost": "api.example.org",
    "ModeratorHost": "moderator.example.org",
    "MonitorHost": "monitor.example.org",
    "PeopleCidr": "203.0.113.0/24",
    "DatabaseCa": "-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n",
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


def test_roles_get_the_permissions_boundary_that_the_file_names(world: World, clients: Clients) -> None:
    boundary = "arn:aws:iam::123456789012:policy/boundary"
    world.deploy(FIRST, PermissionsBoundary=boundary)
    iam = clients("iam")
    roles = [iam.get_role(RoleName=it["RoleName"])["Role"] for it in iam.list_roles()["Roles"]]
    assert len(roles) == 7
    assert {it["PermissionsBoundary"]["PermissionsBoundaryArn"] for it in roles} == {boundary}


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
    # What runs by the clock must not run the new release on the old schema.
    assert {world.release(name) for name in ("tasks", *deploy.SERVICES)} == {FIRST}
    assert world.tasks.ran[-1][1] == ["migrate"]


@pytest.mark.parametrize(
    ("name", "others"), [("api", "tasks"), pytest.param("moderator", "api and tasks", marks=pytest.mark.full)]
)
def test_a_service_that_is_not_well_goes_back_and_what_was_replaced_before_it(
    world: World, name: str, others: str
) -> None:
    world.deploy(FIRST)
    targets = Stacks(world.cloudformation).outputs("moderation-test-network")[f"{name.title()}Targets"]
    world.sick = {targets.partition(",")[0].lower()}
    message = f"moderation-test-{name} was not well and is as it was before; .*; {others} went back too"
    with pytest.raises(DeploymentError, match=message):
        world.deploy(SECOND)
    parts = ("tasks", *deploy.SERVICES)
    assert {part: world.release(part) for part in parts} == dict.fromkeys(parts, FIRST)


@pytest.mark.full
def test_a_service_that_cloudformation_cannot_make_takes_the_tasks_back(world: World) -> None:
    world.deploy(FIRST)
    world.cloudformation = Failing(world.client("cloudformation"), "moderation-test-api")
    with pytest.raises(DeploymentError, match=r"api is UPDATE_ROLLBACK_COMPLETE: .*; tasks went back too"):
        world.deploy(SECOND)
    assert {world.release(name) for name in ("tasks", "moderator")} == {FIRST}


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


def test_a_secret_is_handed_to_one_command_and_then_gone(world: World, tmp_path: Path) -> None:
    world.deploy(FIRST)
    file = tmp_path / "password"
    file.write_text("correct horse battery\n")
    secrets, seen = world.client("secretsmanager"), []
    stages = ("AWSCURRENT", "AWSPREVIOUS")
    secret = Stacks(world.cloudformation).outputs("moderation-test-data")["Handover"]

    def read() -> list[str]:
        found = [secrets.get_secret_value(SecretId=secret, VersionStage=it) for it in stages]
        return [it["SecretString"] for it in found]

    world.tasks.during = lambda: seen.append(secrets.get_secret_value(SecretId=secret)["SecretString"])
    words = ["reviewers", "add", "ann", "--role", "reviewer", "--password-file", deploy.HANDOVER]
    world.deployment().run("tools", words, file, files=True)
    assert (seen, read()) == (["correct horse battery"], ["empty", "empty"])
    assert world.tasks.variables[-1] == {"EXCHANGE": f"moderation-test-123456789012-{REGION}"}
    assert not any(world.tasks.variables[:-1])  # scheduled tasks and those of a deployment fetch no files
    world.tasks.codes = {"reviewers": 1}
    with pytest.raises(DeploymentError, match="exit code 1"):
        world.deployment().run("tools", words, file)
    assert read() == ["empty", "empty"]
    file.write_text(" ")
    with pytest.raises(DeploymentError, match="password is empty"):
        world.deployment().run("tools", words, file)
    with pytest.raises(DeploymentError, match="owner"):
        world.deployment().run("owner", ["maintain"], file)


def test_with_wandb_tasks_publish_there_and_settings_reach_what_they_are_for(world: World) -> None:
    arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:{}"
    world.deploy(
        FIRST,
        Registry="wandb",
        WandbEntity="team",
        WandbSecretArn=arn.format("viewer"),
        WandbTasksSecretArn=arn.format("member"),
        TextHashKeySecretArn=arn.format("hash"),
        ApiEnvironment="MODERATION_STORE_TEXT=hash MODERATION_ALIAS_POLL_S=60",
        TasksEnvironment="MODERATION_STORE_TEXT=hash",
    )
    definition = world._clients("ecs").describe_task_definition(taskDefinition="moderation-test-tools")
    container = definition["taskDefinition"]["containerDefinitions"][0]
    variables = {it["name"]: it["value"] for it in container["environment"]}
    assert variables["MODERATION_REGISTRY"] == "wandb"
    assert (variables["WANDB_ENTITY"], variables["SETTINGS"]) == ("team", "MODERATION_STORE_TEXT=hash")
    assert "MODERATION_REGISTRY_DIR" not in variables
    secrets = {it["name"]: it["valueFrom"] for it in container["secrets"]}
    assert secrets["WANDB_API_KEY"] == arn.format("member")
    assert secrets["MODERATION_TEXT_HASH_KEY"] == arn.format("hash")
    outputs = Stacks(world.cloudformation).outputs("moderation-test-data")
    assert outputs["ApiSettings"].split()[-2:] == ["MODERATION_STORE_TEXT=hash", "MODERATION_ALIAS_POLL_S=60"]
    assert outputs["ApiSecrets"].split()[2:] == [
        f"WANDB_API_KEY={arn.format('viewer')}",
        f"MODERATION_TEXT_HASH_KEY={arn.format('hash')}",
    ]
    assert outputs["ApiSecretArns"].split(",")[2:] == [arn.format("viewer"), arn.format("hash")]


@pytest.mark.parametrize("status", ["ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"])
def test_what_is_left_of_a_stack_that_never_came_to_be_is_deleted_only_if_somebody_says_so(
    world: World, capsys: pytest.CaptureFixture[str], status: str
) -> None:
    world.cloudformation = cloudformation = Remains(world.client("cloudformation"), "moderation-test-network", status)
    world.deployment(dry_run=True).layers(FIRST)
    assert f"moderation-test-network never came to be ({status})" in capsys.readouterr().out
    assert (cloudformation.deleted, world.questions) == ([], [])
    world.agrees = False
    with pytest.raises(DeploymentError, match="stopped before moderation-test-network"):
        world.deployment().layers(FIRST)
    assert (cloudformation.deleted, world.questions) == ([], ["Delete what is left of moderation-test-network?"])
    world.agrees = True
    world.deployment().layers(FIRST)
    assert cloudformation.deleted == ["moderation-test-network"]
    assert world.stacks()["moderation-test-network"] == "CREATE_COMPLETE"


@pytest.mark.parametrize(("size", "is_enough"), [(30, False), (20, True)])
def test_a_snapshot_that_needs_a_larger_disk_is_said_before_anything_is_made(
    world: World, size: int, is_enough: bool
) -> None:
    rds = world.client("rds")
    rds.create_db_instance(
        DBInstanceIdentifier="old", Engine="postgres", DBInstanceClass="db.t4g.micro", AllocatedStorage=size,
        MasterUsername="moderation_owner", MasterUserPassword="passwordpassword",
    )  # fmt: skip
    rds.create_db_snapshot(DBInstanceIdentifier="old", DBSnapshotIdentifier="last")
    if is_enough:
        world.deployment(dry_run=True, DatabaseSnapshot="last").layers(FIRST)
        return
    with pytest.raises(DeploymentError, match="DatabaseGiB is 20; expected 30 or more, as last has"):
        world.deployment(DatabaseSnapshot="last").layers(FIRST)
    assert world.stacks() == {}


TOPIC = "Resources: {Topic: {Type: 'AWS::SNS::Topic'}}"


def test_a_stack_of_which_nothing_was_made_is_there_to_be_made_or_deleted(clients: Clients) -> None:
    stacks = Stacks(clients("cloudformation"), poll_s=0)
    assert stacks.plan("x", State(TOPIC, {}), {}) is not None
    assert stacks.exists("x")
    assert stacks.state("x") is None
    again = stacks.plan("x", State(TOPIC, {}), {})
    assert again is not None
    assert again.is_new
    stacks.delete("x")
    assert not stacks.exists("x")


class Slow:
    """CloudFormation that says for a while that a stack is still to be reviewed, after it was told to make it."""

    def __init__(self) -> None:
        self.statuses = iter(["REVIEW_IN_PROGRESS", "REVIEW_IN_PROGRESS", "CREATE_IN_PROGRESS", "CREATE_COMPLETE"])

    def execute_change_set(self, **_: str) -> None: ...

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - as boto3 names it
        return {"Stacks": [{"StackName": StackName, "StackStatus": next(self.statuses)}]}


def test_a_stack_that_is_slow_to_begin_is_not_taken_for_gone() -> None:
    client = Slow()
    Stacks(client, poll_s=0).apply(Change("x", "id", True, ()))
    assert list(client.statuses) == []


def test_another_deployment_under_way_is_said() -> None:
    with pytest.raises(DeploymentError, match="x is UPDATE_IN_PROGRESS: another deployment is under way"):
        Stacks(InProgress(), poll_s=0).plan("x", State("", {}), {})


class InProgress:
    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - as boto3 names it
        return {"Stacks": [{"StackName": StackName, "StackStatus": "UPDATE_IN_PROGRESS"}]}


def test_the_command_line_helps_and_says_what_is_wrong_in_one_line() -> None:
    script = [sys.executable, str(deploy.HERE / "deploy.py")]
    helped = subprocess.run([*script, "deploy", "--help"], capture_output=True, text=True, timeout=60, check=False)
    assert "--dry-run" in helped.stdout
    failed = subprocess.run([*script, "deploy", "nowhere"], capture_output=True, text=True, timeout=60, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: there is no ")
    assert failed.stderr.count("\n") == 1
