import asyncio
import json
import resource
import socket
import time
from typing import Any, cast

import httpx
import pytest

from serve import protocol
from serve.protocol import MAX_FILES, MAX_HEAD_BYTES, REFUSALS, WholeAnswers, most_files
from tests.serve.server import Server, wait_until

MiB = 2**20


def connected(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", httpx.URL(server.url).port or 0), timeout=10)


def answers(connection: socket.socket, until: bytes) -> bytes:
    found = b""
    while until not in found:
        piece = connection.recv(65_536)
        assert piece, found[-200:]
        found += piece
    return found


def sent_before_the_end(connection: socket.socket, piece: bytes, most: int) -> int:
    """Send ``piece`` again and again until the server ends the connection; return the bytes that were sent."""
    sent = 0
    try:
        while sent < most:
            connection.sendall(piece)
            sent += len(piece)
    except (ConnectionResetError, BrokenPipeError):
        pass
    return sent


def predict(body: bytes, *headers: bytes) -> bytes:
    length = b"Content-Length: %d" % len(body)
    lines = [b"POST /predict HTTP/1.1", b"Host: localhost", b"Content-Type: application/json", length, *headers]
    return b"\r\n".join([*lines, b"", body])


@pytest.mark.parametrize(("hard", "most"), [(1_024, 1_024), (resource.RLIM_INFINITY, MAX_FILES), (2**30, MAX_FILES)])
def test_files_are_bounded_where_the_system_sets_no_bound(hard: int, most: int) -> None:
    assert most_files(hard) == most


@pytest.mark.parametrize("cut", [None, 100, 200])
def test_a_request_that_offers_another_protocol_is_read_as_if_it_did_not(server: Server, cut: int | None) -> None:
    # As HTTP clients of Java do unless told otherwise.
    offer = (
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAA",
    )
    request = predict(b'{"comment_text": "hello"}', *offer)
    with connected(server) as connection:
        for _ in range(2):  # and the connection goes on
            connection.sendall(request[:cut])
            if cut:
                time.sleep(0.05)
                connection.sendall(request[cut:])
            assert json.loads(answers(connection, b"}").partition(b"\r\n\r\n")[2])["scores"]


def test_a_connect_request_is_refused(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 400 " in answers(connection, b"\r\n\r\n")


def test_what_is_refused_before_it_is_a_request_is_counted(server: Server) -> None:
    def counted(status: int) -> float:
        name = f'moderation_refused_connections_total{{status="{status}"}} '
        figures = server.http.get("/metrics").text
        return next(float(line.removeprefix(name)) for line in figures.splitlines() if line.startswith(name))

    before = {status: counted(status) for status in REFUSALS}
    with connected(server) as connection:
        connection.sendall(b"no HTTP\r\n\r\n")
        assert b" 400 " in answers(connection, b"\r\n\r\n")
    with connected(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + 70 * (b"X-Header: %s\r\n" % (b"x" * 1_000)))
        assert b" 431 " in answers(connection, b"\r\n\r\n")
    assert {status: counted(status) - before[status] for status in REFUSALS} == {400: 1, 431: 1, 503: 0}


def test_trailers_without_end_cost_their_connection(server: Server) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    with connected(server) as connection:
        connection.sendall(head)
        assert sent_before_the_end(connection, b"X-Trailer: %s\r\n" % (b"x" * 60_000), 50 * MiB) < 20 * MiB


def test_a_head_without_end_behind_a_request_costs_its_connection(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health HTTP/1.1\r\nX-Flood: ")
        assert sent_before_the_end(connection, b"x" * 60_000, 50 * MiB) < 20 * MiB


def test_a_body_in_small_chunks_is_read(server: Server) -> None:
    body = b'{"comment_text": "%s"}' % (b"hello " * 2_000)
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(part), part) for part in (body[at : at + 8] for at in range(0, len(body), 8))
    )
    assert len(chunks) - len(body) < MAX_HEAD_BYTES + len(body)
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    with connected(server) as connection:
        connection.sendall(head + chunks + b"0\r\n\r\n")
        assert b" 200 " in answers(connection, b"\r\n\r\n")


def test_a_connection_outlives_a_refusal_whose_body_came_late(server: Server) -> None:
    head, _, body = predict(b'{"comment_text": "hello"}', b"Content-Encoding: gzip").partition(b"\r\n\r\n")
    with connected(server) as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert b" 415 " in answers(connection, b"}")
        connection.sendall(body)
        time.sleep(1.5)  # longer than a head may take here
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in answers(connection, b"\r\n\r\n")


def test_a_caller_that_does_not_read_costs_its_connection(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "WRITE_TIMEOUT_S", 0.3)
    path = "/static-offline-docs/swagger-ui-bundle.js"
    assert len(server.http.get(path).content) > MiB
    with connected(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode() * 10)
        wait_until(lambda: is_reset(connection))


def is_reset(connection: socket.socket) -> bool:
    try:
        connection.send(b"\r\n")
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


class Noting:
    """A transport that notes what is written and that it is closed, in front of another one or of none."""

    def __init__(self, behind: Any = None) -> None:
        self.told: list[bytes | str] = []
        self._behind = behind

    def write(self, data: bytes) -> None:
        self.told.append(data)
        if self._behind:
            self._behind.write(data)

    def close(self) -> None:
        self.told.append("close")
        if self._behind:
            self._behind.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)


def answers_to(noting: Noting) -> WholeAnswers:
    return WholeAnswers(cast(asyncio.Transport, noting))


HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


def test_a_head_is_written_together_with_what_follows() -> None:
    noting = Noting()
    transport = answers_to(noting)
    for body in (b"{}", b"[]"):
        transport.write(HEAD)
        transport.write(body)
    assert noting.told == [HEAD + b"{}", HEAD + b"[]"]


def test_a_connection_that_is_closed_behind_a_head_sends_it() -> None:
    noting = Noting()
    transport = answers_to(noting)
    transport.write(HEAD)
    assert noting.told == []
    transport.close()
    assert noting.told == [HEAD, "close"]


def test_leave_to_go_on_does_not_wait_for_an_answer() -> None:
    noting = Noting()
    answers_to(noting).write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert noting.told == [b"HTTP/1.1 100 Continue\r\n\r\n"]


def test_an_answer_is_one_write(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between two, a server would leave half an answer, for which nobody can ask another one."""
    connections: list[Noting] = []

    def noted(transport: asyncio.Transport) -> WholeAnswers:
        connections.append(Noting(transport))
        return answers_to(connections[-1])

    monkeypatch.setattr(protocol, "WholeAnswers", noted)
    received = b""
    with connected(server) as connection:
        for number in range(20):
            connection.sendall(predict(json.dumps({"comment_text": f"comment {number}"}).encode()))
            received += answers(connection, b"}")
    (noting,) = connections
    written = [each for each in noting.told if isinstance(each, bytes)]
    assert len(written) == 20
    assert b"".join(written) == received
    for each in written:
        head, _, body = each.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert json.loads(body)["decision"]


def test_a_head_with_nothing_behind_it_leaves_too(server: Server) -> None:
    with connected(server) as connection:
        for _ in range(2):
            connection.sendall(b"HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert answers(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"HEAD /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert answers(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        assert connection.recv(1) == b""


def test_leave_to_go_on_is_given_at_once(server: Server) -> None:
    asked = predict(b'{"comment_text": "hello"}', b"Expect: 100-continue")
    head, _, body = asked.partition(b"\r\n\r\n")
    with connected(server) as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert answers(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert b'"decision"' in answers(connection, b"}")
