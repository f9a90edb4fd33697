"""The route that keeps a sign-in in a cookie."""

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from apps.monitor.services.cookie import COOKIE, kept_token, path, routes
from moderation.review.access import SESSION_LIFE
from moderation.settings import MonitorSettings

TOKEN = "Az09-_" * 7
HOST = "monitor.example.org"


def client(scheme: str = "http", base: str | None = None, **fields: object) -> TestClient:
    return TestClient(Starlette(routes=routes(MonitorSettings(**fields), base)), base_url=f"{scheme}://{HOST}")


def test_the_token_comes_back_where_neither_scripts_nor_other_sites_get_it() -> None:
    answer = client().post("/session", content=TOKEN, headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 204
    said = answer.headers["set-cookie"].split("; ")
    assert said[0] == f"{COOKIE}={TOKEN}"
    assert set(said[1:]) == {"HttpOnly", "SameSite=strict", "Path=/", f"Max-Age={int(SESSION_LIFE.total_seconds())}"}


@pytest.mark.parametrize(
    ("scheme", "fields"),
    [("https", {}), ("http", {"monitor_url": f"https://{HOST}"})],
    ids=["direct", "behind a proxy"],
)
def test_over_https_the_cookie_is_sent_over_https_alone(scheme: str, fields: dict[str, object]) -> None:
    answer = client(scheme, **fields).post("/session", content=TOKEN, headers={"Origin": f"https://{HOST}"})
    assert answer.status_code == 204
    assert "Secure" in answer.headers["set-cookie"].split("; ")


def test_below_a_path_the_cookie_stays_there() -> None:
    assert (path(None), path("/tools/monitor/")) == ("/session", "/tools/monitor/session")
    answer = client(base="tools").post("/tools/session", content=TOKEN, headers={"Origin": f"http://{HOST}"})
    assert "Path=/tools/" in answer.headers["set-cookie"].split("; ")


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": f"http://{HOST}"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.invalid"},
        {"Origin": "null"},
        {},
    ],
)
def test_another_site_signs_nobody_in(headers: dict[str, str]) -> None:
    answer = client().post("/session", content=TOKEN, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_a_sign_out_takes_the_cookie_away_where_it_was_set() -> None:
    asked = client(base="tools")
    asked.post("/tools/session", content=TOKEN, headers={"Sec-Fetch-Site": "same-origin"})
    assert asked.cookies.get(COOKIE) == TOKEN
    answer = asked.delete("/tools/session", headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 204
    assert asked.cookies.get(COOKIE) is None
    assert asked.delete("/tools/session", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


@pytest.mark.parametrize(
    ("body", "status"), [("", 400), ("short", 400), ("a b" * 10, 400), ("é" * 30, 400), ("x" * 101, 413)]
)
def test_what_is_no_token_is_not_kept(body: str, status: int) -> None:
    answer = client().post("/session", content=body.encode(), headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == status
    assert "set-cookie" not in answer.headers


def test_a_body_of_unknown_length_is_not_read() -> None:
    parts = iter([b"x" * 10] * 3)
    answer = client().post("/session", content=parts, headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("cookies", "token"), [({COOKIE: TOKEN}, TOKEN), ({COOKIE: "' OR 1=1 --"}, None), ({COOKIE: ""}, None), ({}, None)]
)
def test_only_what_can_be_a_token_is_read_from_the_cookies(cookies: dict[str, str], token: str | None) -> None:
    assert kept_token(cookies) == token
