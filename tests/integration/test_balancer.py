"""docker/nginx/nginx.conf in front of real servers on one PostgreSQL: whichever dies, every caller is answered."""

import itertools
import re
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, text

from moderation.db.database import connect, migrate
from tests.debian import binary
from tests.postgres import fresh_database
from tests.serve.keyed import bearer, make
from tests.serve.process import ROOT, environment, free_port, running
from tests.serve.server import settings_in, tiny_registry, wait_until

CALLERS = 8


@contextmanager
def nginx(folder: Path, ports: list[int]) -> Iterator[str]:
    """Run nginx by the recipe, with its addresses replaced by these servers'; yield its URL. It logs to ``folder``."""
    recipe, port = (ROOT / "docker/nginx/nginx.conf").read_text(), free_port()
    servers = "\n".join(f"server 127.0.0.1:{each} max_fails=0;" for each in ports)
    recipe, names = re.subn(r"resolver [\d.]+ .*\n(\s+server \S+ resolve .*\n)+", servers + "\n", recipe)
    recipe, listens = re.subn(r"listen 8000;", f"listen 127.0.0.1:{port};", recipe)
    assert (names, listens) == (1, 1)
    path = folder / "nginx.conf"
    path.write_text(recipe.replace("/tmp/", f"{folder}/").replace("/dev/stdout", str(folder / "access.log")))
    command = [binary("nginx", "nginx"), "-p", str(folder), "-c", str(path), "-g", "daemon off;"]
    with (folder / "nginx.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: process.poll() is not None or answers(url), timeout_s=20)
            assert process.poll() is None, (folder / "nginx.log").read_text()
            yield url
        finally:
            process.terminate()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/metrics", trust_env=False).status_code == 404  # nginx's own answer
    except httpx.TransportError:
        return False


@dataclass
class Upstream:
    """A server that answers as it is told, or hangs up (``None``), and notes what it was asked."""

    status: int | None
    asked: list[tuple[str, str]] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[int]:
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                upstream.asked.append((self.path, self.headers["X-Request-Id"]))
                if upstream.status is None:
                    self.close_connection = True
                    return
                self.send_response(upstream.status)
                self.send_header("Retry-After", "1")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield server.server_address[1]
            finally:
                server.shutdown()
                thread.join()


def ask_beside(folder: Path, first: int | None, second: int, path: str) -> tuple[Counter[int], list[Upstream]]:
    upstreams = [Upstream(first), Upstream(second)]
    with ExitStack() as stack:
        ports = [stack.enter_context(each.running()) for each in upstreams]
        url = stack.enter_context(nginx(folder, ports))
        http = stack.enter_context(httpx.Client(base_url=url, trust_env=False))
        found = [http.post(path, json={}, headers={"X-Request-Id": f"asked-{number}"}) for number in range(20)]
    for answer in found:
        assert (answer.headers.get("Retry-After") == "1") == (answer.status_code != 502)  # the server's own answer
    return Counter(answer.status_code for answer in found), upstreams


def test_what_one_server_has_no_room_for_the_other_answers(tmp_path: Path) -> None:
    statuses, (full, other) = ask_beside(tmp_path, 503, 200, "/predict?key=secret")
    assert statuses == {200: 20}
    assert len(full.asked) >= 5  # it is asked on: it may have room again
    assert set(full.asked) < set(other.asked)  # the same request, by its id
    assert "secret" not in (tmp_path / "access.log").read_text() + (tmp_path / "nginx.log").read_text()


def test_servers_without_room_are_not_taken_for_dead(tmp_path: Path) -> None:
    statuses, both = ask_beside(tmp_path, 503, 503, "/predict")
    assert statuses == {503: 20}  # and no 502
    assert [len(each.asked) for each in both] == [20, 20]


def test_what_one_server_hangs_up_on_the_other_answers(tmp_path: Path) -> None:
    statuses, (dying, other) = ask_beside(tmp_path, None, 200, "/predict")
    assert statuses == {200: 20}
    assert len(dying.asked) >= 5
    assert set(dying.asked) < set(other.asked)


@pytest.mark.parametrize(("first", "said"), [(503, 503), (None, 502)])
@pytest.mark.parametrize(
    "path", ["/feedback", "/v1alpha1/comments:suggestscore", "/v1alpha1/comments%3Asuggestscore", "/batch"]
)
def test_what_is_stored_by_whoever_gets_it_is_sent_once(
    tmp_path: Path, path: str, first: int | None, said: int
) -> None:
    statuses, both = ask_beside(tmp_path, first, 200, path)
    assert sum(len(each.asked) for each in both) == statuses.total() == 20
    assert statuses[said] == len(both[0].asked) > 0


@dataclass
class Site:
    """Two servers with state folders of their own, that can be stopped and started again, and what is in front."""

    url: str
    key: str
    engine: Engine
    folder: Path
    stacks: list[ExitStack]
    settings: list[dict[str, str]]
    processes: "list[subprocess.Popen[bytes]]"

    def start(self, number: int) -> None:
        self.stacks[number].close()
        _, process = self.stacks[number].enter_context(running(self.settings[number], self.folder / f"log-{number}"))
        self.processes[number : number + 1] = [process]

    def rows(self) -> list[tuple[str, str]]:
        with self.engine.connect() as connection:
            found = connection.execute(text("SELECT id, request_id FROM predictions")).all()
        return [(str(row.id), row.request_id) for row in found]

    def waiting(self, number: int) -> float:
        """Return how many rows the server has not shipped yet."""
        url = f"http://127.0.0.1:{self.settings[number]['MODERATION_API_PORT']}/metrics"
        metrics = httpx.get(url, headers=bearer(self.key), trust_env=False).text
        return float(re.findall(r"^moderation_outbox_rows (\S+)$", metrics, re.MULTILINE)[0])


@pytest.fixture(scope="module")
def site(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with ExitStack() as stack:
        database_url = stack.enter_context(fresh_database(postgres_server))
        engine = connect(database_url)
        stack.callback(engine.dispose)
        migrate(engine)
        key = make(engine, "site", "predict", "feedback", "admin")
        settings = []
        for number in (0, 1):
            own = folder / f"replica-{number}"
            tiny_registry(settings_in(own), own)
            settings.append(environment(own / "state", DATABASE_URL=database_url, AUTH="on", REPLICAS="2", THREADS="1"))
        stacks = [stack.enter_context(ExitStack()) for _ in settings]
        url = stack.enter_context(nginx(folder, [int(each["MODERATION_API_PORT"]) for each in settings]))
        found = Site(url, key, engine, folder, stacks, settings, [])
        for number in (0, 1):
            found.start(number)
        yield found


class Load:
    """Callers who ask on and on until told to stop, each for one comment at a time."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.failures: list[object] = []
        self.answered: dict[str, str] = {}
        """Ids of predictions by the id of their request."""
        self._numbers = itertools.count()
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CALLERS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with httpx.Client(base_url=self.site.url, headers=bearer(self.site.key), timeout=60, trust_env=False) as http:
            while not self._ending.is_set():
                number = next(self._numbers)
                asked = f"{id(self)}-{number}"
                body = {"comment_text": f"comment number {number} " + "and a few words more " * 20}  # in no cache
                try:
                    answer = http.post("/predict", json=body, headers={"X-Request-Id": asked})
                    self.answered[asked] = answer.raise_for_status().json()["id"]
                except (httpx.HTTPError, ValueError) as error:
                    self.failures.append(error)

    def wait_for(self, more: int) -> None:
        goal = len(self.answered) + more
        wait_until(lambda: len(self.answered) >= goal or self.failures, timeout_s=60)


def test_a_killed_server_costs_no_request_and_every_answer_is_stored_once(site: Site) -> None:
    with Load(site) as load:
        load.wait_for(100)
        site.processes[0].kill()
        load.wait_for(100)  # by the other one alone
        site.start(0)
        load.wait_for(100)
    assert load.failures == []
    assert len(re.findall(r", .* 50., 200$", (site.folder / "access.log").read_text(), re.MULTILINE)) > 0  # tried again
    wait_until(lambda: site.waiting(0) == site.waiting(1) == 0)
    stored = Counter(identifier for identifier, _ in site.rows())
    assert {stored[identifier] for identifier in load.answered.values()} == {1}
    assert len(set(load.answered.values())) == len(load.answered)
    # What the killed server had stored and not answered yet, the other answered too: found by the request's id.
    more = [asked for identifier, asked in site.rows() if identifier not in set(load.answered.values())]
    assert len(more) <= CALLERS
    assert set(more) <= load.answered.keys()


@pytest.mark.full
def test_a_server_that_is_told_to_stop_costs_no_request_and_no_row_too_many(site: Site) -> None:
    before = len(site.rows())
    with Load(site) as load:
        load.wait_for(100)
        site.processes[1].send_signal(signal.SIGTERM)
        assert site.processes[1].wait(timeout=60) == 0
        load.wait_for(100)
        site.start(1)
        load.wait_for(100)
    assert load.failures == []
    wait_until(lambda: site.waiting(0) == site.waiting(1) == 0)
    assert len(site.rows()) - before == len(load.answered)


def test_the_recipe_leaves_time_and_size_of_a_request_to_the_api(tmp_path: Path) -> None:
    recipe, limits = (ROOT / "docker/nginx/nginx.conf").read_text(), settings_in(tmp_path)
    (read_s,), (body_mib,) = (
        re.findall(rf"{name} (\d+)", recipe) for name in ("proxy_read_timeout", "client_max_body_size")
    )
    assert int(read_s) > limits.deadline_s
    assert int(body_mib) * 2**20 > limits.max_body_bytes
