"""The certificate that AWS publishes: the one that the account's RDS names, or an error that says what to do."""

import hashlib
import ssl
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import authority
import pytest
from authority import find_authority
from deploy import Deployment, Environment
from stacks import DeploymentError

from tests.aws.conftest import REGION, Clients
from tests.integration.test_tls import make_certificate

IDENTIFIER = "rds-ca-rsa2048-g1"


class Handler(SimpleHTTPRequestHandler):
    """Files, without a line on stderr for each."""

    def log_message(self, *_: object) -> None:
        pass


class Rds:
    """RDS that signs with the certificate in ``pem``."""

    def __init__(self, pem: str) -> None:
        self._thumbprint = hashlib.sha1(ssl.PEM_cert_to_DER_cert(pem), usedforsecurity=False).hexdigest()

    def describe_certificates(self, CertificateIdentifier: str) -> object:  # noqa: N803 - as boto3 names it
        assert CertificateIdentifier == IDENTIFIER
        return {"Certificates": [{"Thumbprint": self._thumbprint}]}


@pytest.fixture
def pems(tmp_path: Path) -> list[str]:
    """Three certificates, of which AWS publishes two."""
    for name in "abc":
        make_certificate(tmp_path, name)
    found = [(tmp_path / f"{name}.pem").read_text() for name in "abc"]
    (tmp_path / f"{REGION}-bundle.pem").write_text(found[0] + found[1])
    return found


@pytest.fixture(autouse=True)
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where they are published."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(authority, "PUBLISHED", f"http://127.0.0.1:{server.server_port}/{{region}}-bundle.pem")
        yield
        server.shutdown()
        thread.join()


def test_it_is_the_one_that_rds_names(pems: list[str]) -> None:
    for pem in pems[:2]:
        assert find_authority(Rds(pem), REGION, IDENTIFIER) == pem


def test_one_that_is_not_published_is_refused(pems: list[str]) -> None:
    with pytest.raises(DeploymentError, match=f"lacks the certificate {IDENTIFIER} with thumbprint .*; give the cert"):
        find_authority(Rds(pems[2]), REGION, IDENTIFIER)


def test_a_file_without_a_last_newline_has_its_last_certificate_too(pems: list[str], tmp_path: Path) -> None:
    (tmp_path / f"{REGION}-bundle.pem").write_text((pems[0] + pems[1]).rstrip("\n"))
    assert find_authority(Rds(pems[1]), REGION, IDENTIFIER) == pems[1].rstrip("\n")


def test_a_region_without_any_is_one_line(pems: list[str]) -> None:
    with pytest.raises(DeploymentError, match=r"nowhere-bundle.pem cannot be read \(.*404.*\); give the"):
        find_authority(Rds(pems[0]), "nowhere", IDENTIFIER)


def test_a_deployment_asks_for_it_unless_the_file_has_one(clients: Clients, pems: list[str]) -> None:
    def client(service: str) -> object:
        return Rds(pems[1]) if service == "rds" else clients(service)

    for values, expected in (({}, pems[1]), ({"DatabaseCa": pems[2]}, pems[2])):
        deployment = Deployment(Environment("test", REGION, values), client, lambda _: True)
        assert deployment._database_ca() == expected


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_deployment_keeps_the_one_that_it_has_without_asking_for_it_unless_rds_names_another(
    clients: Clients, pems: list[str], tmp_path: Path, dry_run: bool
) -> None:
    clients("cloudformation").create_stack(
        StackName="moderation-test-data",
        TemplateBody="Parameters: {DatabaseCa: {Type: String}}\nResources: {Topic: {Type: 'AWS::SNS::Topic'}}",
        Parameters=[{"ParameterKey": "DatabaseCa", "ParameterValue": pems[0]}],
    )

    def given(named: str) -> str:
        def client(service: str) -> object:
            return Rds(named) if service == "rds" else clients(service)

        return Deployment(Environment("test", REGION, {}), client, lambda _: True, dry_run)._database_ca()

    assert given(pems[1]) == pems[1]
    (tmp_path / f"{REGION}-bundle.pem").unlink()
    assert given(pems[0]) == pems[0]
    with pytest.raises(DeploymentError, match="cannot be read"):
        given(pems[1])
