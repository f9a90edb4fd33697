"""Who signs the certificate of an environment's database, so that clients know it from another server."""

import hashlib
import http.client
import re
import ssl
import urllib.request
from typing import Any

from stacks import DeploymentError

PUBLISHED = "https://truststore.pki.rds.amazonaws.com/{region}/{region}-bundle.pem"
"""Where AWS publishes the certificates of a region (RDS User Guide, "Using SSL/TLS to encrypt a connection")."""
_BY_HAND = "give the certificate as DatabaseCa in the environment's file (docs/aws.md)"
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----\n.+?-----END CERTIFICATE-----\n?", re.DOTALL)


def find_authority(rds: Any, region: str, identifier: str, present: str = "") -> str:
    """Return the certificate, as PEM, that signs those of databases made with ``identifier``.

    Which of a region's certificates it is, and that nobody changed it on the way, the account's RDS says: boto3's
    client ``rds`` is asked for its SHA-1 thumbprint. Where ``present`` (PEM), which the environment has, is that one
    already, nothing is fetched: a deployment does not need AWS's truststore then.

    Raises:
        DeploymentError: what AWS publishes cannot be read, or that certificate is not in it.
    """
    (known,) = rds.describe_certificates(CertificateIdentifier=identifier)["Certificates"]
    if pem := _having(known["Thumbprint"], present):
        return pem
    url = PUBLISHED.format(region=region)
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - the scheme stands above
            found = answer.read().decode("ascii")
    except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
        raise DeploymentError(f"{url} cannot be read ({error}); {_BY_HAND}") from error
    if pem := _having(known["Thumbprint"], found):
        return pem
    raise DeploymentError(f"{url} lacks the certificate {identifier} with thumbprint {known['Thumbprint']}; {_BY_HAND}")


def _having(thumbprint: str, pems: str) -> str:
    """Return the certificate among ``pems`` that has a thumbprint (SHA-1, hexadecimal); empty: none has."""
    for pem in _CERTIFICATE.findall(pems.replace("\r\n", "\n")):
        der = ssl.PEM_cert_to_DER_cert(pem)
        if hashlib.sha1(der, usedforsecurity=False).hexdigest() == thumbprint.lower():
            return str(pem)
    return ""
