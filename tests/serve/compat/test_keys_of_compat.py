"""Who may ask on the paths of other services, and what that costs: keys where their clients put them."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from moderation.db.models import Prediction
from serve.model import Model
from tests.serve.compat.asking import ANALYZE, INFO, SUGGEST, body, refused, send
from tests.serve.keyed import bearer, make, served_with_keys
from tests.serve.process import environment, running
from tests.serve.server import Server, settings_in, wait_until

TEXT = "You are disgusting."
SUGGESTION = {"comment": {"text": TEXT}, "attributeScores": {"TOXICITY": {"summaryScore": {"value": 0}}}}


@pytest.fixture(scope="module")
def keyed(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served_with_keys(settings_in(tmp_path_factory.mktemp("keyed"), suggestions_per_minute=3), model) as server:
        yield server


@pytest.fixture(scope="module")
def key(keyed: Server) -> str:
    return make(keyed.engine, "newsroom", "predict", "feedback")


@pytest.mark.parametrize("where", ["query", "goog", "bearer", "header", "query before a token for Google"])
def test_a_key_is_taken_where_clients_put_it(keyed: Server, key: str, where: str) -> None:
    query, headers = {
        "query": (f"?alt=json&key={key}", {}),
        "goog": ("", {"X-Goog-Api-Key": key}),
        "bearer": ("", bearer(key)),
        "header": ("", {"X-API-Key": key}),
        "query before a token for Google": (f"?key={key}", {"Authorization": "Bearer ya29.google"}),
    }[where]
    assert send(keyed, body(), ANALYZE + query, headers=headers).status_code == 200


@pytest.mark.parametrize("path", [ANALYZE, SUGGEST, "/v1alpha1/nothing"])
def test_no_key_and_a_bad_key_are_told_apart(keyed: Server, path: str) -> None:
    none = send(keyed, body(), path)
    assert refused(none)[0::2] == (403, "PERMISSION_DENIED")
    bad = send(keyed, body(), f"{path}?key=mod_wrong")
    assert refused(bad) == (
        400,
        "API key not valid. Please pass a valid API key.",
        "INVALID_ARGUMENT",
        "API_KEY_INVALID",
    )
    assert bad.json()["error"]["details"] == [{"@type": INFO, "reason": "API_KEY_INVALID", "domain": "googleapis.com"}]


def test_suggestions_need_their_scope_and_are_bounded(keyed: Server) -> None:
    reader, desk = make(keyed.engine, "reader", "predict"), make(keyed.engine, "desk", "feedback")
    assert refused(send(keyed, SUGGESTION, f"{SUGGEST}?key={reader}"))[0::2] == (403, "PERMISSION_DENIED")
    assert refused(send(keyed, body(), f"{ANALYZE}?key={desk}"))[0::2] == (403, "PERMISSION_DENIED")
    answers = [send(keyed, SUGGESTION, f"{SUGGEST}?key={desk}") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert refused(answers[-1])[2:] == ("RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED")
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60


def test_a_quota_counts_comments_and_sentences(keyed: Server) -> None:
    poor = make(keyed.engine, "poor", quota_per_minute=4)
    one = send(keyed, body("One here. Two there."), f"{ANALYZE}?key={poor}")
    assert one.headers["x-ratelimit-remaining"] == "3"
    spans = send(keyed, body("One here. Two there.", spanAnnotations=True), f"{ANALYZE}?key={poor}")
    assert spans.headers["x-ratelimit-remaining"] == "0"
    over = send(keyed, body(), f"{ANALYZE}?key={poor}")
    assert refused(over)[0::2] == (429, "RESOURCE_EXHAUSTED")
    assert over.json()["error"]["details"] == [
        {
            "@type": INFO,
            "reason": "RATE_LIMIT_EXCEEDED",
            "domain": "googleapis.com",
            "metadata": {"quota_limit": "PerMinutePerKey", "quota_limit_value": "4"},
        }
    ]
    assert int(over.headers["retry-after"]) >= 1


def test_what_a_quota_never_allows_is_over_it_too(keyed: Server) -> None:
    small = make(keyed.engine, "small", quota_per_minute=2)
    over = send(keyed, body("One. Two. Three.", spanAnnotations=True), f"{ANALYZE}?key={small}")
    assert refused(over) == (
        429,
        "the request counts as 4 comments, and the quota of this key is 2 per minute",
        "RESOURCE_EXHAUSTED",
        "RATE_LIMIT_EXCEEDED",
    )
    assert over.headers["retry-after"] == "60"


def test_a_used_up_quota_is_said_before_the_body_is_read(keyed: Server) -> None:
    spent = make(keyed.engine, "spent", quota_per_minute=1)
    assert send(keyed, body(), f"{ANALYZE}?key={spent}").status_code == 200
    assert send(keyed, "{ not even JSON", f"{ANALYZE}?key={spent}").status_code == 429


@pytest.mark.parametrize("path", [ANALYZE, f"{ANALYZE}?key=wrong", "/batch", "/v1/moderations", "/v1alpha1/nothing"])
def test_who_shows_no_key_is_not_told_what_serves(keyed: Server, key: str, path: str) -> None:
    told = send(keyed, body(), f"{ANALYZE}?key={key}").headers
    untold = [send(keyed, body(), path).headers, keyed.http.get("/$discovery/rest").headers]
    for name in ("x-moderation-version", "x-moderation-bundle-digest", "x-moderation-calibration"):
        assert told[name]
        assert not [headers for headers in untold if name in headers]


def test_each_part_of_a_batch_shows_its_own_key(keyed: Server, key: str) -> None:
    parts = "".join(
        f"--b\r\nContent-ID: <{n}>\r\n\r\nPOST {ANALYZE}{query} HTTP/1.1\r\n{head}\r\n{json.dumps(body())}\r\n"
        for n, (query, head) in enumerate(
            [(f"?key={key}", ""), ("", ""), ("?key=wrong", ""), ("", f"X-Goog-Api-Key: {key}\r\n")]
        )
    )
    answer = send(
        keyed, f"{parts}--b--", "/batch", headers={"Content-Type": "multipart/mixed; boundary=b"} | bearer(key)
    )
    assert [line for line in answer.text.split("\r\n") if line.startswith("HTTP/1.1")] == [
        "HTTP/1.1 200 OK",
        "HTTP/1.1 403 Forbidden",
        "HTTP/1.1 400 Bad Request",
        "HTTP/1.1 200 OK",
    ]


def test_discovery_needs_no_key(keyed: Server) -> None:
    assert keyed.http.get("/$discovery/rest?version=v1alpha1").status_code == 200


@pytest.mark.parametrize(
    ("path", "method"),
    [
        (ANALYZE, "POST"),
        (SUGGEST, "POST"),
        ("/batch", "POST"),
        ("/$discovery/rest", "GET"),
        ("/v1/moderations", "POST"),
    ],
)
def test_pages_of_any_site_may_ask_with_a_key(keyed: Server, path: str, method: str) -> None:
    asks = {"Origin": "https://forum.example", "Access-Control-Request-Method": method}
    asks["Access-Control-Request-Headers"] = "content-type, x-stainless-os"
    preflight = keyed.http.options(path, headers=asks)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "x-stainless-os" in preflight.headers["access-control-allow-headers"]


def test_pages_can_read_answers_and_refusals(keyed: Server, key: str) -> None:
    origin = {"Origin": "https://forum.example"}
    for query in (f"?key={key}", ""):
        response = send(keyed, body(), ANALYZE + query, headers=origin)
        assert response.headers["access-control-allow-origin"] == "*"
        assert "X-Moderation-Version" in response.headers["access-control-expose-headers"]


def test_without_keys_pages_of_other_sites_are_refused(server: Server) -> None:
    response = send(server, body(), headers={"Origin": "https://forum.example"})
    assert refused(response)[0::2] == (403, "PERMISSION_DENIED")


def test_a_key_in_a_query_is_in_no_log(tmp_path: Path) -> None:
    errors = tmp_path / "errors.log"
    with running(environment(tmp_path / "state"), errors) as (url, _):
        for content in (json.dumps(body()), "{", ""):
            httpx.post(f"{url}{ANALYZE}?key=hush-hush", content=content, trust_env=False)
        httpx.get(f"{url}/v1alpha1/nothing?key=hush-hush", trust_env=False)
        wait_until(lambda: errors.read_text().count('"event": "request"') >= 4)  # lines leave in bulk
    assert "hush" not in errors.read_text()


def test_the_log_knows_who_asked(keyed: Server, key: str) -> None:
    asked = send(keyed, body(), f"{ANALYZE}?key={key}", headers={"X-Request-Id": "asked-by-newsroom"})
    assert asked.status_code == 200

    def clients() -> list[str]:
        with keyed.engine.connect() as connection:
            return list(
                connection.scalars(select(Prediction.client).where(Prediction.request_id == "asked-by-newsroom"))
            )

    wait_until(clients)
    assert clients() == ["newsroom"]


def moderate(server: Server, content: object, key: str | None) -> httpx.Response:
    return server.http.post("/v1/moderations", json=content, headers=bearer(key) if key else {})


def test_openais_clients_show_a_bearer_key(keyed: Server, key: str) -> None:
    assert moderate(keyed, {"input": TEXT}, key).status_code == 200
    for wrong in (None, "sk-wrong"):
        response = moderate(keyed, {"input": TEXT}, wrong)
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "invalid_api_key"
    poor = make(keyed.engine, "openai", quota_per_minute=1)
    assert [moderate(keyed, {"input": TEXT}, poor).status_code for _ in range(2)] == [200, 429]
    assert moderate(keyed, {"input": TEXT}, poor).json()["error"]["code"] == "rate_limit_exceeded"


def test_nothing_of_a_text_that_must_not_be_stored_stays(model: Model, tmp_path: Path) -> None:
    secret = "xyzzyplugh-never-to-be-kept idiot. And a second sentence."
    with served_with_keys(settings_in(tmp_path), model) as server:
        token = make(server.engine, "private", "predict", "feedback")
        content = body(secret, doNotStore=True, spanAnnotations=True)
        assert send(server, content, f"{ANALYZE}?key={token}").status_code == 200
        assert (
            send(
                server, SUGGESTION | {"comment": {"text": secret}, "doNotStore": True}, f"{SUGGEST}?key={token}"
            ).status_code
            == 200
        )
        assert send(server, body("kept-as-it-is"), f"{ANALYZE}?key={token}").status_code == 200

        def stored() -> list[tuple[object, ...]]:
            kept = (
                Prediction.text,
                Prediction.text_hash,
                Prediction.author,
                Prediction.language,
                Prediction.characters,
            )
            with server.engine.connect() as connection:
                return [tuple(row) for row in connection.execute(select(*kept).order_by(Prediction.created_at))]

        wait_until(lambda: len(stored()) == 3)
        assert stored()[:2] == [(None,) * 5] * 2
        assert stored()[2][0] == "kept-as-it-is"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name for path in files if b"kept-as-it-is" in path.read_bytes()]
    assert not [path.name for path in files if b"xyzzyplugh" in path.read_bytes()]
