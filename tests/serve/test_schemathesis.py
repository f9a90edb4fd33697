"""What the API says of itself is true: requests made from its OpenAPI description, and others that break it.

No answer is a 5xx, none has a status, content type, header or body that the description does not know, and what breaks
the description is refused.
"""

import copy
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.openapi.checks import UndefinedStatusCode
from schemathesis.specs.openapi import checks

from serve.model import Model
from tests.serve.keyed import bearer, make, served_with_keys
from tests.serve.process import free_port
from tests.serve.server import Server, served, settings_in

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
TAKE_NOTHING = ["GET /health", "GET /ready", "GET /version", "GET /metrics", "POST /admin/reload"]
WANT_A_KEY = [*TAKE_A_BODY, "GET /version", "GET /metrics", "POST /admin/reload"]


@pytest.fixture(scope="module")
def description(server: Server) -> dict[str, Any]:
    """The API's own description."""
    return described(server)


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Server]:
    """A server that asks for keys."""
    with served_with_keys(settings_in(tmp_path_factory.mktemp("keyed")), model) as running:
        yield running


def key_name(label: str) -> str:
    return label.replace(" ", "").replace("/", "-")


def described(server: Server) -> dict[str, Any]:
    return dict(server.http.get("/openapi.json").raise_for_status().json())


def operations(description: dict[str, Any]) -> dict[str, schemathesis.APIOperation]:
    found = schemathesis.openapi.from_dict(description).get_all_operations()
    return {operation.label: operation for operation in (each.ok() for each in found)}


def ask(
    server: Server,
    operation: schemathesis.APIOperation,
    mode: GenerationMode,
    used: list[Any],
    most: int,
    headers: dict[str, str] | None = None,
) -> Counter[int]:
    """Make requests and check their answers; return how many there were of each status."""
    answered: Counter[int] = Counter()

    @settings(
        max_examples=most,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: schemathesis.Case) -> None:
        response = case.call_and_validate(base_url=server.url, checks=used, headers=headers)
        answered[response.status_code] += 1

    one()
    return answered


def test_every_route_is_described(description: dict[str, Any]) -> None:
    assert set(operations(description)) >= {*TAKE_A_BODY, *TAKE_NOTHING}


@pytest.mark.parametrize("label", [*TAKE_A_BODY, *TAKE_NOTHING])
def test_what_fits_the_description_is_answered_as_described(
    server: Server, description: dict[str, Any], label: str
) -> None:
    assert ask(server, operations(description)[label], GenerationMode.POSITIVE, CHECKS, EXAMPLES)


@pytest.mark.parametrize("label", TAKE_A_BODY)
def test_what_breaks_the_description_is_refused_as_described(
    server: Server, description: dict[str, Any], label: str
) -> None:
    used = [*CHECKS, checks.negative_data_rejection]
    assert ask(server, operations(description)[label], GenerationMode.NEGATIVE, used, EXAMPLES)


@pytest.mark.parametrize("label", WANT_A_KEY)
def test_who_has_no_key_or_lacks_the_scope_is_refused_as_described(keyed: Server, label: str) -> None:
    operation = operations(described(keyed))[label]
    assert set(ask(keyed, operation, GenerationMode.POSITIVE, CHECKS, 5)) == {401}
    scope = "feedback" if "predict" in label else "predict"
    if label != "GET /version":  # which any scope opens
        other = bearer(make(keyed.engine, key_name(label), scope))
        assert set(ask(keyed, operation, GenerationMode.POSITIVE, CHECKS, 5, other)) == {403}


@pytest.mark.parametrize("label", ["POST /predict", "POST /predict/batch"])
def test_a_quota_that_is_used_up_is_answered_as_described(keyed: Server, label: str) -> None:
    small = bearer(make(keyed.engine, f"{key_name(label)}-small", "predict", quota_per_minute=1))
    asked = ask(keyed, operations(described(keyed))[label], GenerationMode.POSITIVE, CHECKS, EXAMPLES, small)
    assert 429 in asked


@pytest.mark.parametrize("label", [*TAKE_A_BODY, *TAKE_NOTHING])
def test_a_body_that_is_refused_before_any_route_is_described_for_each(
    server: Server, description: dict[str, Any], label: str
) -> None:
    method, path = label.split()
    refused = server.http.request(method, path, headers={"Content-Encoding": "gzip"})
    assert refused.status_code == 415
    responses = description["paths"][path][method.lower()]["responses"]
    assert {"400", "404", "408", "413", "415", "431", "503"} <= set(responses)


@pytest.mark.parametrize("private", [False, True])
def test_what_the_other_port_answers_is_refused_as_described(
    tmp_path: Path, model: Model, description: dict[str, Any], private: bool
) -> None:
    port, other = free_port(), free_port()
    elsewhere = TAKE_A_BODY if private else ["GET /metrics", "POST /admin/reload"]
    settings = settings_in(tmp_path, private_port=port if private else other)
    with served(settings, model, port=port) as server:
        for label, operation in operations(description).items():
            asked = ask(server, operation, GenerationMode.POSITIVE, CHECKS, 1)
            assert label not in elsewhere or set(asked) == {404}


def test_a_status_that_is_not_described_would_be_noticed(server: Server, description: dict[str, Any]) -> None:
    operation = copy.deepcopy(description["paths"]["/predict"]["post"])
    del operation["responses"]["422"]
    changed = operations(description | {"paths": {"/predict": {"post": operation}}})["POST /predict"]
    with pytest.raises(FailureGroup) as caught:
        ask(server, changed, GenerationMode.NEGATIVE, CHECKS, EXAMPLES)
    assert {type(failure) for failure in caught.value.exceptions} == {UndefinedStatusCode}
