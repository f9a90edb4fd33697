"""PostgreSQL over TLS: a URL that names who signed the server's certificate connects, and to nobody else."""

import datetime
import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from moderation.db.database import connect
from moderation.errors import UnavailableError
from tests.postgres import Cluster, binaries, own_cluster


def make_certificate(folder: Path, name: str) -> None:
    """Write ``name``.pem, for 127.0.0.1 and signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    named = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(named)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{name}.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *private))
    (folder / f"{name}.key").chmod(0o600)


def start_with_tls(cluster: Cluster, folder: Path) -> int:
    """Start the stopped cluster on a port of loopback; return the port."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port: int = held.getsockname()[1]
    for name in ("server.pem", "server.key"):
        target = cluster._home / name
        target.write_bytes((folder / name).read_bytes())
        target.chmod(0o600)
        if cluster._account:
            os.chown(target, cluster._account.pw_uid, cluster._account.pw_gid)
    settings = {
        "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": cluster._home, "ssl": "on",
        "ssl_cert_file": cluster._home / "server.pem", "ssl_key_file": cluster._home / "server.key",
    }  # fmt: skip
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    cluster._pg_ctl("--log", str(cluster._home / "log"), "--options", options, "start")
    return port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server on TCP, for a file with a certificate to be put after it."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("server", "other"):
        make_certificate(folder, name)
    with own_cluster(binaries()) as cluster:
        cluster.stop()
        port = start_with_tls(cluster, folder)
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=verify-full&sslrootcert={folder}"


def test_the_signers_certificate_lets_in_and_the_connection_is_encrypted(server: str) -> None:
    engine = connect(f"{server}/server.pem")
    with engine.connect() as connection:
        ssl = connection.exec_driver_sql("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").scalar_one()
    engine.dispose()
    assert ssl is True


@pytest.mark.parametrize(
    ("certificate", "said"),
    [("other.pem", "certificate verify failed"), ("none.pem", 'file ".*none.pem" does not exist')],
)
def test_another_certificate_or_none_is_refused_in_one_line(server: str, certificate: str, said: str) -> None:
    with pytest.raises(UnavailableError, match=said) as caught:
        connect(f"{server}/{certificate}").connect()
    assert "\n" not in str(caught.value)
