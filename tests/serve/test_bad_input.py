"""Whatever is sent gets a clear 4xx or a correct score: never a 500, never a hang, never its own text back."""

import http.client
import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from moderation.labels import LABELS
from moderation.text import normalize
from tests.serve.server import Server, wait_until

SECRET = "s3cret-words"


def post(api: httpx.Client, path: str, body: bytes | str, content_type: str = "application/json") -> httpx.Response:
    return api.post(path, content=body, headers={"Content-Type": content_type})


def field(value: str) -> bytes:
    return b'{"comment_text": "' + value.encode() + b'"}'


SCORED = {
    "NUL": "you are \x00disgusting",
    "10,000 combining marks": "a" + "\u0301" * 10_000,
    "10,000 different combining marks": "a" + "\u0315\u0300" * 5_000,
    "64 KiB of marks in the wrong order": "a" + "\u0301" * 16_380 + "\u0323" * 16_380,
    "right-to-left override": "\u202egnitsugsid era uoy",
    "nested overrides": "\u202ea\u202db" * 200,
    "only emoji": "👩🏽\u200d🔬🏳️\u200d🌈",
    "only punctuation": "?!",
    "a replacement character": "\ufffd",
    "control characters": "\x01\x02a\x7f",
    "no Latin": "你是恶心的",
    "unassigned code points": "\U000e0fff\U0010ffff",
    "64 KiB": "x" * 65_536,
    "64 KiB in 4-byte characters": "😀" * 16_384,
    "looks like JSON": '{"comment_text": 1}',
    "looks like SQL": "'; DROP TABLE predictions; --",
}


@pytest.mark.parametrize("text", SCORED.values(), ids=SCORED.keys())
def test_strange_texts_are_scored_as_the_model_scores_them(api: httpx.Client, server: Server, text: str) -> None:
    answer = post(api, "/predict", json.dumps({"comment_text": text}))
    assert answer.status_code == 200, answer.text
    expected = server.model.score([text])[0]
    assert answer.json()["scores"] == expected.scores
    assert list(expected.scores) == list(LABELS)


EMPTY = {
    "empty": "",
    "spaces": " \t\r\n\u00a0\u3000",
    "zero-width": "\u200b\u200c\u200d\u2060\ufeff",
    "NUL only": "\x00\x00",
    "an override only": "\u202e\u202c",
    "fillers": "\u3164\u115f\u2800",
    "variation selectors": "\ufe0f\U000e0100",
}


@pytest.mark.parametrize("text", EMPTY.values(), ids=EMPTY.keys())
def test_texts_with_nothing_to_see_are_refused_by_field(api: httpx.Client, text: str) -> None:
    assert normalize(text) == ""
    alone = post(api, "/predict", json.dumps({"comment_text": text}))
    assert alone.status_code == 400
    assert alone.json()["code"] == "invalid_input"
    assert alone.json()["message"].startswith("comment_text is empty")
    batch = post(api, "/predict/batch", json.dumps({"comment_texts": ["fine", text, "fine"]}))
    assert batch.status_code == 400
    assert batch.json()["message"].startswith("comment_texts[1] is empty")


DEEP = b"[" * 60_000
UNREADABLE = {
    "nothing": b"",
    "not JSON": SECRET.encode(),
    "half JSON": b'{"comment_text": "' + SECRET.encode(),
    "invalid UTF-8": b'{"comment_text": "\xff\xfe ' + SECRET.encode() + b'"}',
    "overlong UTF-8": b'{"comment_text": "\xc0\x80"}',
    "UTF-8 surrogate": b'{"comment_text": "\xed\xa0\x80"}',
    "UTF-16": json.dumps({"comment_text": SECRET}).encode("utf-16"),
    "raw NUL": b'{"comment_text": "\x00"}',
    "lone high surrogate": field("\\ud800 " + SECRET),
    "lone low surrogate": field("\\udc00 " + SECRET),
    "reversed surrogates": field("\\udc00\\ud800"),
    "no field": b"{}",
    "misspelt field": b'{"comment_txt": "' + SECRET.encode() + b'"}',
    "extra field": b'{"comment_text": "hi", "' + SECRET.encode() + b'": 1}',
    "a list": b'["' + SECRET.encode() + b'"]',
    "a string": b'"' + SECRET.encode() + b'"',
    "null": b"null",
    "null text": b'{"comment_text": null}',
    "a number": b'{"comment_text": 7}',
    "a huge number": b'{"comment_text": ' + b"9" * 100_000 + b"}",
    "a huge exponent": b'{"comment_text": 1e999999999}',
    "NaN": b'{"comment_text": NaN}',
    "a boolean": b'{"comment_text": true}',
    "an object": b'{"comment_text": {"a": "' + SECRET.encode() + b'"}}',
    "a list of texts": b'{"comment_text": ["' + SECRET.encode() + b'"]}',
    "deep nesting": DEEP,
    "deep nesting in the field": b'{"comment_text": ' + DEEP,
    "deep nesting of objects": b'{"a":' * 10_000,
    "5,000 unknown fields": b"{" + b",".join(b'"%d":1' % number for number in range(5_000)) + b"}",
    "trailing text": b'{"comment_text": "hi"} ' + SECRET.encode(),
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/feedback"])
def test_bodies_that_do_not_parse_are_422_and_not_repeated(
    api: httpx.Client, path: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    response = post(api, path, body)
    assert response.status_code == 422, response.text
    assert response.json()["code"] == "unreadable"
    assert SECRET not in response.text
    assert SECRET not in caplog.text
    assert len(response.json()["message"]) < 200


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_only_json_is_read(api: httpx.Client, content_type: str) -> None:
    response = post(api, "/predict", field("hi"), content_type)
    assert response.status_code == 422
    assert "application/json" in response.json()["message"]


def test_json_with_a_charset_is_read(api: httpx.Client) -> None:
    assert post(api, "/predict", field("hi"), "application/json; charset=utf-8").status_code == 200


def test_of_a_repeated_key_the_last_counts(api: httpx.Client, server: Server) -> None:
    response = post(api, "/predict", b'{"comment_text": "thank you", "comment_text": "disgusting"}')
    assert response.json()["scores"] == server.model.score(["disgusting"])[0].scores


WRONG_BATCHES = {
    "a string": (b'{"comment_texts": "abc"}', 422),
    "a number in it": (b'{"comment_texts": ["abc", 7]}', 422),
    "null in it": (b'{"comment_texts": [null]}', 422),
    "an object": (b'{"comment_texts": {"0": "abc"}}', 422),
    "none": (b'{"comment_texts": []}', 400),
    "51 of 50": (json.dumps({"comment_texts": ["a"] * 51}).encode(), 413),
    "100,000": (json.dumps({"comment_texts": ["a"] * 100_000}).encode(), 413),
    "100,000 numbers": (json.dumps({"comment_texts": [0] * 100_000}).encode(), 413),
}


@pytest.mark.parametrize(("body", "status"), WRONG_BATCHES.values(), ids=WRONG_BATCHES.keys())
def test_wrong_batches_are_refused(api: httpx.Client, body: bytes, status: int) -> None:
    response = post(api, "/predict/batch", body)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"code", "message", "request_id"}


WRONG_FEEDBACK = {
    "no verdict": {"prediction_id": "a"},
    "a word": {"prediction_id": "a", "agree": SECRET},
    "empty id": {"prediction_id": "", "agree": True},
    "long id": {"prediction_id": SECRET * 10, "agree": True},
    "labels as a list": {"prediction_id": "a", "agree": False, "labels": ["toxic"]},
    "a score for a label": {"prediction_id": "a", "agree": False, "labels": {SECRET: 0.7}},
}


@pytest.mark.parametrize("body", WRONG_FEEDBACK.values(), ids=WRONG_FEEDBACK.keys())
def test_wrong_feedback_is_refused(api: httpx.Client, body: dict[str, object]) -> None:
    response = api.post("/feedback", json=body)
    assert response.status_code == 422
    assert SECRET not in response.text


def test_feedback_with_very_many_labels_is_refused(api: httpx.Client) -> None:
    labels = {str(number): "wrong" for number in range(50_000)}
    response = api.post("/feedback", json={"prediction_id": "a", "agree": False, "labels": labels})
    assert response.status_code == 413


@pytest.mark.parametrize("text", ["x" * 65_537, "😀" * 16_385], ids=["one byte", "4-byte characters"])
def test_a_text_over_its_limit_is_too_large(api: httpx.Client, text: str) -> None:
    for path, body in (("/predict", {"comment_text": text}), ("/predict/batch", {"comment_texts": ["a", text]})):
        response = api.post(path, json=body)
        assert response.status_code == 413
        assert response.json()["code"] == "too_large"
        assert "65536" in response.json()["message"]


def test_a_body_over_its_limit_is_too_large(api: httpx.Client) -> None:
    response = post(api, "/predict", field("x" * 1_000_001))
    assert response.status_code == 413
    assert response.json()["code"] == "too_large"


def test_what_is_left_of_a_refused_body_is_no_head_of_the_next_request(server: Server) -> None:
    body = b"x" * 1_000_001
    with by_hand(server, f"Content-Type: application/json\r\nContent-Length: {len(body)}") as connection:
        time.sleep(0.2)  # answered before the body comes
        connection.sendall(body + b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        answers = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"413", b"200"]


def answer_to(server: Server, head: str, *pieces: bytes, pause_s: float = 0) -> tuple[int, bytes]:
    """Send a request by hand; return status and body of the answer."""
    with by_hand(server, head) as connection:
        for piece in pieces:
            time.sleep(pause_s)
            connection.sendall(piece)
        return received(connection)


@contextmanager
def by_hand(server: Server, head: str) -> Iterator[socket.socket]:
    port = httpx.URL(server.url).port
    with socket.create_connection(("127.0.0.1", port or 0), timeout=10) as connection:
        connection.sendall(f"POST /predict HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n".encode())
        yield connection


def received(connection: socket.socket) -> tuple[int, bytes]:
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


def test_a_large_body_is_refused_before_it_is_sent(server: Server) -> None:
    answer = answer_to(server, "Content-Type: application/json\r\nContent-Length: 99999999999")
    assert answer[0] == 413


def test_a_large_body_of_unknown_length_is_refused_before_its_end(server: Server) -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    answer = answer_to(server, "Content-Type: application/json\r\nTransfer-Encoding: chunked", *[chunk] * 16)
    assert answer[0] == 413


def test_a_slow_body_gets_a_timeout(server: Server) -> None:
    answer = answer_to(server, "Content-Type: application/json\r\nContent-Length: 1000", b'{"comment', pause_s=0.2)
    assert answer[0] == 408
    assert json.loads(answer[1])["code"] == "timeout"


def test_a_body_that_never_comes_does_not_hold_up_others(server: Server) -> None:
    with by_hand(server, "Content-Length: 10") as connection:
        assert server.http.post("/predict", json={"comment_text": "hello"}).status_code == 200
        assert received(connection)[0] == 408


def test_bytes_that_are_no_http_are_refused(server: Server) -> None:
    status, body = answer_to(server, "Content-Length: -1")
    assert (status, json.loads(body)["code"]) == (400, "invalid_input")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, identity", "zstd"])
def test_a_compressed_body_is_refused_before_it_is_read(server: Server, encoding: str) -> None:
    head = f"Content-Type: application/json\r\nContent-Encoding: {encoding}\r\nContent-Length: 1000"
    status, body = answer_to(server, head)
    assert (status, json.loads(body)["code"]) == (415, "unsupported_encoding")


def test_a_body_that_says_it_is_not_compressed_is_read(api: httpx.Client) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "identity"}
    assert api.post("/predict", content=field("hi"), headers=headers).status_code == 200


def until_closed(connection: socket.socket) -> bytes:
    """Return what comes until the server closes the connection."""
    found = b""
    try:
        while piece := connection.recv(65_536):
            found += piece
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize("sent", [b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nHost: loc"])
def test_a_head_that_does_not_come_in_time_costs_its_connection(server: Server, sent: bytes) -> None:
    with raw(server) as connection:
        connection.sendall(sent)
        begun = time.monotonic()
        assert until_closed(connection) == b""
        assert 0.5 < time.monotonic() - begun < 8


def test_a_head_that_drips_costs_its_connection_too(server: Server) -> None:
    with raw(server) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\n")
        begun = time.monotonic()
        try:
            while time.monotonic() - begun < 8:
                connection.sendall(b"a")
                time.sleep(0.05)
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert time.monotonic() - begun < 5


def test_a_slow_answer_is_not_taken_for_a_slow_head(server: Server) -> None:
    with raw(server) as connection:
        for _ in range(3):  # on one connection, with pauses between requests
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert received(connection)[0] == 200
            time.sleep(0.6)


@pytest.mark.parametrize("line", [b"X-Flood: %s\r\n" % (b"x" * 1000), b"A: b\r\n"], ids=["long", "many"])
def test_a_flood_of_headers_is_cut_off(server: Server, line: bytes) -> None:
    with raw(server) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
        sent = 0
        try:
            while sent < 50_000_000:
                connection.sendall(line * 100)
                sent += 100 * len(line)
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert sent < 20_000_000  # socket buffers hold a few MB of it
    assert server.http.get("/health").status_code == 200


def test_more_connections_than_allowed_are_refused_and_room_comes_back(server: Server) -> None:
    assert server.http.get("/health").status_code == 200  # its own connection stays open
    idle = [raw_connection(server) for _ in range(110)]
    try:
        full = [connection for connection in idle if refusal(connection)]
        assert 5 <= len(full) <= 20  # of 100 allowed
        assert server.http.get("/health").status_code == 200
    finally:
        for connection in idle:
            connection.close()
    wait_until(lambda: answer_to(server, "Content-Type: text/plain\r\nContent-Length: 0")[0] == 422)


def refusal(connection: socket.socket) -> bool:
    """Return whether the server has said 503 on a connection that has asked nothing."""
    connection.settimeout(0.2)
    try:
        return connection.recv(1000).startswith(b"HTTP/1.1 503")
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


def raw_connection(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", httpx.URL(server.url).port or 0), timeout=10)


@contextmanager
def raw(server: Server) -> Iterator[socket.socket]:
    with raw_connection(server) as connection:
        yield connection


MANY_ITEMS = {
    "lists in a list": b'{"comment_texts": [' + b"[]," * 200_000 + b"[]]}",
    "an unknown field": b'{"comment_text": "fine", "x": [' + b"[]," * 200_000 + b"[]]}",
    "nested": b'{"comment_text": ' + b"[" * 200_000,
    "objects": b'{"x": [' + b"{}," * 200_000 + b"{}]}",
    "strings side by side": b'{"comment_text": ' + b'""' * 200_000,
    "behind an escaped quote": rb'{"comment_text": "\\\"\\", "x": [' + b"[]," * 200_000 + b"[]]}",
}


@pytest.mark.parametrize("body", MANY_ITEMS.values(), ids=MANY_ITEMS.keys())
def test_a_large_body_of_very_many_items_is_refused_before_it_is_parsed(api: httpx.Client, body: bytes) -> None:
    for path in ("/predict", "/predict/batch", "/feedback"):
        response = post(api, path, body)
        assert response.status_code == 413
        assert response.json()["message"].startswith("the body has more than ")


LONG_TEXTS = [",,," * 600, '["' * 900, "{" * 1_800, '\\"[,\\\\' * 300, "\\" * 900]


def test_a_full_batch_of_long_texts_is_taken_whatever_is_in_them(api: httpx.Client) -> None:
    texts = [f"fine {text}" for text in LONG_TEXTS * 10]
    for ascii_only in (True, False):
        response = post(api, "/predict/batch", json.dumps({"comment_texts": texts}, ensure_ascii=ascii_only))
        assert response.status_code == 200, response.text
        assert len(response.json()["predictions"]) == 50
