"""Scores that mean what Perspective's meant: per attribute an index of our scores, and a rising map from it.

A probability here is calibrated at the real prevalence; Perspective's scores were calibrated on a set with as many
toxic comments as others, so the same comment has a far higher score there, and a threshold carries over only through
such a map. Its attributes are not our labels either: an index of all our scores, and of the words, orders comments
more as Perspective's attribute does than the one label of that name (adr/0028). This module applies them;
`train.perspective` fits them.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import exp, log, log1p
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from moderation.errors import InvalidInputError
from moderation.labels import LABELS

ATTRIBUTES = {
    "toxic": "TOXICITY",
    "severe_toxic": "SEVERE_TOXICITY",
    "obscene": "PROFANITY",
    "threat": "THREAT",
    "insult": "INSULT",
    "identity_hate": "IDENTITY_ATTACK",
}
"""Perspective's name of each of our labels."""

CLIPPED = 1e-6
"""Of a score, at both ends, before its logarithm is taken."""
MOST = 700.0
"""Of an index: the exponential of a larger one is no float."""

LEAST_SLOPE = 1e-6
"""Of a segment, in both directions: flatter ones would tie what is apart, by rounding."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class AttributeScale(_Part):
    """Knots of one label's map, both rising from 0 to 1; between two knots it is a straight line."""

    probabilities: Annotated[list[float], Field(min_length=2)]
    scores: Annotated[list[float], Field(min_length=2)]

    @model_validator(mode="after")
    def _rises(self) -> "AttributeScale":
        if len(self.probabilities) != len(self.scores):
            raise ValueError(f"{len(self.probabilities)} probabilities for {len(self.scores)} scores")
        for name, knots in (("probabilities", self.probabilities), ("scores", self.scores)):
            if (knots[0], knots[-1]) != (0.0, 1.0):
                raise ValueError(f"{name} go from {knots[0]} to {knots[-1]}, expected from 0 to 1")
        for (x0, y0), (x1, y1) in pairwise(zip(self.probabilities, self.scores, strict=True)):
            if not (x1 > x0 and y1 - y0 >= LEAST_SLOPE * (x1 - x0) and x1 - x0 >= LEAST_SLOPE * (y1 - y0)):
                raise ValueError(f"the map must rise from knot ({x0}, {y0}) to ({x1}, {y1}), both ways")
        return self

    def along(self, probability: float) -> float:
        """Return the score that the map has for a ``probability`` in [0, 1]."""
        return _along(self.probabilities, self.scores, probability)


class AttributeIndex(_Part):
    """A logistic regression of one attribute on what is known of a comment, and the map from it to the attribute.

    It never falls where the label's own score rises and all else is equal.
    """

    intercept: float
    log_scores: dict[str, float]
    """Weight of ln p, by our label."""
    log_complements: dict[str, float]
    """Weight of -ln(1 - p), by our label: what tells a high score from the highest."""
    words: Annotated[float, Field(ge=0)]
    """Weight of `moderation.hashed_ngrams.HashedNgrams.value`."""
    scale: AttributeScale

    def value(self, scores: Mapping[str, float], words: float) -> float:
        """Return the attribute's score, in [0, 1], of a comment with our calibrated ``scores``."""
        index = self.intercept + self.words * words
        for label, weight in self.log_scores.items():
            score = min(max(scores[label], CLIPPED), 1 - CLIPPED)
            index += weight * log(score) - self.log_complements[label] * log1p(-score)
        return self.scale.along(1 / (1 + exp(-index)) if index > -MOST else 0.0)


class PerspectiveScale(_Part):
    """The maps of a bundle's labels, and what they were fitted on."""

    method: str
    """How the maps were fitted (docs/perspective_scale.md)."""
    sources: dict[str, str]
    """SHA-256 of each file of Perspective's scores, by its name."""
    rows: Annotated[int, Field(ge=1)]
    """Comments that the maps were fitted on."""
    git_commit: str
    """Code that fitted them."""
    attributes: Annotated[dict[str, AttributeScale], Field(min_length=1)]
    """By our label, from its own score: what a threshold is translated by."""
    indices: dict[str, AttributeIndex] = {}
    """By our label, of all scores and words: what is answered. Empty: ``attributes`` are."""
    words_sha256: str | None = None
    """Of the file `moderation.bundle.PERSPECTIVE_WORDS`, which the indices need."""

    @model_validator(mode="after")
    def _belongs_together(self) -> "PerspectiveScale":
        if self.indices and (self.words_sha256 is None or self.indices.keys() != self.attributes.keys()):
            raise ValueError("indices need the digest of the words' file, and there is one for each attribute")
        for label, index in self.indices.items():
            if index.log_scores.keys() != index.log_complements.keys() or label not in index.log_scores:
                raise ValueError(f"the index of {label} needs both weights of the same labels, its own among them")
            if min(index.log_scores[label], index.log_complements[label]) < 0:
                raise ValueError(f"the index of {label} falls where its own score rises")
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """Our labels that have a map, in their usual order."""
        return tuple(label for label in LABELS if label in self.attributes)

    @property
    def id(self) -> str:
        """Twelve hex digits that change with the maps or with what they were fitted on."""
        # A manifest is sorted as well, and what a scale of before did not have keeps its id as it was.
        stated = json.dumps(self.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
        return hashlib.sha256(stated.encode()).hexdigest()[:12]

    def scores(self, own: Mapping[str, float], words: float) -> dict[str, float]:
        """Return Perspective's score, in [0, 1], of each of `labels`.

        ``own`` has our calibrated score of every label, ``words`` is the value of the text's words.
        """
        return {
            label: self.indices[label].value(own, words) if self.indices else self.to_perspective(label, own[label])
            for label in self.labels
        }

    def to_perspective(self, label: str, probability: float) -> float:
        """Return Perspective's score, in [0, 1], that flags the same share as a ``probability`` of the label alone.

        Never falls, and rises but for rounding in the last digits of a float64, so the ranking stays.

        Raises:
            InvalidInputError: a label without a map, or a probability outside [0, 1].
        """
        return self._scale(label).along(_checked("probability", probability))

    def from_perspective(self, label: str, score: float) -> float:
        """Return the calibrated probability, in [0, 1], that Perspective's ``score`` stands for.

        Raises:
            InvalidInputError: a label without a map, or a score outside [0, 1].
        """
        scale = self._scale(label)
        return _along(scale.scores, scale.probabilities, _checked("Perspective score", score))

    def _scale(self, label: str) -> AttributeScale:
        try:
            return self.attributes[label]
        except KeyError:
            raise InvalidInputError(
                f"no Perspective scale for label {label!r}; the bundle has one for {', '.join(self.labels)}"
            ) from None


def _checked(name: str, value: float) -> float:
    if not 0 <= value <= 1:  # never true of NaN
        raise InvalidInputError(f"{name} {value} is outside [0, 1]")
    return value


def _along(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """Return the piecewise-linear map at ``x``: every step rounds monotonically, the end of a segment bounds it."""
    right = min(bisect_right(xs, x), len(xs) - 1)
    left = right - 1
    if x >= xs[right]:
        return ys[right]
    slope = (ys[right] - ys[left]) / (xs[right] - xs[left])
    return min(ys[left] + (x - xs[left]) * slope, ys[right])


def lost_scale(candidate: PerspectiveScale | None, served: PerspectiveScale | None) -> str | None:
    """Return what callers of Perspective's routes lose with ``candidate`` in the place of ``served``; None: nothing."""
    if lost := [ATTRIBUTES[label] for label in _labels(served) if label not in _labels(candidate)]:
        return (
            f"the candidate has no scale to Perspective's scores for {', '.join(lost)}, and what is served has one: "
            "thresholds of sites that call Perspective's routes would change their meaning (docs/perspective_scale.md)"
        )
    if served and served.indices and candidate and not candidate.indices:
        return (
            "the candidate's scale to Perspective's scores is that of single labels, and what is served has indices of "
            "all scores and of words: on Perspective's routes it agrees less with Perspective; fit it anew "
            "(docs/perspective_scale.md)"
        )
    return None


def _labels(scale: PerspectiveScale | None) -> tuple[str, ...]:
    return scale.labels if scale else ()
