"""What GitHub may do on AWS: jobs that somebody approved, without a key, and only what a deployment calls by itself."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from deploy import HERE
from stacks import Stacks, State, read_template

TEMPLATE = HERE / "oidc.yaml"
ROLE = "arn:aws:iam::123456789012:role/maker"


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    found: dict[str, Any] = read_template(TEMPLATE)["Resources"]
    return found


def test_the_template_is_valid() -> None:
    command = [str(Path(sys.executable).with_name("cfn-lint")), str(TEMPLATE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


def test_only_approved_jobs_of_the_repository_are_trusted(resources: dict[str, Any]) -> None:
    (trust,) = resources["Deployer"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert trust["Condition"] == {
        "StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": {
                "Fn::Sub": "repo:${Repository}:environment:${GitHubEnvironment}"
            },
        }
    }


def test_the_deployer_makes_nothing_by_itself_and_hands_its_rights_to_no_other_service(
    resources: dict[str, Any],
) -> None:
    (policy,) = resources["Deployer"]["Properties"]["Policies"]
    statements = policy["PolicyDocument"]["Statement"]
    actions = {
        each for it in statements for each in ([it["Action"]] if isinstance(it["Action"], str) else it["Action"])
    }
    assert {each.partition(":")[0] for each in actions} == {
        "cloudformation", "ecr", "ec2", "rds", "elasticloadbalancing", "ecs", "logs", "iam"
    }  # fmt: skip
    assert {each for each in actions if each.startswith("iam:")} == {"iam:PassRole"}
    passed = [
        it["Condition"]["StringEquals"]["iam:PassedToService"] for it in statements if it["Action"] == "iam:PassRole"
    ]
    assert passed == ["cloudformation.amazonaws.com", "ecs-tasks.amazonaws.com"]
    (maker,) = resources["Maker"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert maker["Principal"] == {"Service": "cloudformation.amazonaws.com"}
    # A condition that CloudFormation does not send would leave nobody who can make anything.
    assert "Condition" not in maker


class Recorder:
    """CloudFormation without stacks that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - as boto3 names it
        return {"Stacks": [{"StackName": StackName, "StackStatus": "UPDATE_COMPLETE"}]}

    def create_change_set(self, **asked: Any) -> dict[str, str]:
        self.asked = asked
        return {"Id": "change"}

    def describe_change_set(self, **_: Any) -> dict[str, Any]:
        return {"Status": "CREATE_COMPLETE", "Changes": []}


@pytest.mark.parametrize(("role", "handed"), [("", None), (ROLE, ROLE)])
def test_cloudformation_makes_things_in_its_own_role(role: str, handed: str | None) -> None:
    client = Recorder()
    Stacks(client, poll_s=0, role=role).plan("x", State("", {}), {})
    assert client.asked.get("RoleARN") == handed
