"""Perspective's scores of a text that a bundle has scored."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from moderation.bundle import Bundle
from moderation.hashed_ngrams import HashedNgrams
from moderation.perspective_scale import PerspectiveScale


@dataclass(frozen=True)
class PerspectiveScorer:
    """A bundle's scale with what it needs to know of a text's words; ``words`` is None where it needs nothing."""

    scale: PerspectiveScale
    words: HashedNgrams | None = None

    @classmethod
    def load(cls, bundle: Bundle) -> "PerspectiveScorer | None":
        """Return that of ``bundle``; None: it has no scale.

        Raises:
            BundleError: the file of words is none.
        """
        scale = bundle.perspective
        return None if scale is None else cls(scale, HashedNgrams.load(bundle.path) if scale.indices else None)

    @cached_property
    def id(self) -> str:
        """Return the scale's, worked out once: every answer states it."""
        return self.scale.id

    def scores(self, text: str, own: Mapping[str, float]) -> dict[str, float]:
        """Return Perspective's score, in [0, 1], of each label of the scale; ``own`` are our scores of ``text``."""
        return self.scale.scores(own, self.words.value(text) if self.words else 0.0)
