import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from moderation.bundle import read_bundle
from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from moderation.perspective import PerspectiveScorer
from moderation.perspective_scale import AttributeIndex, AttributeScale, PerspectiveScale, lost_scale
from moderation.registry.starter import STARTER_DIR


def scale(knots: list[tuple[float, float]]) -> PerspectiveScale:
    probabilities, scores = ([knot[side] for knot in knots] for side in (0, 1))
    return PerspectiveScale(
        method="by hand",
        sources={"table.csv": "0" * 64},
        rows=10,
        git_commit="0" * 40,
        attributes={"toxic": AttributeScale(probabilities=probabilities, scores=scores)},
    )


CURVE = AttributeScale(probabilities=[0.0, 1.0], scores=[0.0, 1.0])
BENT = scale([(0.0, 0.0), (1e-4, 0.1), (0.02, 0.5), (0.7, 0.9), (1.0, 1.0)])


@st.composite
def scales(draw: st.DrawFn) -> PerspectiveScale:
    size = draw(st.integers(1, 12))
    steps = [np.cumsum(draw(st.lists(st.floats(0.01, 1.0), min_size=size, max_size=size))) for _ in range(2)]
    probabilities, scores = ([0.0, *(step / step[-1]).tolist()] for step in steps)
    return scale(list(zip(probabilities, scores, strict=True)))


shares = st.floats(0, 1)


def test_a_knot_is_met_and_between_two_it_is_a_straight_line() -> None:
    assert BENT.to_perspective("toxic", 0.02) == 0.5
    assert BENT.to_perspective("toxic", 0.36) == pytest.approx(0.7)
    assert BENT.from_perspective("toxic", 0.7) == pytest.approx(0.36)


@given(scales(), shares, shares)
def test_the_map_never_falls_stays_in_its_range_and_keeps_the_ends(
    drawn: PerspectiveScale, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    for convert in (drawn.to_perspective, drawn.from_perspective):
        assert 0.0 <= convert("toxic", low) <= convert("toxic", high) <= 1.0
        assert (convert("toxic", 0.0), convert("toxic", 1.0)) == (0.0, 1.0)
        if high - low > 1e-9:
            assert convert("toxic", low) < convert("toxic", high)


@given(scales(), shares)
def test_there_and_back_is_the_same_score(drawn: PerspectiveScale, score: float) -> None:
    assert drawn.to_perspective("toxic", drawn.from_perspective("toxic", score)) == pytest.approx(score, abs=1e-12)


@given(scales(), st.integers(0, 12))
def test_the_map_does_not_fall_around_a_knot(drawn: PerspectiveScale, place: int) -> None:
    knots = drawn.attributes["toxic"].probabilities
    near = [knots[min(place, len(knots) - 1)]]
    for _ in range(50):
        near = [max(0.0, float(np.nextafter(near[0], -1))), *near, min(1.0, float(np.nextafter(near[-1], 2)))]
    found = [drawn.to_perspective("toxic", each) for each in near]
    assert all(after >= before for before, after in pairwise(found))


def test_neighbours_among_the_highest_served_scores_do_not_tie() -> None:
    high = np.float32(1.0)
    for _ in range(100):
        lower = np.nextafter(high, np.float32(0))
        assert BENT.to_perspective("toxic", float(lower)) < BENT.to_perspective("toxic", float(high))
        high = lower


@pytest.mark.parametrize("value", [-0.001, 1.001, float("nan"), float("inf")])
def test_a_score_that_is_none_is_refused_with_its_value(value: float) -> None:
    with pytest.raises(InvalidInputError, match=rf"{value}.*\[0, 1\]"):
        BENT.to_perspective("toxic", value)
    with pytest.raises(InvalidInputError, match=rf"{value}.*\[0, 1\]"):
        BENT.from_perspective("toxic", value)


def test_a_label_without_a_map_is_refused_and_those_with_one_are_named() -> None:
    with pytest.raises(InvalidInputError, match=r"'threat'.*toxic"):
        BENT.to_perspective("threat", 0.5)


@pytest.mark.parametrize(
    "knots",
    [
        [(0.0, 0.0), (0.5, 0.5)],
        [(0.1, 0.0), (1.0, 1.0)],
        [(0.0, 0.0), (0.5, 0.7), (0.5, 0.8), (1.0, 1.0)],
        [(0.0, 0.0), (0.5, 0.7), (0.6, 0.7), (1.0, 1.0)],
        [(0.0, 0.0), (0.5, 0.7), (0.6, 0.6), (1.0, 1.0)],
        [(0.0, 0.0), (0.5, 0.7), (0.6, 0.7 + 1e-9), (1.0, 1.0)],
    ],
)
def test_knots_that_do_not_rise_from_0_to_1_are_refused(knots: list[tuple[float, float]]) -> None:
    with pytest.raises(ValidationError):
        scale(knots)


def test_the_id_is_that_of_the_content() -> None:
    again = PerspectiveScale.model_validate_json(BENT.model_dump_json())
    turned = scale([(0.0, 0.0), (1.0, 1.0)]).model_copy(update={"attributes": {**BENT.attributes, "insult": CURVE}})
    sorted_by_name = turned.model_copy(update={"attributes": dict(sorted(turned.attributes.items()))})
    assert sorted_by_name.id == turned.id
    assert sorted_by_name.labels == ("toxic", "insult")
    other = BENT.model_copy(update={"rows": 11})
    assert again.id == BENT.id != other.id
    assert len(BENT.id) == 12


def index(**changed: Any) -> AttributeIndex:
    weights = dict.fromkeys(("toxic", "insult"), 0.5)
    stated = {"intercept": 0.0, "log_scores": weights, "log_complements": weights, "words": 1.0, "scale": CURVE}
    return AttributeIndex.model_validate(stated | changed)


def with_index(**changed: Any) -> PerspectiveScale:
    stated = {**BENT.model_dump(), "indices": {"toxic": index().model_dump()}, "words_sha256": "0" * 64}
    return PerspectiveScale.model_validate(stated | changed)


def test_an_index_is_the_logistic_function_of_log_scores_and_words() -> None:
    own = {"toxic": 0.2, "insult": 0.6}
    log_odds = sum(0.5 * math.log(score / (1 - score)) for score in own.values())
    for words in (-0.7, 0.0, 3.0):
        assert index().value(own, words) == pytest.approx(1 / (1 + math.exp(-log_odds - words)))
    assert index(intercept=-1e4).value(own, 0.0) == 0.0
    assert index(intercept=1e4).value(own, 0.0) == 1.0


def test_with_indices_they_are_answered_and_thresholds_are_still_translated_by_the_maps() -> None:
    own = {"toxic": 0.02, "insult": 0.02}
    scale = with_index()
    assert scale.scores(own, 1.0) == {"toxic": index().value(own, 1.0)} != scale.scores(own, 0.0)
    assert scale.from_perspective("toxic", 0.5) == 0.02
    assert BENT.scores(own, 1.0) == {"toxic": 0.5}


def test_a_scale_of_before_keeps_its_id_and_indices_and_words_change_it() -> None:
    assert BENT.id == "a9efbfd1bab2"
    assert len({BENT.id, with_index().id, with_index(words_sha256="1" * 64).id}) == 3


def test_what_callers_would_lose_is_said() -> None:
    assert (
        lost_scale(None, None)
        is lost_scale(BENT, None)
        is lost_scale(BENT, BENT)
        is lost_scale(with_index(), BENT)
        is None
    )
    assert "no scale to Perspective's scores for TOXICITY" in str(lost_scale(None, with_index()))
    assert "that of single labels" in str(lost_scale(BENT, with_index()))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"words_sha256": None}, "need the digest"),
        ({"indices": {"insult": index().model_dump()}}, "one for each attribute"),
        ({"indices": {"toxic": index(log_scores={"toxic": -0.1, "insult": 1.0}).model_dump()}}, "falls where its own"),
        ({"indices": {"toxic": index(log_scores={"toxic": 0.1}).model_dump()}}, "both weights of the same labels"),
        ({"indices": {"toxic": {**index().model_dump(), "words": -1.0}}}, "greater than or equal to 0"),
    ],
)
def test_indices_that_cannot_be_used_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        with_index(**changed)


def test_the_starter_has_an_index_of_every_label_and_its_card_says_which_scale() -> None:
    starter = read_bundle(STARTER_DIR, LABELS)
    assert starter.perspective is not None
    assert starter.perspective.labels == LABELS
    assert set(starter.perspective.indices) == set(LABELS)
    scorer = PerspectiveScorer.load(starter)
    assert scorer is not None
    own = dict.fromkeys(LABELS, 0.01)
    plain, harsh = (
        scorer.scores(text, own)["toxic"] for text in ("Thank you for the kind words.", "You stupid idiot.")
    )
    assert harsh > 2 * plain
    assert f"Scale `{starter.perspective.id}`" in (STARTER_DIR / "README.md").read_text()
    for label in LABELS:
        own = starter.perspective.from_perspective(label, 0.8)
        assert starter.perspective.to_perspective(label, own) == pytest.approx(0.8)
