"""What stands for Google's host: TLS with a certificate of an own CA, as docs/recipes/own-host.md sets it up.

Clients reach it by the standard proxy variables, or by name where a test may change what a process resolves.
"""

import asyncio
import shutil
import socket
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.clients.recipes import blocks
from tests.serve.server import wait_until

HOST = "commentanalyzer.googleapis.com"
_TRUST = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "HTTPLIB2_CA_CERTS", "NODE_EXTRA_CA_CERTS")
_OF_THE_CONNECTION = {"connection", "content-length", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True)
class Front:
    """Where it listens, with TLS and as a proxy whose CONNECT leads there whatever the name, and its CA."""

    ca: Path
    tls: tuple[str, int]
    proxy: tuple[str, int]

    @property
    def trusted(self) -> dict[str, str]:
        """Environment of a client that trusts the CA."""
        return dict.fromkeys(_TRUST, str(self.ca))

    @property
    def proxied(self) -> dict[str, str]:
        """Environment of a client that comes here as well."""
        return self.trusted | {"HTTPS_PROXY": f"http://{self.proxy[0]}:{self.proxy[1]}"}


@contextmanager
def running(url: str, folder: Path, address: tuple[str, int] = ("127.0.0.1", 0)) -> Iterator[Front]:
    """Run it at ``address`` before the server at ``url``, with certificates that the recipe's own commands make."""
    make_certificates(folder)
    with socket.create_server(address) as tls, socket.create_server(("127.0.0.1", 0)) as proxy:
        server = uvicorn.Server(
            uvicorn.Config(
                Starlette(routes=[Route("/{path:path}", _pass_to(url), methods=["GET", "POST"])]),
                log_config=None,
                ws="none",
                lifespan="off",
                ssl_certfile=folder / "front.pem",
                ssl_keyfile=folder / "front.key",
            )
        )
        place = Front(folder / "ca.pem", tls.getsockname(), proxy.getsockname())

        async def serve() -> None:
            async with await asyncio.start_server(lambda *caller: _connect(*caller, *place.tls), sock=proxy):
                await server.serve(sockets=[tls])

        thread = threading.Thread(target=asyncio.run, args=(serve(),))
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive())
            yield place
        finally:
            server.should_exit = True
            thread.join()


def make_certificates(folder: Path) -> None:
    assert shutil.which("openssl"), "openssl makes the certificates; on Debian: apt-get install openssl"
    (commands,) = blocks("own-host", "sh")
    subprocess.run(["sh", "-euc", commands], cwd=folder, check=True, capture_output=True)


def _pass_to(url: str) -> Callable[[Request], Awaitable[Response]]:
    async def pass_on(request: Request) -> Response:
        headers = [(name, value) for name, value in request.headers.items() if name not in _OF_THE_CONNECTION]
        target = f"{url}{request.scope['raw_path'].decode()}?{request.url.query}"
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            answer = await http.request(
                request.method,
                target,
                content=await request.body(),
                headers=[*headers, ("x-forwarded-proto", "https")],
            )
        return Response(
            answer.content,
            answer.status_code,
            {name: value for name, value in answer.headers.items() if name not in _OF_THE_CONNECTION},
        )

    return pass_on


async def _connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        asked = await reader.readuntil(b"\r\n\r\n")
        if not asked.startswith(f"CONNECT {HOST}:443 ".encode()):
            writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
            writer.close()
            return
        there_reader, there_writer = await asyncio.open_connection(host, port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
