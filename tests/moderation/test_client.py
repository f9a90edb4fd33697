import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import select

from moderation.client import ModerationClient
from moderation.db.models import Prediction
from moderation.errors import (
    ConfigurationError,
    ForbiddenError,
    InvalidInputError,
    ModerationError,
    NotFoundError,
    OverloadedError,
    OverQuotaError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
)
from moderation.labels import LABELS
from serve.ids import uuid7
from tests.serve.server import Server, served, settings_in, tiny_model, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real API server with small limits."""
    folder = tmp_path_factory.mktemp("client")
    settings = settings_in(folder, max_text_bytes=1_000, max_batch_texts=3)
    with served(settings, tiny_model(settings, folder)) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[ModerationClient]:
    with ModerationClient(server.url) as client:
        yield client


@contextmanager
def answering(status: int, body: bytes, headers: dict[str, str] | None = None) -> Iterator[str]:
    """Serve one answer to every GET; yield the URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as other:
        thread = threading.Thread(target=other.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{other.server_port}"
        other.shutdown()
        thread.join()


def test_a_comment_is_scored(client: ModerationClient, server: Server) -> None:
    prediction = client.predict("You are disgusting. 你好 \x00😀")
    assert prediction.scores == server.model.score(["You are disgusting. 你好 \x00😀"])[0].scores
    assert prediction.decision == "remove"
    assert prediction.version == client.version().version


def test_a_batch_keeps_its_order(client: ModerationClient) -> None:
    texts = ["damn", "thank you", "kill"]
    assert [p.scores for p in client.predict_batch(texts)] == [client.predict(text).scores for text in texts]


def test_what_may_be_kept_is_said_with_each_request(client: ModerationClient, server: Server) -> None:
    kept = client.predict("damn", author_id="me")
    nothing = [
        client.predict("damn", do_not_store=True, author_id="me"),
        *client.predict_batch(["damn"] * 2, do_not_store=True),
    ]
    wait_until(lambda: server.outbox.pending() == 0)
    with server.engine.connect() as connection:
        query = select(Prediction.text, Prediction.author).where(
            Prediction.id.in_([each.id for each in (kept, *nothing)])
        )
        assert sorted(connection.execute(query).all(), key=str) == [("damn", "me"), *[(None, None)] * 3]
    with pytest.raises(InvalidInputError, match="author_id: String should have at most 256"):
        client.predict("damn", author_id="a" * 257)


def test_feedback_gets_a_receipt(client: ModerationClient) -> None:
    prediction = client.predict("damn")
    assert client.feedback(prediction.id, agree=True).id
    assert client.feedback(prediction.id, agree=False, labels={"obscene": False}).id


def test_the_served_version_is_told(client: ModerationClient) -> None:
    served_version = client.version()
    assert served_version.labels == list(LABELS)
    assert served_version.thresholds["toxic"]["remove"] == 0.95


def test_errors_are_those_that_the_server_raised(client: ModerationClient) -> None:
    with pytest.raises(InvalidInputError, match="comment_text is empty"):
        client.predict(" ")
    with pytest.raises(TooLargeError, match="1000 bytes"):
        client.predict("x" * 1_001)
    with pytest.raises(TooLargeError, match="at most 3"):
        client.predict_batch(["x"] * 4)
    with pytest.raises(NotFoundError):
        client.feedback("01800000-0000-7000-8000-000000000000", agree=True)  # of 2022
    with pytest.raises(InvalidInputError, match="known are"):
        client.feedback(uuid7(), agree=True, labels={"rude": True})


def test_what_does_not_fit_the_contract_is_refused_before_it_is_sent_and_not_repeated() -> None:
    with ModerationClient("http://127.0.0.1:1") as client:
        for text in ("secret \ud800", b"\xff secret", 7):
            with pytest.raises(InvalidInputError, match="comment_text") as refused:
                client.predict(text)  # type: ignore[arg-type]
            assert "secret" not in str(refused.value)


def test_a_server_that_is_not_there_is_named() -> None:
    with ModerationClient("http://127.0.0.1:1") as client, pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1 "):
        client.version()


def test_a_url_that_is_none_is_a_wrong_configuration() -> None:
    with pytest.raises(ConfigurationError, match="http://"):
        ModerationClient("http://[::1")


def test_a_server_that_does_not_answer_in_time_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with ModerationClient(url, timeout_s=0.1) as client, pytest.raises(UnavailableError):
            client.predict("hello")


def test_something_else_that_answers_is_unavailable() -> None:
    for status, body in ((200, b"<html>"), (200, b"{}"), (404, b"not here"), (502, b"")):
        with (
            answering(status, body) as url,
            ModerationClient(url) as client,
            pytest.raises(UnavailableError, match="not"),
        ):
            client.version()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "unauthorized", UnauthorizedError),
        (403, "forbidden", ForbiddenError),
        (422, "unreadable", InvalidInputError),
        (500, "internal", ModerationError),
        (503, "unavailable", UnavailableError),
        (503, "a newer code", ModerationError),
    ],
)
def test_codes_become_exceptions(status: int, code: str, kind: type[ModerationError]) -> None:
    body = f'{{"code": "{code}", "message": "why", "request_id": "1", "newer": true}}'.encode()
    with answering(status, body) as url, ModerationClient(url) as client:
        with pytest.raises(kind, match="why") as raised:
            client.version()
        assert type(raised.value) is kind


def test_a_quota_that_is_used_up_carries_when_it_begins_again() -> None:
    body = b'{"code": "over_quota", "message": "used up", "request_id": "1"}'
    with answering(429, body, {"Retry-After": "42"}) as url, ModerationClient(url) as client:
        with pytest.raises(OverQuotaError, match="used up") as raised:
            client.version()
        assert raised.value.retry_after_s == 42


@pytest.mark.parametrize(("header", "expected"), [("7", 7), ("soon", 1), ("", 1)])
def test_overload_carries_when_to_come_back(header: str, expected: int) -> None:
    body = b'{"code": "overloaded", "message": "full", "request_id": "1"}'
    with answering(503, body, {"Retry-After": header}) as url, ModerationClient(url) as client:
        with pytest.raises(OverloadedError) as raised:
            client.version()
        assert raised.value.retry_after_s == expected
