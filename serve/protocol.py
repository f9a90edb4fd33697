"""HTTP connections that cannot hold the server up: uvicorn's own protocol, bounded where it is not.

uvicorn waits for the head of a request for ever and takes any number of connections. Here a head has a time and a
size, also on a connection that has never sent a byte, and connections have a number. Bodies are `serve.limits`'s to
bound; what is left of one that was refused is read and dropped, since a connection that is closed before may lose the
refusal on its way.
"""

import asyncio
import resource
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_TIMEOUT_S = 10.0
MAX_HEAD_BYTES = 65_536
MAX_FILES = 65_536
"""Also where the system sets no bound: each connection costs memory."""
SPARE_FILES = 256
"""Files that are not connections: database, registry, logs, what a request opens."""

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s"
)
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s"
)


def protocol(max_connections: int, head_timeout_s: float = HEAD_TIMEOUT_S) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol with these bounds."""
    return type(
        "BoundedProtocol",
        (_Bounded, HttpToolsProtocol),
        {"max_connections": max_connections, "head_timeout_s": head_timeout_s},
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


class _Bounded:
    """What is added to uvicorn's protocol; its own attributes are typed here as far as they are used."""

    max_connections: int
    head_timeout_s: float
    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    connections: set[Any]
    cycle: Any
    _timer: asyncio.TimerHandle | None = None
    _in_head = True  # not in a body, such as the rest of one that was refused
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Take the connection, or say that there are too many."""
        super().connection_made(transport)  # type: ignore[misc]
        if len(self.connections) > self.max_connections:
            self._refuse(_FULL, b'{"code":"overloaded","message":"too many connections","request_id":""}')
        else:
            self._await_head()

    def data_received(self, data: bytes) -> None:
        """Read on; a head that is not complete afterwards counts against its bounds."""
        if self._between_requests() and self._timer is None:
            self._await_head()
        in_head = self._in_head
        super().data_received(data)  # type: ignore[misc]
        if not self._between_requests():
            self._head_came()
        elif in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self._refuse(_TOO_LARGE, b'{"code":"too_large","message":"the head is too large","request_id":""}')

    def on_headers_complete(self) -> None:
        """Note that what follows is a body."""
        self._in_head = False
        super().on_headers_complete()  # type: ignore[misc]

    def on_message_complete(self) -> None:
        """Note that what follows is a head."""
        self._in_head = True
        super().on_message_complete()  # type: ignore[misc]

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the timer."""
        self._head_came()
        super().connection_lost(error)  # type: ignore[misc]

    def _between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(self.head_timeout_s, self.transport.abort)

    def _head_came(self) -> None:
        self._head_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, answer: bytes, body: bytes) -> None:
        self.transport.write(answer % (len(body), body))
        self.transport.close()
