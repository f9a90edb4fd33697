"""Brings an environment to AWS, runs commands in it, and takes it away: `python docker/aws/deploy.py --help`."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from authority import find_authority
from botocore.exceptions import BotoCoreError, ClientError
from environment import HERE, LAYERS, SERVICES, Environment, parameters, read_environment
from images import keep_images, push_images, release_of
from stacks import Change, DeploymentError, Stacks, State, StoppedError, read_template
from tasks import run_task

IMAGES = ("api", "moderator", "monitor", "tools")
SHARED_IMAGES = "moderation-images"
SECRETS = "/tmp/secrets"  # noqa: S108 - in a container of its own (tasks.yaml)
HANDOVER = f"{SECRETS}/HANDOVER"
PREPARATION = (
    ("owner", ("migrate",)),
    ("owner", ("roles", "--apply", "--account", f"api={SECRETS}/API_DATABASE_URL",
               "--account", f"monitor={SECRETS}/MONITOR_DATABASE_URL",
               "--account", f"tools={SECRETS}/TOOLS_DATABASE_URL")),
    ("tools", ("registry", "seed")),
    ("tools", ("keys", "create", "moderator", "--scope", "predict", "--scope", "feedback",
               "--token-file", f"{SECRETS}/MODERATOR_API_KEY")),
)  # fmt: skip
"""What runs before the services are replaced; each of it can run again."""
HEALTHY_WITHIN_S = 300.0
ROLE_VARIABLE = "AWS_CLOUDFORMATION_ROLE"
"""The role in which CloudFormation makes things (oidc.yaml); without it, the caller's."""


class Deployment:
    """The steps of a deployment, one after the other."""

    def __init__(
        self,
        environment: Environment,
        clients: Callable[[str], Any],
        confirm: Callable[[str], bool],
        dry_run: bool = False,
        poll_s: float = 5.0,
    ) -> None:
        """Use boto3 clients made by ``clients(service)``; ask ``confirm`` before each change."""
        self._environment = environment
        self._clients = clients
        self._confirm = confirm
        self._dry_run = dry_run
        self._poll_s = poll_s
        self._stacks = Stacks(clients("cloudformation"), poll_s=poll_s, role=os.environ.get(ROLE_VARIABLE, ""))
        self._replaced: dict[str, State] = {}
        """What tasks and services were before this deployment, in the order in which it replaced them."""
        self._outputs: dict[str, str] = {}
        for layer in LAYERS:
            self._outputs |= self._stacks.outputs(environment.stack(layer))

    def images(self, release: str, build: bool = True, source: str = "") -> None:
        """Make the repositories, and build and push what is not there yet, or copy it from ``source``, or refuse."""
        self._change(SHARED_IMAGES, self._wanted("images", {}))
        if not self._dry_run:
            push_images(self._clients("ecr"), IMAGES, release, build=build, source=source)
            keep_images(self._clients("ecr"), IMAGES, release, self._environment.name)

    def layers(self, release: str) -> None:
        """Bring network, data and tasks up to date."""
        self._check_snapshot()
        computed = {**self._computed(release), "DatabaseCa": self._database_ca()}
        tasks_before = self._stacks.state(self._environment.stack("tasks"))
        for layer in LAYERS:
            stack = self._environment.stack(layer)
            changed = self._change(stack, self._wanted(layer, computed))
            if changed and layer == "tasks" and tasks_before is not None:
                self._replaced["tasks"] = tasks_before
            self._outputs |= self._stacks.outputs(stack)

    def _check_snapshot(self) -> None:
        """Refuse a disk that is smaller than that of the snapshot from which the database is to be made."""
        name = self._environment.values.get("DatabaseSnapshot")
        if not name or self._stacks.state(self._environment.stack("data")) is not None:
            return
        (found,) = self._clients("rds").describe_db_snapshots(DBSnapshotIdentifier=name)["DBSnapshots"]
        wanted = self._environment.values.get("DatabaseGiB", parameters("data")["DatabaseGiB"]["Default"])
        if int(wanted) < found["AllocatedStorage"]:
            raise DeploymentError(
                f"DatabaseGiB is {wanted}; expected {found['AllocatedStorage']} or more, as {name} has"
            )

    def _database_ca(self) -> str:
        """Return the certificate of who signs the database's: the file's, else the one that RDS names."""
        if given := self._environment.values.get("DatabaseCa"):
            return given
        database = read_template(HERE / "data.yaml")["Resources"]["Database"]["Properties"]
        data = self._stacks.state(self._environment.stack("data"))
        present = data.parameters.get("DatabaseCa", "") if data else ""
        identifier = database["CACertificateIdentifier"]
        return find_authority(self._clients("rds"), self._environment.region, identifier, present)

    def prepare(self) -> None:
        """Migrate the database and make what the services need, each as a task that runs once.

        Raises:
            DeploymentError: one failed; what runs by the clock went back to the release that serves.
        """
        for account, command in PREPARATION:
            if self._dry_run:
                print(f"would run: moderation {' '.join(command)}")
                continue
            try:
                self.run(account, command)
            except DeploymentError as error:
                self._go_back()
                raise DeploymentError(f"{error}; services and scheduled tasks are as they were before") from error

    def run(self, account: str, command: Sequence[str], handover: Path | None = None, files: bool = False) -> None:
        """Run ``moderation COMMAND`` once, as ``owner`` or ``tools``, and show its log.

        ``tools`` finds what ``handover`` holds in /tmp/secrets/HANDOVER, and with ``files`` those of the environment's
        bucket in /tmp/exchange.

        Raises:
            DeploymentError: there is no such environment, ``handover`` cannot be read, or the command failed.
        """
        if "Cluster" not in self._outputs:
            raise DeploymentError(f"{self._environment.name} is not deployed: run `make deploy ENV=...` first")
        is_owner = account == "owner"
        if is_owner and handover is not None:
            raise DeploymentError("nothing is handed over to commands that the owner of the tables runs")
        definition = self._outputs["OwnerTask" if is_owner else "ToolsTask"]
        variables = {"EXCHANGE": self._outputs["Exchange"]} if files and not is_owner else {}
        clients = (self._clients("ecs"), self._clients("logs"))
        with self._handed_over(handover):
            run_task(*clients, self._outputs, definition, account, command, self._poll_s, variables)

    @contextmanager
    def _handed_over(self, file: Path | None) -> Iterator[None]:
        """Let the secret that tasks of ``tools`` get hold what is in ``file``, and afterwards nothing."""
        if file is None:
            yield
            return
        try:
            content = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise DeploymentError(f"{file} cannot be read: {error}") from error
        if not content:
            raise DeploymentError(f"{file} is empty; expected what to hand over")
        secrets, secret = self._clients("secretsmanager"), self._outputs["Handover"]
        secrets.put_secret_value(SecretId=secret, SecretString=content)
        try:
            yield
        finally:
            for _ in range(2):  # the value before the last one can still be read, as AWSPREVIOUS
                secrets.put_secret_value(SecretId=secret, SecretString="empty")

    def service(self, name: str, release: str) -> None:
        """Replace the instances of a service; go back if the load balancer does not find the new ones well.

        Then also tasks and services go back that this deployment replaced before: one release serves, not two.

        Raises:
            DeploymentError: CloudFormation or this went back to what was there before.
        """
        stack = self._environment.stack(name)
        before = self._stacks.state(stack)
        computed = {**self._computed(release), **SERVICES[name], "Service": name}
        try:
            if not self._change(stack, self._wanted("service", computed, prefix=name.title())):
                return
        except StoppedError:
            raise
        except DeploymentError as error:
            raise DeploymentError(f"{error}{self._go_back()}") from error
        if self._is_well(name):
            if before is not None:
                self._replaced[name] = before
            return
        print(f"{stack}: the load balancer does not find it well within {HEALTHY_WITHIN_S:.0f} s; going back")
        if before is None:
            self._stacks.delete(stack)
        else:
            self._remake(name, before)
        back = self._go_back()
        raise DeploymentError(f"{stack} was not well and is as it was before; its log group says why{back}")

    def destroy(self) -> None:
        """Delete the environment; what holds data that may be nowhere else stays, and is said."""
        kept = "its database and its bucket included? A last snapshot of the database is kept"
        if not self._confirm(f"Delete {self._environment.name}, {kept}"):
            raise DeploymentError("nothing was deleted")
        for part in (*reversed(SERVICES), "tasks"):
            self._delete(part)
        if bucket := self._outputs.get("Exchange"):
            self._empty(bucket)
        data = self._environment.stack("data")
        if (state := self._stacks.state(data)) is not None:
            self._remake("data", State(state.template, {**state.parameters, "DatabaseProtection": "false"}))
        for part in ("data", "network"):
            self._delete(part)
        print(
            "Kept: the database's last snapshot, the registry's file system, image repositories, volumes whose outbox "
            "was not empty; `docs/aws.md` says how to delete them"
        )

    def _go_back(self) -> str:
        """Make tasks and services what they were before this deployment, the last first; return what to say of it."""
        parts = [*reversed(self._replaced)]
        for part in parts:
            self._remake(part, self._replaced.pop(part))
        return f"; {' and '.join(parts)} went back too" if parts else ""

    def _remake(self, part: str, state: State) -> None:
        """Make a stack from ``state``, which needs no question."""
        if change := self._stacks.plan(self._environment.stack(part), state, self._tags()):
            self._stacks.apply(change)

    def _empty(self, bucket: str) -> None:
        client = self._clients("s3")
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            if keys := [{"Key": it["Key"]} for it in page.get("Contents", ())]:
                client.delete_objects(Bucket=bucket, Delete={"Objects": keys})

    def _delete(self, part: str) -> None:
        stack = self._environment.stack(part)
        if self._stacks.exists(stack):
            self._stacks.delete(stack)

    def _change(self, stack: str, wanted: State | None) -> bool:
        """Show what would change, ask, do it; return whether anything was done."""
        if wanted is None:
            return False
        if status := self._stacks.remains(stack):
            print(f"{stack} never came to be ({status}); what is left of it has to be deleted before it can be made")
            if self._dry_run:
                return False
            if not self._confirm(f"Delete what is left of {stack}?"):
                raise StoppedError(f"stopped before {stack}; what was done before it stays")
            self._stacks.delete(stack)
        change = self._stacks.plan(stack, wanted, self._tags())
        if change is None:
            print(f"{stack}: no change")
            return False
        _show(change)
        if self._dry_run:
            self._stacks.discard(change)
            return False
        if not self._confirm(f"Do this to {stack}?"):
            self._stacks.discard(change)
            raise StoppedError(f"stopped before {stack}; what was done before it stays")
        self._stacks.apply(change)
        return True

    def _wanted(self, template: str, computed: Mapping[str, str], prefix: str = "") -> State | None:
        """Return what a stack is to be made from; None: a dry run cannot know what an earlier stack would say."""
        body = (HERE / f"{template}.yaml").read_text(encoding="utf-8")
        sources = (computed, self._environment.values, self._outputs)
        given: dict[str, str] = {}
        for name, declared in parameters(template).items():
            found = [it[key] for key in dict.fromkeys((f"{prefix}{name}", name)) for it in sources if key in it]
            if found:
                given[name] = found[0]
            elif "Default" not in declared:
                if self._dry_run and "stack" in declared["Description"]:
                    count = len(read_template(HERE / f"{template}.yaml")["Resources"])
                    print(f"{prefix or template}: up to {count} resources would be made; {name} is not known yet")
                    return None
                raise DeploymentError(f"{self._environment.name}.yaml lacks {name}: {declared['Description']}")
        return State(body, given)

    def _computed(self, release: str) -> dict[str, str]:
        """Return the parameters that follow from something else."""
        lists = self._clients("ec2").describe_managed_prefix_lists(
            Filters=[{"Name": "prefix-list-name", "Values": [f"com.amazonaws.{self._environment.region}.s3"]}]
        )["PrefixLists"]
        signs_in = bool(self._environment.values.get("OidcMetadataUrl"))
        return {
            "Environment": self._environment.name,
            "Release": release,
            "S3PrefixList": lists[0]["PrefixListId"],
            "IdentityProvider": "yes" if signs_in else "no",
        }

    def _tags(self) -> dict[str, str]:
        return {"moderation:environment": self._environment.name}

    def _is_well(self, name: str) -> bool:
        client = self._clients("elbv2")
        groups = self._outputs[f"{name.title()}Targets"].split(",")
        wanted = int(self._environment.values.get(f"{name.title()}MinInstances", "1"))
        until = time.monotonic() + HEALTHY_WITHIN_S
        while True:
            healths = [client.describe_target_health(TargetGroupArn=it)["TargetHealthDescriptions"] for it in groups]
            if all(sum(it["TargetHealth"]["State"] == "healthy" for it in health) >= wanted for health in healths):
                return True
            if time.monotonic() > until:
                return False
            time.sleep(self._poll_s)


def _show(change: Change) -> None:
    print(f"\n{change.stack}{' (new)' if change.is_new else ''}: {len(change.lines)} changes")
    for line in change.lines:
        print(f"  {line}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="An environment on AWS; docs/aws.md explains.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, about in (
        ("deploy", "build, push, show what would change, migrate, replace the services"),
        ("destroy", "delete the environment; a last snapshot of the database stays"),
        ("run", "run a `moderation` command once: run ENV keys list"),
    ):
        command = commands.add_parser(name, help=about, description=about)
        command.add_argument("environment", help="name of a file in docker/aws/environments, without .yaml")
        if name == "run":
            command.add_argument("--owner", action="store_true", help="as the owner of the tables (migrate, maintain)")
            command.add_argument("--handover", type=Path, metavar="FILE", help="the command finds it in " + HANDOVER)
            command.add_argument("words", nargs=argparse.REMAINDER, help="what follows `moderation`")
            continue
        command.add_argument("--yes", action="store_true", help="do not ask")
        if name == "deploy":
            command.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
            command.add_argument("--release", help="a commit that was built before; the one checked out if not given")
            command.add_argument("--images-from", default="", help="registry and owner to copy its images from")
            command.add_argument("--service", choices=[*SERVICES], action="append", help="this one only")
    try:
        _run(parser.parse_args(arguments))
    except (DeploymentError, BotoCoreError, ClientError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")


def _run(options: argparse.Namespace) -> None:
    environment = read_environment(options.environment)
    session = boto3.Session(region_name=environment.region)
    always = getattr(options, "yes", False)
    deployment = Deployment(
        environment, session.client, lambda question: always or _ask(question), getattr(options, "dry_run", False)
    )
    if options.command == "destroy":
        deployment.destroy()
    elif options.command == "run":
        account = "owner" if options.owner else "tools"
        deployment.run(account, options.words, options.handover, files=True)
    else:
        release = options.release or release_of(HERE.parents[1])
        deployment.images(release, build=not options.release, source=options.images_from)
        deployment.layers(release)
        deployment.prepare()
        for name in options.service or SERVICES:
            deployment.service(name, release)


def _ask(question: str) -> bool:
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


if __name__ == "__main__":
    main()
