"""Stand-ins for what moto cannot do: tasks that run, and containers that become healthy."""

from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError


class MissingError(Exception):
    """What boto3 raises for something that is not there."""


class Tasks:
    """ECS: every task ends at once, with the exit code that ``codes`` has for its first word, else 0."""

    def __init__(self, codes: dict[str, int | None] | None = None) -> None:
        self.codes = codes or {}
        self.during: Callable[[], object] = lambda: None
        self.ran: list[tuple[str, list[str]]] = []
        self.variables: list[dict[str, str]] = []
        self.networks: list[dict[str, Any]] = []

    def run_task(self, **call: Any) -> dict[str, Any]:
        family = call["taskDefinition"].rpartition("/")[2].partition(":")[0]
        overrides = call["overrides"]["containerOverrides"][0]
        self.ran.append((family, overrides["command"]))
        self.variables.append({it["name"]: it["value"] for it in overrides["environment"]})
        self.during()
        self.networks.append(call["networkConfiguration"]["awsvpcConfiguration"])
        return {"tasks": [{"taskArn": f"arn:aws:ecs:eu-central-1:1:task/moderation/{len(self.ran)}"}], "failures": []}

    def describe_tasks(self, **_: Any) -> dict[str, Any]:
        code = self.codes.get(self.ran[-1][1][0], 0)
        container = {} if code is None else {"exitCode": code}
        return {
            "tasks": [{"lastStatus": "STOPPED", "stoppedReason": "CannotPullContainerError", "containers": [container]}]
        }


class Balancers:
    """Elastic Load Balancing: ``well`` says whether a target group's instance is healthy."""

    def __init__(self, well: Callable[[str], bool]) -> None:
        self._well = well

    def describe_target_health(self, TargetGroupArn: str) -> dict[str, Any]:  # noqa: N803 - as boto3 names it
        state = "healthy" if self._well(TargetGroupArn) else "unhealthy"
        return {"TargetHealthDescriptions": [{"TargetHealth": {"State": state}}]}


class Repositories:
    """ECR: holds the tags that were pushed."""

    class exceptions:  # noqa: N801 - as boto3 names it
        ImageNotFoundException = MissingError

    def __init__(self, pushed: set[tuple[str, str]]) -> None:
        self.pushed = pushed

    def describe_images(self, repositoryName: str, imageIds: list[dict[str, str]]) -> None:  # noqa: N803
        if (repositoryName, imageIds[0]["imageTag"]) not in self.pushed:
            raise MissingError

    def get_authorization_token(self) -> dict[str, Any]:
        token = "QVdTOnNlY3JldA=="  # AWS:secret
        return {"authorizationData": [{"authorizationToken": token, "proxyEndpoint": "https://1.dkr.ecr.example"}]}


class Deleting:
    """CloudFormation that deletes at once; moto cannot delete a network with anything in it."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.deleted: list[str] = []
        self.changed: list[tuple[str, dict[str, str]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def create_change_set(self, **call: Any) -> Any:
        parameters = {it["ParameterKey"]: it["ParameterValue"] for it in call["Parameters"]}
        self.changed.append((call["StackName"], parameters))
        return self._client.create_change_set(**call)

    def delete_stack(self, StackName: str) -> None:  # noqa: N803 - as boto3 names it
        self.deleted.append(StackName)

    def describe_stacks(self, StackName: str) -> Any:  # noqa: N803
        if StackName in self.deleted:
            raise ClientError({"Error": {"Code": "ValidationError", "Message": "does not exist"}}, "DescribeStacks")
        return self._client.describe_stacks(StackName=StackName)


class Stored:
    """ECR with one image, which it hands out only to those who take the kind that it is."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.put: dict[str, Any] = {}

    def batch_get_image(self, acceptedMediaTypes: list[str], **_: Any) -> dict[str, Any]:  # noqa: N803
        found = [{"imageManifest": "{}", "imageManifestMediaType": self._kind}]
        return {"images": found if self._kind in acceptedMediaTypes else [], "failures": []}

    def put_image(self, **call: Any) -> None:
        self.put = call


class Remains:
    """CloudFormation in which a stack is what a failed first creation leaves, until it is deleted."""

    def __init__(self, client: Any, stack: str, status: str) -> None:
        self._client, self._stack, self._status = client, stack, status
        self.deleted: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def delete_stack(self, StackName: str) -> None:  # noqa: N803 - as boto3 names it
        if StackName == self._stack and not self.deleted:
            self.deleted.append(StackName)
            return
        self._client.delete_stack(StackName=StackName)

    def describe_stacks(self, StackName: str) -> Any:  # noqa: N803
        if StackName == self._stack and not self.deleted:
            return {"Stacks": [{"StackName": StackName, "StackStatus": self._status}]}
        return self._client.describe_stacks(StackName=StackName)

    def create_change_set(self, **call: Any) -> Any:
        assert self.deleted or call["StackName"] != self._stack, "CloudFormation changes no stack that never was"
        return self._client.create_change_set(**call)


class Failing:
    """CloudFormation that cannot execute changes of one stack, and goes back."""

    def __init__(self, client: Any, stack: str) -> None:
        self._client, self._stack = client, stack
        self._failed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def execute_change_set(self, **call: Any) -> None:
        if call["StackName"] == self._stack:
            self._failed = True
            return
        self._client.execute_change_set(**call)

    def describe_stacks(self, StackName: str) -> Any:  # noqa: N803 - as boto3 names it
        found = self._client.describe_stacks(StackName=StackName)
        if StackName == self._stack and self._failed:
            found["Stacks"][0]["StackStatus"] = "UPDATE_ROLLBACK_COMPLETE"
        return found
