"""A whole system to break: PostgreSQL of its own, a registry with two versions, the API, and callers who remember."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from sqlalchemy import func, select

from benchmarks.load import Answer, Closed, Load, own_processes, post, run
from moderation.bundle import read_bundle
from moderation.db.database import connect, migrate
from moderation.db.models import Feedback, Prediction, Rollup
from moderation.db.rollups import PERIODS_S
from moderation.labels import LABELS
from moderation.registry.local import LocalRegistry
from moderation.registry.registry import Move
from moderation.scoring.scorer import Scorer
from tests.bundles import WORDS, build_tiny_bundle
from tests.postgres import Cluster
from tests.serve.process import environment
from tests.serve.server import wait_until

Scores = dict[str, float]
PROCESSES = 3
CLIENTS = 4
BATCH = 8
NO_ANSWER = 0
LONGEST_S = 150.0


@dataclass(frozen=True)
class Prediction200:
    """A prediction that a caller got."""

    id: str
    version: str
    scores: Scores


@dataclass
class Seen:
    """What the callers got: every answered prediction, how often which status, and ids of feedback that was taken."""

    predictions: list[Prediction200] = field(default_factory=list)
    statuses: "Counter[int]" = field(default_factory=Counter)
    feedback: list[str] = field(default_factory=list)


class System:
    """What stays while the API comes and goes; ``versions`` score every text differently."""

    def __init__(self, folder: Path, postgres: Cluster) -> None:
        self.postgres = postgres
        self.state = folder / "state"
        self.log = folder / "log"
        self.registry = LocalRegistry(folder / "registry")
        self.texts = [f"{number} {' '.join(list(WORDS)[: number % 7])} hello" for number in range(256)]
        self.versions = [
            self.registry.publish(build_tiny_bundle(folder / f"tiny{bias}", bias=bias)) for bias in (-4.0, -3.0)
        ]
        self.point(0)
        self.environment = environment(
            self.state, REGISTRY_DIR=str(self.registry.path), DATABASE_URL=postgres.url, ALIAS_POLL_S="0.2"
        )
        self._expected = {version: self._scores(version) for version in self.versions}
        engine = connect(postgres.url)
        migrate(engine)
        engine.dispose()

    @property
    def port(self) -> int:
        return int(self.environment["MODERATION_API_PORT"])

    def point(self, number: int) -> None:
        self.registry.point("production", self.versions[number], Move("test", "chaos"))

    @contextmanager
    def load(self, judged: Sequence[Prediction200] = ()) -> Iterator[Seen]:
        """Ask from several processes while the block runs; what they saw is in the yielded object after it.

        Between predictions they give feedback on those that were ``judged``.
        """
        single = [(text,) for text in self.texts]
        batches = [tuple(self.texts[at : at + BATCH]) for at in range(0, len(self.texts), BATCH)]
        asked = [texts for pair in zip(single, batches * BATCH, strict=True) for texts in pair]
        requests = [_request(texts) for texts in asked]
        requests += [post("/feedback", {"prediction_id": each.id, "agree": True}) for each in judged]
        seen, stop = Seen(), self.log.with_name("stop")
        stop.unlink(missing_ok=True)
        with own_processes(PROCESSES) as pool:
            plan = Closed(self.port, requests, CLIENTS, for_s=LONGEST_S, stop=stop)
            loads: list[Future[Load]] = [pool.submit(run, plan) for _ in range(PROCESSES)]
            try:
                yield seen
            finally:
                stop.touch()
            for load in loads:
                for answer in load.result().answers:
                    if answer.number < len(asked):
                        self._note(answer, asked[answer.number], seen)
                    else:
                        self._note_feedback(answer, seen)

    def check(self, *seen: Seen) -> None:
        """Everything that a caller got is in the database exactly once, with what was answered, and counted once."""
        answered = [prediction for one in seen for prediction in one.predictions]
        stored = self._stored()
        lost = [one.id for one in answered if one.id not in stored]
        statuses = sum((one.statuses for one in seen), Counter())
        print(f"{dict(statuses)}: {len(answered)} predictions answered, {len(stored)} stored, {len(lost)} lost")
        assert answered
        assert len({one.id for one in answered}) == len(answered)
        assert lost == []
        assert all(stored[one.id] == (one.version, one.scores) for one in answered)
        taken = [id_ for one in seen for id_ in one.feedback]
        engine = connect(self.postgres.url)
        with engine.connect() as connection:
            kept = list(connection.scalars(select(Feedback.id)))
            counted = select(Rollup.period_s, func.sum(Rollup.predictions)).group_by(Rollup.period_s)
            rollups = {period_s: int(count) for period_s, count in connection.execute(counted)}
        engine.dispose()
        print(f"{len(taken)} feedback taken, {len(kept)} stored; roll-ups count {rollups}")
        assert len(set(kept)) == len(kept)
        assert set(taken) <= set(kept)
        assert rollups == dict.fromkeys(PERIODS_S, len(stored))

    def wait_for_answers(self, count: int = 100) -> None:
        """Wait until the API that runs now has answered so many predictions."""
        wait_until(lambda: self.figure("moderation_predictions_total") >= count, timeout_s=60)

    def wait_until_shipped(self) -> None:
        wait_until(lambda: self.figure("moderation_outbox_rows") == 0, timeout_s=400)

    def figure(self, name: str) -> float:
        """Return the sum over all labels of a figure of the API."""
        text = httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=30, trust_env=False).text
        lines = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def _note(self, answer: Answer, texts: Sequence[str], seen: Seen) -> None:
        seen.statuses[answer.status] += 1
        if answer.status != 200:
            return
        body = json.loads(answer.body)
        for text, one in zip(texts, body.get("predictions", [body]), strict=True):
            assert one["scores"] == self._expected[one["version"]][text], one["version"]
            seen.predictions.append(Prediction200(one["id"], one["version"], one["scores"]))

    def _note_feedback(self, answer: Answer, seen: Seen) -> None:
        seen.statuses[answer.status] += 1
        if answer.status == 200:
            seen.feedback.append(json.loads(answer.body)["id"])

    def _scores(self, version: str) -> dict[str, Scores]:
        scored = Scorer.load(read_bundle(self.registry.fetch(version)), threads=1).score(self.texts).scores.tolist()
        return {text: dict(zip(LABELS, row, strict=True)) for text, row in zip(self.texts, scored, strict=True)}

    def _stored(self) -> dict[str, tuple[str, Scores]]:
        engine = connect(self.postgres.url)
        columns = [getattr(Prediction, f"score_{label}") for label in LABELS]
        with engine.connect() as connection:
            rows = connection.execute(select(Prediction.id, Prediction.version, *columns)).all()
        engine.dispose()
        twice = [number for number, count in Counter(row[0] for row in rows).items() if count > 1]
        assert twice == []
        return {row[0]: (row[1], dict(zip(LABELS, row[2:], strict=True))) for row in rows}


def pause(seconds: float) -> None:
    """Let the load go on for so long."""
    time.sleep(seconds)


def _request(texts: Sequence[str]) -> bytes:
    if len(texts) == 1:
        return post("/predict", {"comment_text": texts[0]})
    return post("/predict/batch", {"comment_texts": list(texts)})
