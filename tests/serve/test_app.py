import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, select

from moderation.contracts import FeedbackRequest
from moderation.db.models import Feedback, Prediction
from moderation.errors import ConfigurationError
from moderation.labels import LABELS
from moderation.language import language_tag
from moderation.settings import ApiSettings
from serve.app import create_app
from serve.feedback import FeedbackDesk
from serve.ids import uuid7
from serve.model import Model, TextScores
from serve.outbox import Outbox
from serve.prediction_log import PredictionLog
from serve.predictor import Call
from serve.watcher import Watcher
from tests.serve.fakes import HangingLog, UnsteadyLog
from tests.serve.server import Score, Server, served, settings_in, wait_until, with_scoring

OLD_ID = "01934f6e-9d2a-7c51-9f5e-2b1d3c4a5e6f"
"""Of a prediction of 2024."""


def rows(engine: Engine, table: type[Prediction] | type[Feedback]) -> dict[str, object]:
    with engine.connect() as connection:
        return {row.id: row for row in connection.execute(select(table))}


def hello(server: Server, text: str = "hello") -> httpx.Response:
    return server.http.post("/predict", json={"comment_text": text})


def shows(server: Server, metric: str) -> bool:
    return metric in server.http.get("/metrics").text


def refused(response: httpx.Response, status: int, code: str) -> str:
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"code", "message", "request_id"}
    assert body["code"] == code
    assert body["request_id"] == response.headers["x-request-id"]
    return str(body["message"])


def test_a_comment_is_scored_decided_and_logged_as_answered(api: httpx.Client, server: Server) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    response = api.post("/predict", json={"comment_text": "You are disgusting."}, headers={"X-Request-Id": "try.1"})
    assert response.status_code == 200
    assert response.headers["x-request-id"] == "try.1"
    answer = response.json()
    assert list(answer["scores"]) == list(LABELS)
    assert answer["decision"] == "remove"
    assert answer["reasons"] == ["toxic"]
    assert answer["version"] == server.model.served.version
    wait_until(lambda: answer["id"] in rows(server.engine, Prediction))
    row = rows(server.engine, Prediction)[answer["id"]]
    assert {label: getattr(row, f"score_{label}") for label in LABELS} == answer["scores"]
    assert (row.decision, row.reasons, row.version) == (answer["decision"], answer["reasons"], answer["version"])
    assert (row.request_id, row.route, row.client) == ("try.1", "/predict", "anonymous")
    assert (row.text, row.tokens_read, row.truncated) == ("You are disgusting.", answer["tokens_read"], False)
    assert (row.language, row.characters, row.unknown_tokens) == (
        language_tag("You are disgusting."),
        19,
        3,
    )  # but for "disgusting"
    assert before <= row.created_at <= datetime.now(UTC)
    assert 0 < row.latency_ms < 30_000


def test_of_a_text_that_must_not_be_stored_no_trait_is_logged(api: httpx.Client, server: Server) -> None:
    body = {"comment_text": "You are disgusting.", "do_not_store": True}
    answers = [api.post("/predict", json=body | extra).json() for extra in ({}, {"do_not_store": False}, {})]
    wait_until(lambda: {answer["id"] for answer in answers} <= set(rows(server.engine, Prediction)))
    found = [rows(server.engine, Prediction)[answer["id"]] for answer in answers]
    assert [(row.text, row.language, row.characters, row.unknown_tokens) for row in found] == [
        (None, None, None, None),
        ("You are disgusting.", language_tag("You are disgusting."), 19, 3),
        (None, None, None, None),
    ]


def test_a_friendly_comment_is_allowed(api: httpx.Client) -> None:
    answer = api.post("/predict", json={"comment_text": "Thank you for the clear explanation."}).json()
    assert (answer["decision"], answer["reasons"]) == ("allow", [])


def test_a_batch_keeps_its_order_and_scores_as_one_by_one(api: httpx.Client, server: Server) -> None:
    texts = ["You are disgusting.", "thank you", "damn", "kill the vermin", "你好", "😀"] * 5
    answers = api.post("/predict/batch", json={"comment_texts": texts}).json()["predictions"]
    alone = [api.post("/predict", json={"comment_text": text}).json() for text in texts[:6]]
    assert [answer["scores"] for answer in answers] == [answer["scores"] for answer in alone] * 5
    wait_until(lambda: {answer["id"] for answer in answers} <= set(rows(server.engine, Prediction)))


def test_a_text_longer_than_the_model_reads_is_said_to_be_truncated_and_sent_to_a_person(api: httpx.Client) -> None:
    answer = api.post("/predict", json={"comment_text": "fine " * 500}).json()
    assert answer["truncated"] is True
    assert answer["tokens_read"] == 64
    assert (answer["decision"], answer["reasons"]) == ("review", ["truncated"])


def test_feedback_is_recorded_with_its_labels(api: httpx.Client, server: Server) -> None:
    prediction_id = api.post("/predict", json={"comment_text": "damn"}).json()["id"]
    at_once = api.post("/feedback", json={"prediction_id": prediction_id, "agree": True})
    assert at_once.status_code == 200
    wait_until(lambda: prediction_id in rows(server.engine, Prediction))
    later = api.post(
        "/feedback", json={"prediction_id": prediction_id, "agree": False, "labels": {"obscene": True, "toxic": False}}
    )
    assert later.status_code == 200
    wait_until(lambda: later.json()["id"] in rows(server.engine, Feedback))
    row = rows(server.engine, Feedback)[later.json()["id"]]
    assert (row.prediction_id, row.agree, row.labels) == (prediction_id, False, {"obscene": True, "toxic": False})


@pytest.mark.parametrize(
    "prediction_id",
    ["nothing", "\x00", OLD_ID, "ffffffff-ffff-7fff-bfff-ffffffffffff", "x" * 64, "'; DROP TABLE predictions"],
)
def test_feedback_on_an_unknown_prediction_is_not_found(api: httpx.Client, prediction_id: str) -> None:
    response = api.post("/feedback", json={"prediction_id": prediction_id, "agree": True})
    assert prediction_id not in refused(response, 404, "not_found")


def test_feedback_on_a_prediction_that_another_server_may_still_hold_is_taken(api: httpx.Client) -> None:
    assert api.post("/feedback", json={"prediction_id": uuid7(), "agree": True}).status_code == 200


def test_predictions_go_on_while_look_ups_for_feedback_hang(tmp_path: Path, model: Model) -> None:
    logs: list[HangingLog] = []

    def hanging(engine: Engine) -> HangingLog:
        logs.append(HangingLog(engine))
        return logs[0]

    with served(settings_in(tmp_path), model, log=hanging) as server, ThreadPoolExecutor(20) as pool:
        verdict = {"prediction_id": OLD_ID, "agree": True}
        asked = [pool.submit(server.http.post, "/feedback", json=verdict) for _ in range(20)]
        assert logs[0].asked.wait(20)
        begun = time.monotonic()
        # Without a plain letter, so that a thread of the pool that all share looks at it.
        assert hello(server, "你好").status_code == 200
        assert time.monotonic() - begun < 10
        assert {future.result().status_code for future in asked} == {200}
        logs[0].answers.set()


@pytest.mark.parametrize("when", ["in the outbox", "in the database"])
def test_labels_may_confirm_a_prediction_that_is_agreed_with_but_not_contradict_it(
    tmp_path: Path, model: Model, when: str
) -> None:
    logs: list[UnsteadyLog] = []

    def unsteady(engine: Engine) -> UnsteadyLog:
        logs.append(UnsteadyLog(engine))
        return logs[0]

    with served(settings_in(tmp_path), model, log=unsteady) as server:
        logs[0].takes_rows = when == "in the database"
        answer = server.http.post("/predict", json={"comment_text": "You are disgusting."}).json()
        if when == "in the database":
            wait_until(lambda: answer["id"] in rows(server.engine, Prediction))
        assert answer["reasons"]

        def say(agree: bool, labels: dict[str, bool]) -> httpx.Response:
            body = {"prediction_id": answer["id"], "agree": agree, "labels": labels}
            return server.http.post("/feedback", json=body)

        predicted = {label: answer["scores"][label] >= 0.5 for label in LABELS}
        assert set(predicted.values()) == {True, False}
        assert say(True, predicted).status_code == 200
        assert say(True, {}).status_code == 200
        for label, is_there in predicted.items():
            message = refused(say(True, {**predicted, label: not is_there}), 422, "contradictory")
            assert f"what was predicted for {label};" in message
            assert say(False, {label: not is_there}).status_code == 200
        assert say(False, predicted).status_code == 200  # the labels are right, the decision is not


def test_agreement_with_what_cannot_be_seen_from_here_is_taken(api: httpx.Client) -> None:
    body = {"prediction_id": uuid7(), "agree": True, "labels": {"toxic": True}}
    assert api.post("/feedback", json=body).status_code == 200


def test_while_the_database_is_known_to_be_away_it_is_not_asked_for_a_prediction(
    tmp_path: Path, sqlite_engine: Engine, model: Model
) -> None:
    outbox, log = Outbox(tmp_path / "outbox.db", 100), HangingLog(sqlite_engine)
    outbox.start()
    desk = FeedbackDesk(lambda: model.served, outbox, log, reachable=lambda: False)
    request = FeedbackRequest(prediction_id=OLD_ID, agree=True)
    asyncio.run(desk.take(request, Call("request", "/feedback", time.perf_counter())))
    assert not log.asked.is_set()
    assert outbox.pending() == 1
    desk.close()
    outbox.stop()
    outbox.close()


def test_feedback_with_an_unknown_label_names_the_known_ones(api: httpx.Client) -> None:
    response = api.post("/feedback", json={"prediction_id": uuid7(), "agree": False, "labels": {"rude": True}})
    message = refused(response, 400, "invalid_input")
    assert all(label in message for label in LABELS)
    assert "rude" not in message


def test_health_ready_and_version(api: httpx.Client, server: Server) -> None:
    assert api.get("/health").json() == {"status": "ok"}
    ready = api.get("/ready")
    assert ready.status_code == 200
    assert ready.json() == {"ready": True, "parts": {"model": "ok", "outbox": "ok", "database": "ok", "registry": "ok"}}
    version = api.get("/version").json()
    assert version["labels"] == list(LABELS)
    assert version["thresholds"]["toxic"] == {"review": 0.5, "remove": 0.95}
    assert version["alias"] == "production"


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/version"])
def test_head_is_answered_as_get_without_the_body(api: httpx.Client, path: str) -> None:
    head, get = api.head(path), api.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(get.content))


def test_metrics_count_by_route_template_and_hold_no_text(api: httpx.Client) -> None:
    api.post("/predict", json={"comment_text": "unmistakable words"})
    api.get("/unmistakable/path?unmistakable=query")
    response = api.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    found = response.text
    assert 'moderation_requests_total{method="POST",route="/predict",status="200"}' in found
    assert 'moderation_requests_total{method="GET",route="none",status="404"}' in found
    version = api.get("/version").json()["version"]
    assert f'moderation_predictions_total{{decision="allow",version="{version}"}}' in found
    for part in ("request", "queue", "tokenize", "inference", "loop_lag"):
        assert f"moderation_{part}_seconds_bucket" in found
    assert "moderation_database_up 1.0" in found
    assert "process_resident_memory_bytes" in found
    assert "unmistakable" not in found


def test_unknown_paths_and_methods_answer_in_the_common_shape(api: httpx.Client) -> None:
    refused(api.get("/nothing"), 404, "not_found")
    refused(api.get("/static/nothing.css"), 404, "not_found")
    refused(api.get("/static/../app.py"), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/predict", 'this path takes POST with a JSON body, such as {"comment_text": "You are disgusting."}'),
        ("PUT", "/feedback", 'this path takes POST with a JSON body, such as {"agree": false, '),
        ("GET", "/admin/reload", "this path takes POST"),
        ("POST", "/version", "this path takes GET"),
    ],
)
def test_a_wrong_method_is_told_how_to_ask(api: httpx.Client, method: str, path: str, said: str) -> None:
    response = api.request(method, path)
    message = refused(response, 405, "method_not_allowed")
    assert message.startswith(said)
    assert response.headers["allow"] == said.split()[3]


def test_the_page_needs_nothing_from_elsewhere_and_allows_no_inline_code(api: httpx.Client) -> None:
    response = api.get("/")
    assert response.status_code == 200
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    files = re.findall(r'(?:src|href)="(/static/[^"]+)"', response.text)
    assert len(files) == 2
    for text in [response.text, *(api.get(file).text for file in files)]:
        assert "//" not in re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)
        assert "innerHTML" not in text
        assert not re.search(r"\son[a-z]+=", text)


def test_the_documentation_has_examples_and_the_error_answers(api: httpx.Client) -> None:
    page = api.get("/docs").text
    assert "http://" not in page
    assert "https://" not in page
    for file in re.findall(r'(?:src|href)="(/[^"]+\.(?:js|css))"', page):
        assert api.get(file).status_code == 200
    paths = api.get("/openapi.json").json()["paths"]
    assert set(paths) == {
        "/predict",
        "/predict/batch",
        "/feedback",
        "/admin/reload",
        "/health",
        "/ready",
        "/version",
        "/metrics",
    }
    predict = paths["/predict"]["post"]
    assert predict["requestBody"]["content"]["application/json"]["schema"]["examples"]
    assert set(predict["responses"]) == {
        *("200", "400", "401", "403", "404", "408", "413", "415", "422", "429", "431", "500", "503", "504")
    }
    assert predict["responses"]["422"]["content"]["application/json"]["example"]["code"] == "unreadable"
    assert "404" in paths["/feedback"]["post"]["responses"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]:8000", "[::1]"])
def test_hosts_of_this_machine_are_answered(api: httpx.Client, host: str) -> None:
    assert api.get("/health", headers={"Host": host, "Origin": f"http://{host}"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8000"},
        {"Host": "localhost.evil.example"},
        {"Host": "evil@localhost"},
        {"Host": "127.0.0.1.nip.io"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Host": "localhost:8000", "Origin": "http://localhost:3000"},
        {"Host": "localhost:8000", "Origin": "https://localhost:8000"},
        {"Host": "localhost:8000", "Origin": "http://127.0.0.1:8000"},
    ],
)
def test_other_hosts_and_origins_are_refused_everywhere(api: httpx.Client, headers: dict[str, str]) -> None:
    for response in (
        api.get("/", headers=headers),
        api.get("/nothing", headers=headers),
        api.post("/predict", json={"comment_text": "hello"}, headers=headers),
    ):
        refused(response, 403, "forbidden")


@pytest.mark.parametrize("given", ["", "with space", "x" * 65, "ünicode".encode(), "a\tb"])
def test_an_unfit_request_id_is_replaced(api: httpx.Client, given: str | bytes) -> None:
    response = api.get("/health", headers={"X-Request-Id": given})
    assert response.status_code == 200
    assert re.fullmatch("[0-9a-f-]{36}", response.headers["x-request-id"])


def test_an_overloaded_server_says_when_to_come_back_and_recovers(tmp_path: Path, model: Model) -> None:
    gate = threading.Event()
    slow = with_scoring(model, lambda score, texts: (gate.wait(20), score(texts))[1])
    settings = settings_in(tmp_path, max_waiting_texts=3, max_batch_texts=3)
    with served(settings, slow) as server, ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(hello, server) for _ in range(3)]
        wait_until(lambda: shows(server, "moderation_waiting_texts 3.0"))
        response = hello(server)
        refused(response, 503, "overloaded")
        assert int(response.headers["retry-after"]) >= 1
        gate.set()
        assert [future.result().status_code for future in waiting] == [200] * 3
        assert hello(server).status_code == 200


def test_a_caller_who_leaves_is_not_scored(tmp_path: Path, model: Model) -> None:
    gate, entered, seen = threading.Event(), threading.Event(), []

    def score(real: Score, texts: Sequence[str]) -> list[TextScores]:
        seen.extend(texts)
        entered.set()
        gate.wait(20)
        return real(texts)

    settings = settings_in(tmp_path, threads=1)
    with served(settings, with_scoring(model, score)) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(hello, server, "first")
        assert entered.wait(20)
        with pytest.raises(httpx.ReadTimeout):
            server.http.post("/predict", json={"comment_text": "left"}, timeout=0.5)
        wait_until(lambda: shows(server, "moderation_waiting_texts 1.0"))
        gate.set()
        assert first.result().status_code == 200
        assert hello(server, "next").status_code == 200
        assert shows(server, 'status="499"')
    assert seen == ["first", "next"]


def test_a_failing_model_is_a_500_without_the_text_and_the_server_lives_on(
    tmp_path: Path, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    def score(real: Score, texts: Sequence[str]) -> list[TextScores]:
        if any("break" in text for text in texts):
            raise RuntimeError(f"cannot score {texts}")
        return real(texts)

    with served(settings_in(tmp_path), with_scoring(model, score)) as server:
        assert "break it" not in refused(hello(server, "break it"), 500, "internal")
        assert hello(server).status_code == 200
    assert "break it" not in " ".join(caplog.messages)


def test_an_unexpected_error_is_a_500_without_any_detail(
    tmp_path: Path, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    class BrokenPolicy:
        def decide(self, scores: dict[str, float], truncated: bool) -> None:
            raise KeyError("detail of the fault")

    broken = replace(model, policy=BrokenPolicy())  # type: ignore[arg-type]
    with served(settings_in(tmp_path), broken) as server:
        response = hello(server)
        assert refused(response, 500, "internal") == "internal error"
        assert server.http.get("/health").status_code == 200
    (record,) = [record for record in caplog.records if record.message == "unexpected error"]
    assert record.fields["request_id"] == response.headers["x-request-id"]


def test_on_a_disk_that_turns_read_only_nothing_is_answered_until_it_can_be_written_again(
    tmp_path: Path, model: Model
) -> None:
    with served(settings_in(tmp_path), model) as server:
        assert hello(server).status_code == 200
        server.outbox._writer.execute("PRAGMA query_only = ON")  # as SQLite says it of a read-only file
        refusal = hello(server)
        assert "outbox cannot be written" in refused(refusal, 503, "unavailable")
        assert int(refusal.headers["retry-after"]) >= 1
        ready = server.http.get("/ready")
        assert (ready.status_code, "cannot be written" in ready.json()["parts"]["outbox"]) == (503, True)
        server.outbox._writer.execute("PRAGMA query_only = OFF")
        wait_until(lambda: server.http.get("/ready").status_code == 200)
        answer = hello(server)
        assert answer.status_code == 200
        wait_until(lambda: answer.json()["id"] in rows(server.engine, Prediction))


def test_answers_go_on_while_the_database_is_away(tmp_path: Path, model: Model) -> None:
    logs: list[UnsteadyLog] = []

    def unsteady(engine: Engine) -> UnsteadyLog:
        logs.append(UnsteadyLog(engine))
        return logs[0]

    with served(settings_in(tmp_path), model, log=unsteady) as server:
        logs[0].away = True
        answered = [hello(server).json()["id"] for _ in range(3)]
        wait_until(lambda: "away" in server.http.get("/ready").json()["parts"]["database"])
        assert server.http.get("/ready").status_code == 200
        known = server.http.post("/feedback", json={"prediction_id": answered[0], "agree": True})
        unsure = server.http.post("/feedback", json={"prediction_id": OLD_ID, "agree": True})
        assert (known.status_code, unsure.status_code) == (200, 200)
        logs[0].away = False
        wait_until(lambda: server.outbox.pending() == 0)
        assert set(rows(server.engine, Prediction)) == set(answered)
        assert set(rows(server.engine, Feedback)) == {known.json()["id"], unsure.json()["id"]}


def test_a_full_outbox_refuses_predictions_and_is_not_ready(tmp_path: Path, model: Model) -> None:
    def away(engine: Engine) -> UnsteadyLog:
        log = UnsteadyLog(engine)
        log.away = True
        return log

    settings = settings_in(tmp_path, max_outbox_rows=2, max_batch_texts=2)
    with served(settings, model, log=away, flush_s=0) as server:
        assert server.http.post("/predict/batch", json={"comment_texts": ["a", "b"]}).status_code == 200
        response = hello(server)
        refused(response, 503, "overloaded")
        assert response.headers["retry-after"] == "10"
        ready = server.http.get("/ready")
        assert ready.status_code == 503
        assert ready.json()["parts"]["outbox"] == "is full with 2 rows"


def test_twenty_callers_get_each_their_own_scores_and_the_database_those_answered(
    tmp_path: Path, model: Model, database_url: str
) -> None:
    words = ["disgusting", "idiot", "damn", "kill", "vermin", "thank", "hello"]
    expected = {word: model.score([word])[0].scores for word in words}
    with served(settings_in(tmp_path, database_url=database_url), model) as server:

        def ask(number: int) -> tuple[str, dict[str, object]]:
            word = words[number % len(words)]
            return word, hello(server, word).json()

        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(ask, range(1000)))
        assert all(answer["scores"] == expected[word] for word, answer in answers)
        wait_until(lambda: server.outbox.pending() == 0)
        stored = rows(server.engine, Prediction)
    assert {number: {label: getattr(row, f"score_{label}") for label in LABELS} for number, row in stored.items()} == {
        answer["id"]: answer["scores"] for _, answer in answers
    }


def test_limits_that_contradict_each_other_are_refused(tmp_path: Path, model: Model, sqlite_engine: Engine) -> None:
    settings: ApiSettings = settings_in(tmp_path, max_batch_texts=10, max_waiting_texts=5)
    outbox = Outbox(tmp_path / "outbox.db", 100)
    with pytest.raises(ConfigurationError, match="MODERATION_MAX_BATCH_TEXTS"):
        create_app(settings, watcher=Watcher(model), outbox=outbox, log=PredictionLog(sqlite_engine))
    outbox.close()


def test_scoring_does_not_hold_up_the_event_loop(tmp_path: Path, model: Model) -> None:
    gate = threading.Event()
    blocked = with_scoring(model, lambda score, texts: (gate.wait(20), score(texts))[1])
    with served(settings_in(tmp_path), blocked) as server, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(hello, server)
        wait_until(lambda: shows(server, "moderation_waiting_texts 1.0"))
        assert server.http.get("/health", timeout=5).status_code == 200
        assert not waiting.done()
        gate.set()
        assert waiting.result().status_code == 200


def test_a_request_over_its_deadline_gets_504_and_its_texts_are_not_scored(tmp_path: Path, model: Model) -> None:
    gate, seen = threading.Event(), []

    def score(real: Score, texts: Sequence[str]) -> list[TextScores]:
        seen.extend(texts)
        gate.wait(20)
        return real(texts)

    settings = settings_in(tmp_path, threads=1, deadline_s=0.5)
    with served(settings, with_scoring(model, score)) as server:
        late = server.http.post("/predict/batch", json={"comment_texts": [f"text {number}" for number in range(9)]})
        assert "0.5 s" in refused(late, 504, "deadline")
        assert shows(server, "moderation_waiting_texts 0.0")
        gate.set()
        assert hello(server, "next").status_code == 200
    assert seen == ["text 0", "next"]


def test_a_caller_who_leaves_in_mid_batch_frees_the_model_for_others(tmp_path: Path, model: Model) -> None:
    seen: list[str] = []

    def score(real: Score, texts: Sequence[str]) -> list[TextScores]:
        seen.extend(texts)
        time.sleep(0.05)
        return real(texts)

    left = [f"left {number}" for number in range(900)]
    with served(settings_in(tmp_path, threads=1), with_scoring(model, score)) as server:
        body = json.dumps({"comment_texts": left}).encode()
        head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port or 0)) as caller:
            caller.sendall(f"POST /predict/batch HTTP/1.1\r\n{head}\r\n\r\n".encode() + body)
            wait_until(lambda: len(seen) >= 2)
        wait_until(lambda: shows(server, "moderation_waiting_texts 0.0"))
        assert hello(server, "next").status_code == 200
    assert seen.index("next") == len(seen) - 1 < 900


def test_nothing_holds_the_event_loop_up_under_load(tmp_path: Path, model: Model) -> None:
    slow = with_scoring(model, lambda score, texts: (time.sleep(0.003 * len(texts)), score(texts))[1])
    settings = settings_in(tmp_path, max_batch_texts=1000, cache_texts=0, max_wait_s=60)
    with served(settings, slow) as server, ThreadPoolExecutor(4) as pool:
        texts = [f"hello {number} " * 50 for number in range(1000)]
        asked = [pool.submit(server.http.post, "/predict/batch", json={"comment_texts": texts}) for _ in range(2)]
        asked += [pool.submit(hello, server, f"thank you {number}") for number in range(100)]
        assert {future.result().status_code for future in asked} == {200}
        figures = server.http.get("/metrics").text
    late = {
        float(limit): float(count)
        for limit, count in re.findall(r'loop_lag_seconds_bucket\{le="([0-9.]+)"\} ([0-9.]+)', figures)
    }
    assert late[5.0] >= 3
    assert late[2.0] == late[30.0]  # a busy machine takes its share; a batch scored on the loop would take 3 s
