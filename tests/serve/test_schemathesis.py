"""What the API says of itself is true: requests made from its OpenAPI description, and others that break it.

No answer is a 5xx, none has a status, content type, header or body that the description does not know, and what breaks
the description is refused.
"""

import copy
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.openapi.checks import UndefinedStatusCode
from schemathesis.specs.openapi import checks

from tests.serve.server import Server

EXAMPLES = 40
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.unsupported_method,
]
TAKE_A_BODY = ["POST /predict", "POST /predict/batch", "POST /feedback"]
TAKE_NOTHING = ["GET /health", "GET /ready", "GET /version", "GET /metrics"]


@pytest.fixture(scope="module")
def description(server: Server) -> dict[str, Any]:
    """The API's own description."""
    return dict(server.http.get("/openapi.json").raise_for_status().json())


def operations(description: dict[str, Any]) -> dict[str, schemathesis.APIOperation]:
    found = schemathesis.openapi.from_dict(description).get_all_operations()
    return {operation.label: operation for operation in (each.ok() for each in found)}


def ask(server: Server, operation: schemathesis.APIOperation, mode: GenerationMode, used: list[Any], most: int) -> int:
    """Make requests and check their answers; return how many there were."""
    answered = 0

    @settings(
        max_examples=most,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: schemathesis.Case) -> None:
        nonlocal answered
        case.call_and_validate(base_url=server.url, checks=used)
        answered += 1

    one()
    return answered


def test_every_route_is_described(description: dict[str, Any]) -> None:
    assert set(operations(description)) >= {*TAKE_A_BODY, *TAKE_NOTHING}


@pytest.mark.parametrize("label", [*TAKE_A_BODY, *TAKE_NOTHING])
def test_what_fits_the_description_is_answered_as_described(
    server: Server, description: dict[str, Any], label: str
) -> None:
    assert ask(server, operations(description)[label], GenerationMode.POSITIVE, CHECKS, EXAMPLES) > 0


@pytest.mark.parametrize("label", TAKE_A_BODY)
def test_what_breaks_the_description_is_refused_as_described(
    server: Server, description: dict[str, Any], label: str
) -> None:
    used = [*CHECKS, checks.negative_data_rejection]
    assert ask(server, operations(description)[label], GenerationMode.NEGATIVE, used, EXAMPLES) > 0


def test_a_status_that_is_not_described_would_be_noticed(server: Server, description: dict[str, Any]) -> None:
    operation = copy.deepcopy(description["paths"]["/predict"]["post"])
    del operation["responses"]["422"]
    changed = operations(description | {"paths": {"/predict": {"post": operation}}})["POST /predict"]
    with pytest.raises(FailureGroup) as caught:
        ask(server, changed, GenerationMode.NEGATIVE, CHECKS, EXAMPLES)
    assert {type(failure) for failure in caught.value.exceptions} == {UndefinedStatusCode}
