from collections.abc import Sequence

import pytest

from moderation.text import normalize
from moderation.traits import Traits
from serve.batcher import Known, Work
from serve.cache import Cache
from serve.model import Model, TextScores
from serve.stages import Asked, Found, Stages
from tests.serve.server import Score, with_scoring


class Counted:
    """The tiny model with its inferences noted."""

    def __init__(self, model: Model) -> None:
        self.texts: list[str] = []
        self.model = with_scoring(model, self._score)

    def _score(self, score: Score, texts: Sequence[str]) -> list[TextScores]:
        self.texts += texts
        return score(texts)


@pytest.fixture
def counted(model: Model) -> Counted:
    return Counted(model)


def answer(stages: Stages, asked: Sequence[Asked]) -> list[Found]:
    steps = stages.tokenize(asked)
    fresh = iter(stages.infer([step.item for step in steps if isinstance(step, Work)]))
    return [step.result if isinstance(step, Known) else next(fresh) for step in steps]


def test_a_duplicate_is_answered_from_the_cache_with_the_same_scores(counted: Counted) -> None:
    stages = Stages(Cache(10))
    (first,) = answer(stages, [Asked(counted.model, "you are disgusting")])
    (again, other) = answer(
        stages, [Asked(counted.model, "  you are\tdisgusting\u200b "), Asked(counted.model, "hello")]
    )
    assert (first.cached, again.cached, other.cached) == (False, True, False)
    assert again.scores == first.scores
    assert counted.texts == ["you are disgusting", "hello"]  # the same to a reader is the same


def test_a_text_is_normalised_once_for_the_cache_and_the_model(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def counting(text: str) -> str:
        seen.append(text)
        return normalize(text)

    for module in ("serve.stages", "serve.model", "moderation.scoring.tokens"):
        monkeypatch.setattr(f"{module}.normalize", counting)
    text = "you  are\tdisgusting\u200b"
    (found,) = answer(Stages(Cache(10)), [Asked(model, text)])
    assert seen == [text]
    assert [found.scores] == model.score(["you are disgusting"])


def test_a_duplicate_that_waits_behind_its_twin_is_scored_once(counted: Counted) -> None:
    stages = Stages(Cache(10))
    works = [work for work in stages.tokenize([Asked(counted.model, "damn")] * 2) if isinstance(work, Work)]
    found = [stages.infer([work.item])[0] for work in works]
    assert [one.cached for one in found] == [False, True]
    assert counted.texts == ["damn"]


def test_a_text_of_which_nothing_may_be_kept_neither_fills_nor_meets_the_cache(counted: Counted) -> None:
    cache: Cache[TextScores] = Cache(10)
    stages = Stages(cache)
    (secret,) = answer(stages, [Asked(counted.model, "damn", keep=False)])
    assert len(cache) == 0
    answer(stages, [Asked(counted.model, "damn")])
    (again,) = answer(stages, [Asked(counted.model, "damn", keep=False)])
    assert (secret.cached, again.cached) == (False, False)
    assert counted.texts == ["damn"] * 3


def test_without_a_cache_every_text_is_scored(counted: Counted) -> None:
    answer(Stages(None), [Asked(counted.model, "damn")] * 2)
    assert counted.texts == ["damn"] * 2


def test_another_version_does_not_answer_from_the_first_ones_results(counted: Counted) -> None:
    cache: Cache[TextScores] = Cache(10)
    assert cache.key("a" * 64, "text") != cache.key("b" * 64, "text")
    assert cache.key("a" * 64, "text") != Cache(10).key("a" * 64, "text")  # nor can anybody who guesses texts


def test_texts_of_two_models_in_one_call_are_scored_by_their_own(counted: Counted, model: Model) -> None:
    traits = Traits("en", 4, None)
    other = with_scoring(model, lambda _, texts: [TextScores({"toxic": 0.5}, 1, False, traits) for _ in texts])
    asked = [Asked(counted.model, "damn"), Asked(other, "damn"), Asked(counted.model, "hello")]
    found = answer(Stages(None), asked)
    assert found[1].scores.scores == {"toxic": 0.5}
    assert [found[0].scores, found[2].scores] == model.score(["damn", "hello"])


def test_the_cache_is_bounded_and_keeps_what_was_used_last() -> None:
    cache: Cache[int] = Cache(2)
    keys = [cache.key("v", text) for text in "abc"]
    cache.put(keys[0], 0)
    cache.put(keys[1], 1)
    assert cache.get(keys[0]) == 0
    cache.put(keys[2], 2)
    assert [cache.get(key) for key in keys] == [0, None, 2]
    assert len(cache) == 2


def test_the_cache_holds_no_text() -> None:
    cache: Cache[int] = Cache(2)
    key = cache.key("v", "quiet words")
    cache.put(key, 1)
    assert b"quiet" not in key
    assert "quiet" not in repr(vars(cache))
