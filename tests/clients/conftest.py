"""The server with keys and the starter model, what stands for Google's host before it, and the recipes' programs."""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from moderation.db.database import connect
from moderation.registry.starter import STARTER_DIR
from serve.compat.paths import ANALYZE, MODERATIONS
from tests.clients import front, recipes
from tests.clients.front import Front
from tests.clients.installed import installed
from tests.e2e.processes import set_up
from tests.serve import process
from tests.serve.keyed import make

TEXT = "You are disgusting."
_WITHIN_S = 60
# What would lead a client elsewhere, or let it trust somebody else.
_ELSEWHERE = re.compile(r"(?i).*_proxy|.*_ca_certs|.*_ca_bundle|ssl_cert_.*|python.*|node_.*|openai_.*")


@dataclass(frozen=True)
class Service:
    """The running server, a key for it, and the clients' programs."""

    url: str
    key: str
    clients: Path

    def score(self, text: str = TEXT, attribute: str = "TOXICITY") -> float:
        """Return the summary score that the server itself answers."""
        answer = self._ask(ANALYZE, {"comment": {"text": text}, "requestedAttributes": {attribute: {}}})
        return float(answer["attributeScores"][attribute]["summaryScore"]["value"])

    def harassment(self) -> float:
        """Return OpenAI's score of that name, as the server itself answers it."""
        return float(self._ask(MODERATIONS, {"input": TEXT})["results"][0]["category_scores"]["harassment"])

    def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = httpx.post(f"{self.url}{path}", json=body, headers=headers, trust_env=False).raise_for_status()
        return dict(answer.json())

    def run(
        self,
        page: str,
        language: str,
        variables: Mapping[str, str] | None = None,
        *,
        which: int = 0,
        more: str = "",
        before: Sequence[str] = (),
    ) -> list[Any]:
        """Run the program of a recipe, of several the one numbered ``which``, in a process of its own.

        ``more`` is code that follows it, ``variables`` its environment, ``before`` a command that starts it.
        Returns the values that it prints as JSON, one per line.
        """
        program = (recipes.blocks(page, language)[which] + more).replace(recipes.BASE, self.url)
        start = ["python", "-I", "-c"] if language == "python" else ["node", "--input-type=module", "--eval"]
        inherited = {name: value for name, value in os.environ.items() if not _ELSEWHERE.fullmatch(name)}
        done = subprocess.run(
            [
                *before,
                str(self.clients / "venv" / "bin" / start[0]),
                *start[1:],
                program.replace(recipes.KEY, self.key),
            ],
            cwd=self.clients,
            env=inherited | dict(variables or {}),
            capture_output=True,
            check=False,
            text=True,
            timeout=_WITHIN_S,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="session")
def clients() -> Path:
    return installed()


@pytest.fixture(scope="session")
def service(clients: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    state = tmp_path_factory.mktemp("state")
    set_up(state, STARTER_DIR)
    engine = connect(f"sqlite:///{state / 'moderation.db'}")
    key = make(engine, "site", "predict", "feedback")
    engine.dispose()
    with process.running(process.environment(state, AUTH="on"), state / "errors") as (url, _):
        yield Service(url, key, clients)


@pytest.fixture(scope="session")
def google(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with front.running(service.url, tmp_path_factory.mktemp("front")) as place:
        yield place
