"""Brings an environment to AWS, runs commands in it, and takes it away: `python docker/aws/deploy.py --help`."""

import argparse
import difflib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore.exceptions import BotoCoreError, ClientError
from images import push_images, release_of
from stacks import Change, DeploymentError, Stacks, State, read_template
from tasks import run_task

HERE = Path(__file__).resolve().parent
IMAGES = ("api", "moderator", "monitor", "tools")
SHARED_IMAGES = "moderation-images"
LAYERS = ("network", "data", "tasks")
"""Stacks below the services, each made from the template of its name, in the order in which they are made."""
SERVICES = {
    "api": {"Port": "8001", "HealthPath": "/ready"},
    "moderator": {"Port": "8501", "HealthPath": "/_stcore/health"},
    "monitor": {"Port": "8502", "HealthPath": "/_stcore/health"},
}
SECRETS = "/tmp/secrets"  # noqa: S108 - in a container of its own (tasks.yaml)
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


@dataclass(frozen=True)
class Environment:
    """One environment: its name, its region, and what its file says of the templates' parameters."""

    name: str
    region: str
    values: Mapping[str, str]

    def stack(self, part: str) -> str:
        """Return the name of the stack of ``part``."""
        return f"moderation-{self.name}-{part}"


def read_environment(name: str, folder: Path = HERE / "environments") -> Environment:
    """Read ``<folder>/<name>.yaml``.

    Raises:
        DeploymentError: there is no such file, or it names a parameter that no template has.
    """
    path = folder / f"{name}.yaml"
    if not path.exists():
        raise DeploymentError(f"there is no {path}; copy {folder / 'example.yaml'} and fill it in")
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict) or "Region" not in values:
        raise DeploymentError(f"{path} must be lines `Name: value`, Region among them")
    known = known_parameters()
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            raise DeploymentError(f"{path}: unknown parameter {key}" + (f"; did you mean {near[0]}?" if near else ""))
    texts = {key: _text(value) for key, value in values.items()}
    return Environment(name, texts.pop("Region"), texts)


def known_parameters() -> set[str]:
    """Return what an environment's file may say."""
    known = {"Region"}
    for layer in LAYERS:
        known |= set(_parameters(layer))
    return known | {f"{service.title()}{name}" for service in SERVICES for name in _parameters("service")}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parameters(template: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read_template(HERE / f"{template}.yaml").get("Parameters", {})
    return found


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
        self._outputs: dict[str, str] = {}
        for layer in LAYERS:
            self._outputs |= self._stacks.outputs(environment.stack(layer))

    def images(self, release: str, build: bool = True, source: str = "") -> None:
        """Make the repositories, and build and push what is not there yet, or copy it from ``source``, or refuse."""
        self._change(SHARED_IMAGES, self._wanted("images", {}))
        if not self._dry_run:
            push_images(self._clients("ecr"), IMAGES, release, build=build, source=source)

    def layers(self, release: str) -> None:
        """Bring network, data and tasks up to date."""
        for layer in LAYERS:
            stack = self._environment.stack(layer)
            self._change(stack, self._wanted(layer, self._computed(release)))
            self._outputs |= self._stacks.outputs(stack)

    def prepare(self) -> None:
        """Migrate the database and make what the services need, each as a task that runs once."""
        for account, command in PREPARATION:
            if self._dry_run:
                print(f"would run: moderation {' '.join(command)}")
            else:
                self.run(account, command)

    def run(self, account: str, command: Sequence[str]) -> None:
        """Run ``moderation COMMAND`` once, as ``owner`` or ``tools``, and show its log.

        Raises:
            DeploymentError: there is no such environment, or the command failed.
        """
        if "Cluster" not in self._outputs:
            raise DeploymentError(f"{self._environment.name} is not deployed: run `make deploy ENV=...` first")
        definition = self._outputs["OwnerTask" if account == "owner" else "ToolsTask"]
        run_task(self._clients("ecs"), self._clients("logs"), self._outputs, definition, account, command, self._poll_s)

    def service(self, name: str, release: str) -> None:
        """Replace the instances of a service; go back if the load balancer does not find the new ones well.

        Raises:
            DeploymentError: CloudFormation or this went back to what was there before.
        """
        stack = self._environment.stack(name)
        before = self._stacks.state(stack)
        computed = {**self._computed(release), **SERVICES[name], "Service": name}
        if not self._change(stack, self._wanted("service", computed, prefix=name.title())) or self._is_well(name):
            return
        print(f"{stack}: the load balancer does not find it well within {HEALTHY_WITHIN_S:.0f} s; going back")
        if before is None:
            self._stacks.delete(stack)
        elif change := self._stacks.plan(stack, before, self._tags()):
            self._stacks.apply(change)
        raise DeploymentError(f"{stack} was not well and is as it was before; its log group says why")

    def destroy(self) -> None:
        """Delete the environment; what holds data that may be nowhere else stays, and is said."""
        if not self._confirm(f"Delete {self._environment.name}, its database included? A last snapshot is kept"):
            raise DeploymentError("nothing was deleted")
        for part in (*reversed(SERVICES), "tasks"):
            self._delete(part)
        data = self._environment.stack("data")
        if (state := self._stacks.state(data)) is not None:
            open_ = State(state.template, {**state.parameters, "DatabaseProtection": "false"})
            if change := self._stacks.plan(data, open_, self._tags()):
                self._stacks.apply(change)
        for part in ("data", "network"):
            self._delete(part)
        print(
            "Kept: the database's last snapshot, the registry's file system, image repositories, volumes whose outbox "
            "was not empty; `docs/aws.md` says how to delete them"
        )

    def _delete(self, part: str) -> None:
        stack = self._environment.stack(part)
        if self._stacks.exists(stack):
            self._stacks.delete(stack)

    def _change(self, stack: str, wanted: State | None) -> bool:
        """Show what would change, ask, do it; return whether anything was done."""
        if wanted is None:
            return False
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
            raise DeploymentError(f"stopped before {stack}; what was done before it stays")
        self._stacks.apply(change)
        return True

    def _wanted(self, template: str, computed: Mapping[str, str], prefix: str = "") -> State | None:
        """Return what a stack is to be made from; None: a dry run cannot know what an earlier stack would say."""
        body = (HERE / f"{template}.yaml").read_text(encoding="utf-8")
        sources = (computed, self._environment.values, self._outputs)
        parameters: dict[str, str] = {}
        for name, declared in _parameters(template).items():
            found = [it[key] for key in dict.fromkeys((f"{prefix}{name}", name)) for it in sources if key in it]
            if found:
                parameters[name] = found[0]
            elif "Default" not in declared:
                if self._dry_run and "stack" in declared["Description"]:
                    count = len(read_template(HERE / f"{template}.yaml")["Resources"])
                    print(f"{prefix or template}: up to {count} resources would be made; {name} is not known yet")
                    return None
                raise DeploymentError(f"{self._environment.name}.yaml lacks {name}: {declared['Description']}")
        return State(body, parameters)

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
        deployment.run("owner" if options.owner else "tools", options.words)
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
