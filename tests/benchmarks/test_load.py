import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.load import Closed, Open, in_own_process, post, run
from benchmarks.processes import free_port

Reply = Callable[[bytes], bytes | None]


@contextmanager
def answering(reply: Reply) -> Iterator[int]:
    """Serve on loopback: ``reply`` gets a request's body and returns the whole answer, None to hang up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b"":
            length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
            answer = reply(await reader.readexactly(length))
            if answer is None:
                break
            writer.write(answer[:7])  # in two pieces
            await writer.drain()
            writer.write(answer[7:])
        writer.close()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:

        async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await serve(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):  # the load has left
                writer.close()

        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(quiet, "127.0.0.1", 0), loop).result()
        yield server.sockets[0].getsockname()[1]
        loop.call_soon_threadsafe(server.close)
    finally:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def echo(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def numbered(count: int) -> list[bytes]:
    return [post("/", {"number": number}) for number in range(count)]


@pytest.mark.parametrize("clients", [1, 7])
def test_a_closed_loop_asks_each_request_once_and_keeps_its_answer(clients: int) -> None:
    with answering(echo) as port:
        load = in_own_process(Closed(port, numbered(50), clients))
    assert sorted(answer.number for answer in load.answers) == list(range(50))
    assert all(json.loads(answer.body) == {"number": answer.number} for answer in load.answers)
    assert load.statuses == {200: 50}
    assert load.cpu_s > 0
    assert all(0 < answer.seconds <= load.seconds for answer in load.answers)


def test_an_open_loop_keeps_its_rate_though_no_answer_comes_in_time() -> None:
    held = threading.Event()

    def slow(body: bytes) -> bytes:
        held.wait(1.0)  # blocks the whole server
        return echo(body)

    with answering(slow) as port:
        threading.Timer(1.0, held.set).start()
        load = run(Open(port, numbered(10), rate=100, for_s=1.0))
    assert 60 <= len(load.answers) <= 140
    assert load.statuses == {200: len(load.answers)}
    # Those that were due first waited longest, although they could only be answered at the end.
    first = min(load.answers, key=lambda answer: answer.sent_at)
    last = max(load.answers, key=lambda answer: answer.sent_at)
    assert first.seconds > 0.9 > last.seconds


def test_a_connection_that_ends_is_an_answer_without_status_and_the_client_goes_on() -> None:
    def every_third_hangs_up(body: bytes) -> bytes | None:
        return None if json.loads(body)["number"] % 3 == 0 else echo(body)

    with answering(every_third_hangs_up) as port:
        load = run(Closed(port, numbered(9), 1))
    assert load.statuses == {0: 3, 200: 6}


def test_a_load_with_a_duration_waits_for_a_server_and_stops_early_when_told(tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    threading.Timer(0.3, stop.touch).start()
    load = run(Closed(free_port(), numbered(1), 2, for_s=60, stop=stop))
    assert load.answers == []
    assert 0.2 < load.seconds < 20


def test_without_a_duration_a_missing_server_is_an_error() -> None:
    with pytest.raises(ConnectionRefusedError):
        run(Closed(free_port(), numbered(1), 1))
