import itertools
import json
import re
import resource
import signal
import socket
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, select

from moderation.db.database import connect, migrate
from moderation.db.models import Prediction
from moderation.labels import LABELS
from moderation.privacy import Privacy
from moderation.registry.local import LocalRegistry
from moderation.registry.registry import Move
from moderation.settings import PrivacySettings
from serve.stopping import drain_s
from tests.bundles import build_tiny_bundle
from tests.serve.process import environment, free_port, running, start
from tests.serve.server import wait_until


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder with a migrated database and the tiny bundle as ``production``."""
    state = tmp_path / "state"
    registry = LocalRegistry(state / "registry")
    registry.point("production", registry.publish(build_tiny_bundle(tmp_path / "tiny")), Move("test", "set up"))
    engine = connect(f"sqlite:///{state / 'moderation.db'}")
    migrate(engine)
    engine.dispose()
    return state


def stored(url: str) -> dict[str, dict[str, float]]:
    engine: Engine = connect(url)
    with engine.connect() as connection:
        rows = connection.execute(select(Prediction)).all()
    engine.dispose()
    assert max(Counter(row.id for row in rows).values(), default=0) <= 1
    return {row.id: {label: getattr(row, f"score_{label}") for label in LABELS} for row in rows}


@contextmanager
def load(url: str, callers: int = 4) -> Iterator[dict[str, dict[str, float]]]:
    """Ask from several threads until the block ends or the server is gone; yield the answers as they come."""
    answered: dict[str, dict[str, float]] = {}
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as http:
            for number in itertools.count():
                if over.is_set():
                    return
                try:
                    batch = {"comment_texts": ["disgusting", f"hello {number}", "kill the vermin"]}
                    for answer in http.post("/predict/batch", json=batch).raise_for_status().json()["predictions"]:
                        answered[answer["id"]] = answer["scores"]
                except httpx.HTTPError:
                    return

    threads = [threading.Thread(target=ask) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield answered
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_kill_9_under_load_loses_and_repeats_nothing_that_was_answered(state: Path, tmp_path: Path) -> None:
    database = state / "moderation.db"
    answered: dict[str, dict[str, float]] = {}
    for database_busy in (False, True):
        with running(environment(state), tmp_path / "log") as (url, process):
            lock = sqlite3.connect(database, isolation_level=None)
            if database_busy:  # nothing leaves the outbox
                lock.execute("BEGIN IMMEDIATE")
            with load(url) as answers:
                wait_until(lambda answers=answers: len(answers) >= 150)
                process.send_signal(signal.SIGKILL)
                process.wait()
            answered |= answers
            lock.close()
    with running(environment(state), tmp_path / "log") as (url, _):
        wait_until(lambda: "moderation_outbox_rows 0.0" in httpx.get(f"{url}/metrics", trust_env=False).text)
    rows = stored(f"sqlite:///{database}")
    assert {number: rows[number] for number in answered} == answered


KEY = "a key of this test's"


@pytest.mark.parametrize("mode", ["do_not_store", "none", "hash"])
def test_what_must_not_be_stored_is_in_no_file_after_kill_9(mode: str, state: Path, tmp_path: Path) -> None:
    variables = {} if mode == "do_not_store" else {"STORE_TEXT": mode, "TEXT_HASH_KEY": KEY}
    words, author = "unmistakable words 7f3a", "someone-unmistakable"
    body = {"comment_text": words, "author_id": author, "do_not_store": mode == "do_not_store"}
    hashed = Privacy(PrivacySettings(store_text="hash", text_hash_key=SecretStr(KEY))).keep([words], author)[0]
    with running(environment(state, **variables), tmp_path / "log") as (url, process):
        lock = sqlite3.connect(state / "moderation.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")  # the first rows stay in the outbox
        with httpx.Client(base_url=url, trust_env=False) as http:
            answers = [http.post("/predict", json=body).raise_for_status().json()]
            lock.execute("ROLLBACK")
            wait_until(lambda: "moderation_outbox_rows 0.0" in http.get("/metrics").text)
            lock.execute("BEGIN IMMEDIATE")
            batch = {**body, "comment_texts": [words] * 3}
            del batch["comment_text"]
            answers += http.post("/predict/batch", json=batch).raise_for_status().json()["predictions"]
        process.send_signal(signal.SIGKILL)
        process.wait()
        lock.close()
    kept = b"".join(file.read_bytes() for file in state.rglob("*") if file.is_file()) + (tmp_path / "log").read_bytes()
    assert words.encode() not in kept
    assert author.encode() not in kept
    assert (str(hashed.text_hash).encode() in kept) == (mode == "hash")
    assert (str(hashed.author).encode() in kept) == (mode != "do_not_store")
    with running(environment(state, **variables), tmp_path / "log") as (url, _):
        wait_until(lambda: "moderation_outbox_rows 0.0" in httpx.get(f"{url}/metrics", trust_env=False).text)
    assert stored(f"sqlite:///{state / 'moderation.db'}") == {each["id"]: each["scores"] for each in answers}


def test_sigterm_answers_what_was_admitted_empties_the_outbox_and_exits_with_0(state: Path, tmp_path: Path) -> None:
    with running(environment(state), tmp_path / "log") as (url, process), load(url) as answers:
        wait_until(lambda: len(answers) >= 100)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    rows = stored(f"sqlite:///{state / 'moderation.db'}")
    assert rows == answers
    with sqlite3.connect(state / "outbox.db") as outbox:
        assert outbox.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
    outbox.close()


def test_its_log_is_json_lines_without_text_or_query(state: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(environment(state), log) as (url, process):
        with httpx.Client(base_url=url, trust_env=False) as http:
            http.post("/predict?secret=query", json={"comment_text": "secret words"}, headers={"X-Request-Id": "id-7"})
            http.get("/secret/path")
            http.post("/predict", json={"secret": 1})
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    assert "secret" not in log.read_text()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (asked,) = [line for line in lines if line.get("request_id") == "id-7"]
    assert (asked["route"], asked["method"], asked["status"]) == ("/predict", "POST", 200)
    assert asked["ms"] > 0
    assert any(line["event"].startswith("serving tiny") for line in lines)


def test_a_second_server_on_the_same_state_is_refused_in_one_line(state: Path, tmp_path: Path) -> None:
    with running(environment(state), tmp_path / "log"):
        err = fails(environment(state))
    assert str(state) in err
    assert "MODERATION_STATE_DIR" in err


def test_a_database_that_is_down_is_one_line_without_its_password(state: Path) -> None:
    err = fails(environment(state, DATABASE_URL=f"postgresql://user:geheim@127.0.0.1:{free_port()}/moderation"))
    assert "127.0.0.1" in err
    assert "geheim" not in err


def fails(variables: dict[str, str]) -> str:
    """Start a server that must not start; return the one line that it says."""
    process = start(variables)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert out == ""
    assert err.count("\n") == 1, err
    return err


def test_a_full_disk_is_said_and_answers_come_back_with_room(state: Path, tmp_path: Path) -> None:
    with running(environment(state), tmp_path / "log") as (url, process), httpx.Client(trust_env=False) as http:

        def ask() -> httpx.Response:
            return http.post(f"{url}/predict", json={"comment_text": "disgusting " * 500})

        assert ask().status_code == 200
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1024, hard))  # no file may grow any more
        wait_until(lambda: ask().status_code == 503)
        refused = ask()
        assert refused.json()["code"] == "unavailable"
        assert "outbox cannot be written" in refused.json()["message"]
        assert http.get(f"{url}/ready").status_code == 503
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        answered = ask()
        assert answered.status_code == 200
        assert http.get(f"{url}/ready").status_code == 200
        wait_until(lambda: answered.json()["id"] in stored(f"sqlite:///{state / 'moderation.db'}"))


@pytest.mark.full
def test_ten_thousand_idle_connections_do_not_keep_the_api_from_answering(state: Path, tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(10_000, hard - 500)
    with running(environment(state), tmp_path / "log") as (url, _), httpx.Client(trust_env=False) as http:
        address = ("127.0.0.1", httpx.URL(url).port or 0)
        idle = [socket.create_connection(address, timeout=10) for _ in range(count)]
        try:
            answer = http.post(f"{url}/predict", json={"comment_text": "hello"}, timeout=10)
            assert answer.status_code == 200
            metrics = http.get(f"{url}/metrics").text
            assert float(re.search(r"process_open_fds ([0-9.e+]+)", metrics)[1]) > 0.5 * count  # type: ignore[index]
        finally:
            for connection in idle:
                connection.close()


@pytest.mark.parametrize(("deadline_s", "drained_s"), [(0.5, 20), (30.0, 31), (45.5, 47)])
def test_what_was_admitted_is_waited_for_longer_than_its_deadline(deadline_s: float, drained_s: int) -> None:
    assert drain_s(deadline_s) == drained_s
