import functools
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import insert, select
from starlette.routing import Mount

from moderation.db.keys import SCOPES, create, hash_of, revoke
from moderation.db.models import ApiKey, Prediction
from moderation.scoring.scorer import Scored
from moderation.settings import ApiSettings
from serve.app import create_app
from serve.auth import NEEDED, OPEN, Access, root_of
from serve.model import Model
from serve.outbox import Outbox
from serve.prediction_log import PredictionLog
from serve.watcher import Watcher
from tests.serve.keyed import access, bearer, make, served_with_keys
from tests.serve.server import Score, Server, served, settings_in, wait_until, with_scoring

HELLO = {"comment_text": "hello"}
ORIGIN = "https://forum.example"
SECRET = "ab" * 32
SECURED = [("POST", "/predict"), ("POST", "/predict/batch"), ("POST", "/feedback"), ("GET", "/version")]


@pytest.fixture(scope="module")
def server(settings: ApiSettings, model: Model) -> Iterator[Server]:
    """A server that asks for keys, and whose names and callers' origins are known."""
    settings = settings.model_copy(
        update={"allowed_hosts": "localhost, 127.0.0.1,api.example", "cors_origins": ORIGIN, "auth": True}
    )
    with served_with_keys(settings, model) as running:
        yield running


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    """A key with every scope."""
    return make(server.engine, "all", *SCOPES)


def unlike_any(server: Server) -> dict[str, dict[str, str]]:
    """Return headers that show no key that holds, each for another reason."""
    with server.engine.begin() as connection:
        revoked = create(connection, "revoked", ["predict"])
        revoke(connection, "revoked")
        row = {
            "name": "expired",
            "secret_hash": hash_of(SECRET),
            "scopes": ["predict"],
            "created_at": datetime.now(UTC),
        }
        connection.execute(insert(ApiKey).values(id="e" * 12, expires_at=datetime.now(UTC) - timedelta(1), **row))
    known = make(server.engine, "known")
    return {
        "none": {},
        "empty": {"Authorization": ""},
        "another scheme": {"Authorization": f"Basic {known}"},
        "malformed": bearer("nonsense"),
        "not ASCII": {"X-API-Key": "ключ".encode("latin-1", "replace").decode("latin-1")},
        "unknown": bearer(f"mod_{'0' * 12}_{SECRET}"),
        "wrong secret": bearer(known[:-1] + ("0" if known[-1] != "0" else "1")),
        "revoked": bearer(revoked),
        "expired": bearer(f"mod_{'e' * 12}_{SECRET}"),
    }


def test_whoever_has_no_key_that_holds_gets_one_and_the_same_401(server: Server) -> None:
    bodies = set()
    for headers in unlike_any(server).values():
        response = server.http.post("/predict", json=HELLO, headers=headers)
        assert response.status_code == 401, headers
        assert response.headers["www-authenticate"] == 'Bearer realm="moderation"'
        bodies.add((response.json()["code"], response.json()["message"]))
    assert len(bodies) == 1
    assert next(iter(bodies))[0] == "unauthorized"


@pytest.mark.parametrize(
    ("method", "path"), [*SECURED, ("GET", "/metrics"), ("GET", "/nothing"), ("POST", "//predict")]
)
def test_every_path_but_the_open_ones_wants_a_key(server: Server, method: str, path: str) -> None:
    # Whole: as a relative URL, //predict would name a host.
    assert server.http.request(method, f"{server.url}{path}").status_code == 401


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/docs", "/openapi.json", "/static/page.js"])
def test_open_paths_want_none(server: Server, path: str) -> None:
    assert server.http.get(path).status_code == 200
    assert server.http.get(path, headers=bearer("nonsense")).status_code == 200


def test_a_key_is_taken_from_either_header(server: Server, key: str) -> None:
    for headers in (bearer(key), {"Authorization": f"bearer  {key}"}, {"X-API-Key": key}):
        assert server.http.post("/predict", json=HELLO, headers=headers).status_code == 200, headers


def test_the_log_names_the_key_that_asked(server: Server) -> None:
    token = make(server.engine, "forum.example")
    answer = server.http.post("/predict", json=HELLO, headers=bearer(token)).json()
    wait_until(lambda: server.outbox.pending() == 0)
    with server.engine.connect() as connection:
        query = select(Prediction.client).where(Prediction.id == answer["id"])
        assert connection.scalars(query).all() == ["forum.example"]


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_opens_its_paths_and_no_other(server: Server, scope: str) -> None:
    headers = bearer(make(server.engine, f"only-{scope}", scope))
    paths = [*SECURED, ("GET", "/metrics"), ("POST", "/admin/reload")]
    for method, path in paths:
        allowed = scope in NEEDED[root_of(path)]
        response = server.http.request(method, path, headers=headers)
        assert (response.status_code == 403) is not allowed, (path, response.text)
        assert response.status_code != 401
        if not allowed:
            assert "lacks the scope" in response.json()["message"]


def test_every_route_of_the_app_is_in_the_table(tmp_path: Path, server: Server, model: Model) -> None:
    outbox = Outbox(tmp_path / "outbox.db", 2_000)
    app = create_app(settings_in(tmp_path), watcher=Watcher(model), outbox=outbox, log=PredictionLog(server.engine))
    outbox.close()
    paths = {route.path for route in app.routes if isinstance(route, APIRoute | Mount)}
    paths |= set(app.openapi()["paths"])
    assert "/predict/batch" in paths
    assert {path for path in paths if root_of(path) not in {*OPEN, *NEEDED}} == set()


def test_a_key_in_the_query_is_none(server: Server, key: str) -> None:
    assert server.http.post(f"/predict?key={key}", json=HELLO).status_code == 401


def test_no_key_reaches_a_log_an_error_or_a_metric(server: Server, key: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answers = [
        server.http.get(f"/nothing/{key}?key={key}", headers=bearer(key)),
        server.http.post(f"/predict?key={key}", content=b"{", headers=bearer(key)),
        server.http.get("/health", headers={"Host": "evil.example", "X-API-Key": key, "X-Request-Id": f"a b{key}"}),
    ]
    metrics = server.http.get("/metrics", headers=bearer(key)).text
    said = [*(record.getMessage() + str(record.__dict__.get("fields")) for record in caplog.records)]
    assert any("'client': 'all'" in line for line in said)
    # pytest gives uvicorn's access log, which is off, a handler; a process of its own shows it (test_replicas).
    others = ("http", "uvicorn.access")
    ours = [line for line, record in zip(said, caplog.records, strict=True) if not record.name.startswith(others)]
    secret = key.rpartition("_")[2]
    for line in [metrics, *ours, *(answer.text for answer in answers)]:
        assert secret not in line, line[:300]


def test_a_key_made_while_the_server_runs_works_at_once(server: Server) -> None:
    token = make(server.engine, "late")
    assert server.http.post("/predict", json=HELLO, headers=bearer(token)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 200), ("GET", "/nothing", 401), ("POST", "/predict", 200), ("GET", "/docs", 200), ("GET", "/x", 404)],
)
def test_every_answer_has_the_security_headers_once(
    server: Server, key: str, method: str, path: str, status: int
) -> None:
    body = HELLO if method == "POST" else None
    response = server.http.request(method, path, headers={} if status == 401 else bearer(key), json=body)
    assert response.status_code == status
    names = [name.lower() for name, _ in response.headers.multi_items()]
    assert len(names) == len(set(names))
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
    assert response.headers["cache-control"] == ("no-cache" if path == "/" else "no-store")


def preflight(server: Server, origin: str, headers: str = "authorization,content-type") -> httpx.Response:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": headers}
    return server.http.options("/predict", headers={"Origin": origin, **asked})


def test_pages_of_known_origins_may_call_and_read_answers_and_errors(server: Server, key: str) -> None:
    response = preflight(server, ORIGIN)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "x-request-id" in response.headers
    for headers, status in ((bearer(key), 200), ({}, 401)):
        response = server.http.post("/predict", json=HELLO, headers={"Origin": ORIGIN, **headers})
        assert response.status_code == status
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert "access-control-allow-credentials" not in response.headers
        assert "X-RateLimit-Remaining" in response.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "https://forum.example.evil", "http://forum.example", "null"]
)
def test_pages_of_other_origins_may_not_read_answers(server: Server, key: str, origin: str) -> None:
    assert preflight(server, origin).status_code == 400
    for response in (
        preflight(server, origin),
        server.http.post("/predict", json=HELLO, headers={"Origin": origin, **bearer(key)}),
    ):
        assert "access-control-allow-origin" not in response.headers


def test_only_the_allowed_names_are_answered_but_for_health(server: Server, key: str) -> None:
    for host, status in (("api.example", 200), ("API.example:8443", 200), ("evil.example", 403), ("", 403)):
        headers = {"Host": host, **bearer(key)}
        assert server.http.post("/predict", json=HELLO, headers=headers).status_code == status, host
        assert server.http.get("/health", headers=headers).status_code == 200


def test_without_a_list_any_name_is_answered(tmp_path: Path, model: Model) -> None:
    with served_with_keys(settings_in(tmp_path), model) as server:
        assert server.http.get("/version", headers={"Host": "any.example"}).status_code == 401
        token = make(server.engine, "site")
        assert server.http.get("/version", headers=bearer(token) | {"Host": "x"}).status_code == 200


def test_without_keys_a_listed_origin_may_call_a_server_on_loopback(tmp_path: Path, model: Model) -> None:
    with served(settings_in(tmp_path, cors_origins=ORIGIN), model) as server:
        allowed = server.http.post("/predict", json=HELLO, headers={"Origin": ORIGIN, **bearer("anything")})
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == ORIGIN
        refused = server.http.post("/predict", json=HELLO, headers={"Origin": "https://evil.example"})
        assert refused.status_code == 403


def remaining(response: httpx.Response) -> tuple[int, int]:
    assert 1 <= int(response.headers["x-ratelimit-reset"]) <= 60
    return int(response.headers["x-ratelimit-limit"]), int(response.headers["x-ratelimit-remaining"])


def test_a_quota_counts_comments_and_every_answer_says_what_is_left(server: Server) -> None:
    headers = bearer(make(server.engine, "limited", "predict", "feedback", quota_per_minute=10))
    http = server.http
    while datetime.now(UTC).second > 55:  # the minute is the database's
        wait_until(lambda: datetime.now(UTC).second <= 55)
    assert remaining(http.get("/version", headers=headers)) == (10, 10)
    assert remaining(http.post("/predict", json=HELLO, headers=headers)) == (10, 9)
    batch = {"comment_texts": ["hello"] * 8}
    assert remaining(http.post("/predict/batch", json=batch, headers=headers)) == (10, 1)
    refused = http.post("/predict/batch", json=batch, headers=headers)
    assert refused.status_code == 429
    assert refused.json()["code"] == "over_quota"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert remaining(refused) == (10, 1)
    assert remaining(http.post("/predict", json={"comment_text": " "}, headers=headers)) == (10, 1)  # not scored
    assert remaining(http.post("/feedback", content=b"{", headers=headers)) == (10, 1)
    too_large = http.post("/predict/batch", json={"comment_texts": ["hello"] * 11}, headers=headers)
    assert too_large.status_code == 413
    assert http.post("/predict", json=HELLO, headers=headers).status_code == 200
    assert http.post("/predict", json=HELLO, headers=headers).status_code == 429
    unlimited = http.post("/predict", json=HELLO, headers=bearer(make(server.engine, "other")))
    assert "x-ratelimit-limit" not in unlimited.headers


def test_what_the_server_fails_to_score_costs_nothing(tmp_path: Path, model: Model) -> None:
    def broken(real: Score, texts: Sequence[str]) -> Scored:
        raise RuntimeError("broken")

    with served_with_keys(settings_in(tmp_path), with_scoring(model, broken)) as server:
        headers = bearer(make(server.engine, "limited", quota_per_minute=5))
        for _ in range(12):
            response = server.http.post("/predict", json=HELLO, headers=headers)
            assert (response.status_code, remaining(response)) == (500, (5, 5))


def test_the_documentation_says_which_key_a_path_needs(server: Server) -> None:
    schema = server.http.get("/openapi.json").json()
    assert set(schema["components"]["securitySchemes"]) == {"bearer", "header"}
    predict = schema["paths"]["/predict"]["post"]
    assert predict["security"] == [{"bearer": []}, {"header": []}]
    assert predict["description"].endswith("Needs a key with the scope predict.")
    assert {"401", "403", "429"} <= set(predict["responses"])
    assert "security" not in schema["paths"]["/health"]["get"]


def test_readiness_and_metrics_tell_of_keys_that_cannot_be_read(
    tmp_path: Path, model: Model, settings: ApiSettings
) -> None:
    made: list[Access] = []

    def remembered(engine: object) -> Access:
        made.append(access(settings_in(tmp_path), engine))  # type: ignore[arg-type]
        return made[0]

    with served(settings_in(tmp_path), model, access=remembered) as server:
        admin = bearer(make(server.engine, "admin", "admin"))
        assert server.http.get("/ready").json()["parts"]["keys"] == "ok"
        assert "moderation_keys_age_seconds" in server.http.get("/metrics", headers=admin).text
        ring = made[0].keys
        assert ring is not None
        ring._read = functools.partial(broken_read)
        ring.refresh()
        ready = server.http.get("/ready", headers=admin)
        assert ready.status_code == 200
        assert "cannot be read, those of" in ready.json()["parts"]["keys"]
        ring._max_age_s = 0
        for headers in ({}, admin):  # no key can be known to be an operator's any more
            ready = server.http.get("/ready", headers=headers)
            assert (ready.status_code, ready.json()["parts"]["keys"]) == (503, "away")
            assert int(ready.headers["retry-after"]) >= 1
        assert server.http.post("/predict", json=HELLO, headers=bearer(f"mod_{'0' * 12}_{SECRET}")).status_code == 503


def test_only_operators_are_told_what_is_wrong(tmp_path: Path, model: Model) -> None:
    settings = settings_in(tmp_path)
    watcher = Watcher(model, problem="no bundle in /srv/registry")
    with served(settings, model, watcher=watcher, access=functools.partial(access, settings)) as server:

        def told(token: str | None) -> str:
            headers = {} if token is None else bearer(token)
            ready = server.http.get("/ready", headers=headers)
            assert ready.status_code == 200
            return str(ready.json()["parts"]["registry"])

        assert told(make(server.engine, "ops", "admin")) == "no bundle in /srv/registry"
        assert {told(None), told("nonsense"), told(make(server.engine, "site", "predict"))} == {"away"}


def broken_read() -> None:
    raise RuntimeError("away")
