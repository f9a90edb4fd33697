"""A Prometheus that scrapes several times a second and judges by the committed rules, without their patience."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml

from tests.debian import binary
from tests.prometheus.rules import groups
from tests.serve.process import free_port
from tests.serve.server import wait_until

EVERY = "200ms"


class Prometheus:
    """A running server's answers."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def query(self, expression: str) -> list[dict[str, object]]:
        answer = self._http.get("/api/v1/query", params={"query": expression}).raise_for_status().json()
        found: list[dict[str, object]] = answer["data"]["result"]
        return found

    def firing(self) -> set[str]:
        """Return the alerts that fire now."""
        rules = self._http.get("/api/v1/rules", params={"type": "alert"}).raise_for_status().json()
        return {
            rule["name"] for group in rules["data"]["groups"] for rule in group["rules"] if rule["state"] == "firing"
        }

    def wait(self, wanted: Callable[[set[str]], bool], timeout_s: float = 30) -> None:
        """Wait until what fires is as ``wanted``."""
        deadline = time.monotonic() + timeout_s
        while not wanted(firing := self.firing()):
            assert time.monotonic() < deadline, f"after {timeout_s} s there fire {sorted(firing)}"
            time.sleep(0.1)


@contextmanager
def running(
    folder: Path, targets: Mapping[str, list[str]], sooner: Mapping[str, dict[str, str]]
) -> Iterator[Prometheus]:
    """Scrape ``targets`` per job; ``sooner`` says which text of an alert's expression to replace by what."""
    rules = groups()
    for rule in (rule for group in rules for rule in group["rules"]):
        rule.pop("for", None)
        for before, after in sooner.get(rule["alert"], {}).items():
            assert before in rule["expr"], rule
            rule["expr"] = rule["expr"].replace(before, after)
    (folder / "alerts.json").write_text(json.dumps({"groups": rules}))
    scrapes = [{"job_name": job, "static_configs": [{"targets": each}]} for job, each in targets.items()]
    config = {"global": {"scrape_interval": EVERY, "scrape_timeout": EVERY, "evaluation_interval": EVERY},
              "rule_files": ["alerts.json"], "scrape_configs": scrapes}  # fmt: skip
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [binary("prometheus", package="prometheus"), f"--config.file={folder / 'prometheus.yml'}",
               f"--web.listen-address={address}",
               f"--storage.tsdb.path={folder / 'data'}"]  # fmt: skip
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://{address}", trust_env=False, timeout=30) as http:
                wait_until(lambda: process.poll() is not None or _ready(http))
                assert process.poll() is None, (folder / "prometheus.log").read_text()
                yield Prometheus(http)
        finally:
            process.terminate()
            process.wait(30)


def _ready(http: httpx.Client) -> bool:
    try:
        return http.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False
