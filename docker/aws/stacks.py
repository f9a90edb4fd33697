"""CloudFormation stacks: what would change is shown first, then it is done or undone."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from botocore.exceptions import ClientError

POLL_S = 5.0
_UNMADE = "REVIEW_IN_PROGRESS"
"""A stack of which nobody executed the first change set: nothing is in it, but it is there, and has the name."""
_NEVER_MADE = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED")
"""What is left of a stack whose first creation failed: it can only be deleted."""
_CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"]


class DeploymentError(Exception):
    """What stops a deployment, in one line that says what to do."""


class StoppedError(DeploymentError):
    """Whoever was asked said no."""


class _Loader(yaml.CSafeLoader):
    """Reads a template's YAML; a function such as ``!Ref X`` becomes ``{"Ref": "X"}``, as in its JSON form."""


def _function(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)  # type: ignore[arg-type]
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _function)


def read_template(path: Path) -> dict[str, Any]:
    """Return a template with its functions in the long form."""
    found: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a safe loader
    return found


@dataclass(frozen=True)
class State:
    """What a stack was made from; enough to make it so again."""

    template: str
    parameters: dict[str, str]


@dataclass(frozen=True)
class Change:
    """A change set that waits to be executed."""

    stack: str
    id: str
    is_new: bool
    lines: tuple[str, ...]


class Stacks:
    """The stacks of one account and region."""

    def __init__(self, client: Any, say: Callable[[str], None] = print, poll_s: float = POLL_S, role: str = "") -> None:
        """Use boto3's CloudFormation ``client``, which works in ``role``; look every ``poll_s`` seconds."""
        self._client = client
        self._role = {"RoleARN": role} if role else {}
        self._say = say
        self._poll_s = poll_s

    def outputs(self, stack: str) -> dict[str, str]:
        """Return the outputs of a stack; empty: there is none."""
        found = self._describe(stack)
        return {it["OutputKey"]: it["OutputValue"] for it in found.get("Outputs", ())} if found else {}

    def exists(self, stack: str) -> bool:
        """Return whether there is such a stack."""
        return self._describe(stack) is not None

    def state(self, stack: str) -> State | None:
        """Return what a stack was made from; None: there is none, or nothing in it."""
        found = self._describe(stack)
        if found is None or found["StackStatus"] in (_UNMADE, *_NEVER_MADE):
            return None
        body = self._client.get_template(StackName=stack, TemplateStage="Original")["TemplateBody"]
        parameters = {it["ParameterKey"]: it["ParameterValue"] for it in found.get("Parameters", ())}
        return State(body if isinstance(body, str) else yaml.safe_dump(dict(body)), parameters)

    def remains(self, stack: str) -> str:
        """Return the status of a stack that never came to be, and is to be deleted before it can; else nothing."""
        found = self._describe(stack)
        return str(found["StackStatus"]) if found and found["StackStatus"] in _NEVER_MADE else ""

    def plan(self, stack: str, wanted: State, tags: Mapping[str, str]) -> Change | None:
        """Ask CloudFormation what would change; None: nothing.

        Raises:
            DeploymentError: another deployment is under way, a former one failed half-way, or the template is refused.
        """
        is_new = self._is_new(stack)
        made = self._client.create_change_set(
            StackName=stack,
            ChangeSetName=f"deploy-{time.time_ns()}",
            ChangeSetType="CREATE" if is_new else "UPDATE",
            TemplateBody=wanted.template,
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in wanted.parameters.items()],
            Capabilities=_CAPABILITIES,
            Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
            **self._role,
        )
        found = self._wait_for_change(stack, made["Id"])
        if found["Status"] == "FAILED":
            self._client.delete_change_set(StackName=stack, ChangeSetName=made["Id"])
            reason = found.get("StatusReason", "no reason given")
            if "didn't contain changes" in reason or "No updates are to be performed" in reason:
                return None
            raise DeploymentError(f"CloudFormation refuses the change of {stack}: {reason}")
        lines = tuple(_lines(it["ResourceChange"] for it in found["Changes"]))
        return Change(stack, made["Id"], is_new, lines)

    def apply(self, change: Change) -> None:
        """Execute a change and wait for its end; CloudFormation itself goes back if a part of it fails.

        Raises:
            DeploymentError: it failed; the reasons were said.
        """
        begun = time.time() - 5  # clocks differ
        self._client.execute_change_set(StackName=change.stack, ChangeSetName=change.id)
        status = self._wait_for_stack(change.stack)
        if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            for line in self._failures(change.stack, begun):
                self._say(f"  {line}")
            raise DeploymentError(f"{change.stack} is {status}: CloudFormation went back to what was there before")

    def discard(self, change: Change) -> None:
        """Forget a change, and the empty stack that it would have filled."""
        self._client.delete_change_set(StackName=change.stack, ChangeSetName=change.id)
        if change.is_new:
            self._client.delete_stack(StackName=change.stack)

    def delete(self, stack: str) -> None:
        """Delete a stack, and wait until it is gone.

        Raises:
            DeploymentError: a part of it could not be deleted; the reasons were said.
        """
        begun = time.time() - 5
        self._client.delete_stack(StackName=stack)
        status = self._wait_for_stack(stack)
        if status != "DELETE_COMPLETE":
            for line in self._failures(stack, begun):
                self._say(f"  {line}")
            raise DeploymentError(f"{stack} is {status}: mend what is said above and run it again")

    def _describe(self, stack: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._client.describe_stacks(StackName=stack)["Stacks"][0]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ValidationError":  # that is how it says that there is none
                return None
            raise
        return None if found["StackStatus"] == "DELETE_COMPLETE" else found

    def _is_new(self, stack: str) -> bool:
        """Return whether the stack is to be made; raises if neither that nor a change is possible now."""
        found = self._describe(stack)
        if found is None or found["StackStatus"] == _UNMADE:
            return True
        status = found["StackStatus"]
        if status.endswith("_IN_PROGRESS"):
            raise DeploymentError(f"{stack} is {status}: another deployment is under way; wait for its end")
        if status in _NEVER_MADE or status.endswith("_FAILED"):
            what = "delete-stack" if status in (*_NEVER_MADE, "DELETE_FAILED") else "continue-update-rollback"
            raise DeploymentError(f"{stack} is {status}: run `aws cloudformation {what} --stack-name {stack}` first")
        return False

    def _wait_for_change(self, stack: str, change: str) -> dict[str, Any]:
        while True:
            found: dict[str, Any] = self._client.describe_change_set(StackName=stack, ChangeSetName=change)
            if found["Status"] not in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
                while token := found.get("NextToken"):
                    page = self._client.describe_change_set(StackName=stack, ChangeSetName=change, NextToken=token)
                    found = {**page, "Changes": [*found["Changes"], *page["Changes"]]}
                return found
            time.sleep(self._poll_s)

    def _wait_for_stack(self, stack: str) -> str:
        said = ""
        while True:
            found = self._describe(stack)
            status = "DELETE_COMPLETE" if found is None else str(found["StackStatus"])
            if status != said:
                self._say(f"{stack}: {status}")
                said = status
            if not status.endswith("_IN_PROGRESS"):
                return status
            time.sleep(self._poll_s)

    def _failures(self, stack: str, since: float) -> list[str]:
        events = self._client.describe_stack_events(StackName=stack)["StackEvents"]
        return [
            f"{it['LogicalResourceId']}: {it['ResourceStatusReason']}"
            for it in reversed(events)
            if it["ResourceStatus"].endswith("_FAILED")
            and it.get("ResourceStatusReason")
            and it["Timestamp"].timestamp() >= since
        ]


def _lines(changes: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for it in changes:
        replaced = {"True": "  REPLACED", "Conditional": "  perhaps replaced"}.get(it.get("Replacement", ""), "")
        yield f"{it['Action']:<7} {it['ResourceType']:<42} {it['LogicalResourceId']}{replaced}"
