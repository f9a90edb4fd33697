"""The batcher's two steps for a text: tokenise or find its result in the cache, then infer by its own model."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from moderation.text import normalize
from serve.batcher import Known, Work
from serve.cache import Cache
from serve.model import Model, TextScores

X = TypeVar("X")
Y = TypeVar("Y")


@dataclass(frozen=True, slots=True)
class Asked:
    """A text, and the model that is to score it whatever is swapped in meanwhile; ``keep`` allows the cache."""

    model: Model
    text: str
    keep: bool = True


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a text, and whether it came from the cache."""

    scores: TextScores
    cached: bool


@dataclass(frozen=True, slots=True)
class _Pending:
    model: Model
    item: Any
    key: bytes | None


class Stages:
    """Both steps block and are thread-safe. A text of which nothing may be kept never meets the cache."""

    def __init__(self, cache: Cache[TextScores] | None) -> None:
        """Answer duplicates from ``cache``; None: there is none."""
        self._cache = cache

    def tokenize(self, asked: Sequence[Asked]) -> list[Work[_Pending] | Known[Found]]:
        """Return the work that each text makes, or its result where that is known."""
        asked = [replace(one, text=normalize(one.text)) for one in asked]  # once, for the cache and for the model
        keys = [self._key(one) for one in asked]
        found = [self._look_up(key) for key in keys]
        missing = [one for one, known in zip(asked, found, strict=True) if known is None]
        works = iter(_by_model(missing, lambda model, group: model.tokenize([one.text for one in group])))
        results: list[Work[_Pending] | Known[Found]] = []
        for one, key, known in zip(asked, keys, found, strict=True):
            if known is None:
                work = next(works)
                results.append(Work(work.tokens, _Pending(one.model, work.item, key)))
            else:
                results.append(Known(known))
        return results

    def infer(self, pending: Sequence[_Pending]) -> list[Found]:
        """Return the result of each; a duplicate that was scored since it was tokenised is not scored again."""
        found = [self._look_up(one.key) for one in pending]
        missing = [one for one, known in zip(pending, found, strict=True) if known is None]
        scored = _by_model(missing, lambda model, group: model.infer([one.item for one in group]))
        for one, scores in zip(missing, scored, strict=True):
            if self._cache is not None and one.key is not None:
                self._cache.put(one.key, scores)
        fresh = iter(scored)
        return [known or Found(next(fresh), cached=False) for known in found]

    def _key(self, asked: Asked) -> bytes | None:
        if self._cache is None or not asked.keep:
            return None
        return self._cache.key(asked.model.served.version, asked.text)

    def _look_up(self, key: bytes | None) -> Found | None:
        scores = self._cache.get(key) if self._cache is not None and key is not None else None
        return Found(scores, cached=True) if scores is not None else None


def _by_model(items: Sequence[X], call: Callable[[Model, list[X]], Sequence[Y]]) -> list[Y]:
    """Return ``call``'s results for runs of items of one model, in order."""
    results: list[Y] = []
    for _, run in itertools.groupby(items, key=lambda item: id(item.model)):  # type: ignore[attr-defined]
        group = list(run)
        results += call(group[0].model, group)  # type: ignore[attr-defined]
    return results
