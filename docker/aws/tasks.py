"""Runs a `moderation` command once in an environment, and shows what it said."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from stacks import DeploymentError

WITHIN_S = 3600.0


def run_task(
    ecs: Any,
    logs: Any,
    outputs: Mapping[str, str],
    definition: str,
    stream: str,
    command: Sequence[str],
    poll_s: float,
    variables: Mapping[str, str] | None = None,
) -> None:
    """Start a task of ``definition`` with ``moderation COMMAND``, wait for its end, and print its log.

    ``variables`` are added to its environment.

    Raises:
        DeploymentError: it could not be started, did not end within an hour, or its exit code is not 0.
    """
    said = f"moderation {' '.join(command)}"
    network = {"subnets": outputs["TaskSubnets"].split(","), "securityGroups": [outputs["TaskGroup"]]}
    added = [{"name": name, "value": value} for name, value in (variables or {}).items()]
    answer = ecs.run_task(
        cluster=outputs["Cluster"],
        taskDefinition=definition,
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {**network, "assignPublicIp": "DISABLED"}},
        overrides={"containerOverrides": [{"name": "task", "command": list(command), "environment": added}]},
    )
    if answer.get("failures") or not answer["tasks"]:
        reasons = ", ".join(it.get("reason", "?") for it in answer.get("failures", ()))
        raise DeploymentError(f"`{said}` could not be started: {reasons or 'no reason given'}")
    arn = answer["tasks"][0]["taskArn"]
    print(f"{said} ...")
    task = _wait(ecs, outputs["Cluster"], arn, poll_s)
    for line in _log(logs, outputs["TaskLog"], f"{stream}/task/{arn.rpartition('/')[2]}"):
        print(f"  {line}")
    code = task["containers"][0].get("exitCode")
    if code != 0:
        what = f"exit code {code}" if code is not None else task.get("stoppedReason", "it never ran")
        raise DeploymentError(f"`{said}` failed ({what})")


def _wait(ecs: Any, cluster: str, arn: str, poll_s: float) -> dict[str, Any]:
    until = time.monotonic() + WITHIN_S
    while time.monotonic() < until:
        task: dict[str, Any] = ecs.describe_tasks(cluster=cluster, tasks=[arn])["tasks"][0]
        if task["lastStatus"] == "STOPPED":
            return task
        time.sleep(poll_s)
    raise DeploymentError(f"task {arn} runs for longer than an hour; `aws ecs describe-tasks` says how it is")


def _log(logs: Any, group: str, stream: str) -> list[str]:
    try:
        events = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)["events"]
    except logs.exceptions.ResourceNotFoundException:
        return []  # it never came to say anything
    return [it["message"] for it in events]
