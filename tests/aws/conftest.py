"""AWS as moto plays it, over HTTP, and what it lacks for these templates."""

import logging
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from moto.autoscaling.models import FakeAutoScalingGroup
from moto.cloudformation.models import CloudFormationBackend
from moto.cloudformation.parsing import ResourceMap
from moto.efs.models import MountTarget
from moto.rds.models import DBParameterGroup
from moto.server import ThreadedMotoServer

from tests.aws import secrets_in_moto  # noqa: F401 - moto finds it

REGION = "eu-central-1"
Clients = Callable[[str], Any]
# `!Ref` of one gives the object and not its name.
DBParameterGroup.physical_resource_id = property(lambda group: group.name)
# A parameter that names one of SSM is described by its value, which it then does not take back.
_PARSE = ResourceMap.parse_ssm_parameter
ResourceMap.parse_ssm_parameter = lambda self, value, kind: (
    value if value.startswith("ami-") else _PARSE(self, value, kind)
)
# Their updates are not to be had, or make another thing under another name; the tests look at the stacks' parameters.
for kind in (FakeAutoScalingGroup, MountTarget):
    kind.update_from_cloudformation_json = classmethod(lambda _cls, original_resource, **_: original_resource)
_EXECUTE = CloudFormationBackend.execute_change_set


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """Where AWS answers."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # Its stacks have no outputs and parameters when they come from a change set.
    CloudFormationBackend.execute_change_set = _execute_change_set  # type: ignore[method-assign]
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
    CloudFormationBackend.execute_change_set = _EXECUTE  # type: ignore[method-assign]


@pytest.fixture
def clients(moto_url: str) -> Iterator[Clients]:
    """Make clients of an empty account."""
    yield from empty_account(moto_url)


def empty_account(moto_url: str) -> Iterator[Clients]:
    """Yield what makes clients, after all that was there is gone."""
    session = boto3.Session("testing", "testing", region_name=REGION)
    made: dict[str, Any] = {}

    def client(service: str) -> Any:
        return made.setdefault(service, session.client(service, endpoint_url=moto_url))

    _reset(moto_url)
    with warnings.catch_warnings():
        # It says so of each resource type that it knows nothing of.
        warnings.filterwarnings("ignore", "Tried to parse")
        yield client


def _reset(url: str) -> None:
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        urllib.request.Request(f"{url}/moto-api/reset", method="POST"), timeout=10
    ).close()


def _execute_change_set(backend: CloudFormationBackend, change_set_name: str, stack_name: str | None = None) -> None:
    change = next(
        it for it in backend.change_sets.values() if change_set_name in (it.change_set_id, it.change_set_name)
    )
    _EXECUTE(backend, change_set_name, stack_name)
    stack = backend.stacks[change.stack_id]
    stack.parameters = change.parameters
    stack._parse_template()
    stack.output_map = stack._create_output_map()
