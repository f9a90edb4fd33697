"""HTTP connections that cannot hold the server up: uvicorn's own protocol, bounded where it is not.

uvicorn waits for the head of a request for ever and takes any number of connections. Here a head has a time and a
size, also on a connection that has never sent a byte, and connections have a number. Bodies are `serve.limits`'s to
bound; what is left of one that was refused is read and dropped, since a connection that is closed before may lose the
refusal on its way.
"""

import asyncio
import resource
import sys
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_TIMEOUT_S = 10.0
MAX_HEAD_BYTES = 65_536
"""Also of all else in a request that is no body, beyond as much as its body has: chunk sizes and trailers."""
WRITE_TIMEOUT_S = 30.0
"""How long a caller may leave an answer unread that does not fit into the socket's buffer."""
MAX_FILES = 65_536
"""Also where the system sets no bound: each connection costs memory."""
SPARE_FILES = 256
"""Files that are not connections: database, registry, logs, what a request opens."""

REFUSALS = (400, 431, 503)
"""Statuses that are answered here, without a request that the app would see."""

_OF_THE_CONNECTION = (b"connection", b"upgrade", b"http2-settings")
_CONTINUE = b"HTTP/1.1 100 "
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
    b"x-content-type-options: nosniff\r\n"
    b"content-length: %d\r\n\r\n%s"
)
_INVALID = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"x-content-type-options: nosniff\r\ncontent-length: %d\r\n\r\n%s"
)
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"x-content-type-options: nosniff\r\ncontent-length: %d\r\n\r\n%s"
)


def protocol(
    max_connections: int, refused: Callable[[int], None], head_timeout_s: float = HEAD_TIMEOUT_S
) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol with these bounds; ``refused`` is told the status of each refusal."""
    return type(
        "BoundedProtocol",
        (_Bounded, HttpToolsProtocol),
        {"max_connections": max_connections, "head_timeout_s": head_timeout_s, "refused": staticmethod(refused)},
    )


def raise_file_limit() -> int:
    """Let this process open as many files as it may; return how many connections that allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = most_files(hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return max(files - SPARE_FILES, SPARE_FILES)


def most_files(hard: int) -> int:
    """Return how many files to open under the system's bound, which may be none."""
    return MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)


class WholeAnswers:
    """A connection's transport that sends the head of an answer together with what follows it.

    uvicorn writes the head by itself, and the body a quarter of a millisecond later. A server that is killed between
    the two leaves half an answer, which a load balancer cannot ask another server for: the head has reached the caller.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        """Write to ``transport``, whose other methods stay what they are."""
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        """Send ``data`` behind the head that waits; if it is one, keep it back."""
        if data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n") and not data.startswith(_CONTINUE):
            self._head += data
        else:
            self._transport.write(self._head + data)
            self._head = b""

    def send_head(self) -> None:
        """Send what waits: nothing follows it."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Close the connection once everything is sent."""
        self.send_head()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the transport has
        """Return what is the transport's."""
        return getattr(self._transport, name)


class _Bounded:
    """What is added to uvicorn's protocol; its own attributes are typed here as far as they are used."""

    max_connections: int
    head_timeout_s: float
    refused: Callable[[int], None]
    timeout_keep_alive: float
    timeout_keep_alive_task: asyncio.TimerHandle | None
    transport: WholeAnswers
    loop: asyncio.AbstractEventLoop
    connections: set[Any]
    cycle: Any
    parser: Any
    url: bytes
    headers: list[tuple[bytes, bytes]]
    _head: asyncio.TimerHandle | None = None
    _writing: asyncio.TimerHandle | None = None
    _data = b""
    _upgrades = False
    # Bytes of one request: of its body, and all others: head, chunk sizes, trailers.
    _body_bytes = 0
    _other_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Take the connection, or say that there are too many."""
        super().connection_made(WholeAnswers(transport))  # type: ignore[misc]
        if len(self.connections) > self.max_connections:
            self._refuse(_FULL, b'{"code":"overloaded","message":"too many connections","request_id":""}')
        else:
            self._await_head()

    def data_received(self, data: bytes) -> None:
        """Read on, within the bounds of what is no body."""
        if self._between_requests() and self._head is None:
            self._await_head()
        self._data = data
        self._other_bytes += len(data)
        super().data_received(data)  # type: ignore[misc]
        self._data = b""
        if not self._between_requests():
            self._head_came()
        if self._other_bytes > MAX_HEAD_BYTES + self._body_bytes and not self.transport.is_closing():
            if self._between_requests():
                self._refuse(_TOO_LARGE, b'{"code":"too_large","message":"the head is too large","request_id":""}')
            else:  # in the trailers of a body, or in a head behind a request that is being answered
                self.transport.abort()

    def on_headers_complete(self) -> None:
        """Begin to answer, unless the parser takes what follows for another protocol."""
        self._upgrades = self.parser.should_upgrade()
        if not self._upgrades:
            super().on_headers_complete()  # type: ignore[misc]

    def on_body(self, body: bytes) -> None:
        """Count what is body."""
        self._other_bytes -= len(body)
        self._body_bytes += len(body)
        super().on_body(body)  # type: ignore[misc]

    def on_message_complete(self) -> None:
        """Count anew; behind the rest of a body that was refused, the connection waits as it does behind an answer."""
        self._body_bytes = self._other_bytes = 0
        if self._upgrades:
            return
        super().on_message_complete()  # type: ignore[misc]
        if self._between_requests():
            self._head_came()
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.transport.close)

    def on_response_complete(self) -> None:
        """Send the head of an answer that has no body."""
        self.transport.send_head()
        super().on_response_complete()  # type: ignore[misc]

    def _unsupported_upgrade_warning(self) -> None:
        """Read a request that offers another protocol, as HTTP clients of Java do, as if it did not.

        RFC 9110, section 7.8: a server may ignore the offer. The parser does not: it takes the body for that protocol.
        """
        end_of_head = sys.exception().args[0]  # type: ignore[union-attr]  # of the parser: uvicorn calls this for it
        kept = [name + b": " + value + b"\r\n" for name, value in self.headers if name not in _OF_THE_CONNECTION]
        head = b"".join([self.parser.get_method(), b" ", self.url, b" HTTP/1.1\r\n", *kept, b"\r\n"])
        self.parser = httptools.HttpRequestParser(self)
        try:
            self.parser.feed_data(head + self._data[end_of_head:])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):  # CONNECT is always another protocol
            self.send_400_response("")

    def send_400_response(self, _: str) -> None:
        """Refuse what is no HTTP, in the shape of every other refusal."""
        self._refuse(
            _INVALID, b'{"code":"invalid_input","message":"this is no valid HTTP/1.1 request","request_id":""}'
        )

    def pause_writing(self) -> None:
        """Give a caller that does not read some time."""
        super().pause_writing()  # type: ignore[misc]
        self._writing = self.loop.call_later(WRITE_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Note that the caller reads."""
        self._written()
        super().resume_writing()  # type: ignore[misc]

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the timers."""
        self._head_came()
        self._written()
        super().connection_lost(error)  # type: ignore[misc]

    def _between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _await_head(self) -> None:
        self._head = self.loop.call_later(self.head_timeout_s, self.transport.abort)

    def _head_came(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _written(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def _refuse(self, answer: bytes, body: bytes) -> None:
        self.refused(int(answer.split(b" ", 2)[1]))
        self.transport.write(answer % (len(body), body))
        self.transport.close()
