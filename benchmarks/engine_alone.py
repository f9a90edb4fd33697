"""The scorer alone, in a process of its own: what HTTP, queue and log may cost at most."""

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.engine import Work
from benchmarks.load import own_processes
from moderation.bundle import read_bundle
from moderation.scoring.scorer import Scorer

_loaded: list[Scorer] = []  # one per process of the pool


class EngineAlone:
    """A process that scores with ``bundle`` on all cores."""

    def __init__(self, bundle: Path) -> None:
        """Start the process and load the bundle."""
        self._pool = own_processes(1)
        self.labels = self._pool.submit(_load, bundle).result()

    def score(self, texts: Sequence[str], one_by_one: bool) -> tuple[list[list[float]], list[float], float]:
        """Return scores, seconds of each call, and of all: one call per text, or one call for all of them."""
        return self._pool.submit(_score, list(texts), one_by_one).result()

    def operations(self, texts: Sequence[str]) -> float:
        """Return the nominal work of ``texts``, as `benchmarks.engine` counts it."""
        return self._pool.submit(_operations, list(texts)).result()

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown()


def _load(bundle: Path) -> list[str]:
    _loaded.append(Scorer.load(read_bundle(bundle)))  # by the same rule as the API that it is compared with
    return list(_loaded[0].labels)


def _score(texts: list[str], one_by_one: bool) -> tuple[list[list[float]], list[float], float]:
    scores, seconds = [], []
    begun = time.perf_counter()
    for call in ([text] for text in texts) if one_by_one else (texts,):
        called = time.perf_counter()
        scores += _loaded[0].score(call).scores.tolist()
        seconds.append(time.perf_counter() - called)
    return scores, seconds, time.perf_counter() - begun


def _operations(texts: list[str]) -> float:
    return Work(_loaded[0].bundle, _loaded[0].tokenize(texts)).operations
