"""The model that answers: a bundle found by its alias, its scorer, and the policy that decides.

`ModelSource` is the only place of the server that knows where bundles and policies come from.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moderation import clock
from moderation.bundle import Manifest, read_bundle
from moderation.contracts import ServedVersion
from moderation.db.log import VersionRecord
from moderation.errors import BundleError, NotFoundError, RegistryError, UnavailableError
from moderation.labels import LABELS
from moderation.language import NO_SCRIPT, UNDETERMINED, language_tag
from moderation.perspective import PerspectiveScorer
from moderation.policy import Policy
from moderation.policy_file import read_policy
from moderation.registry.cache import BundleCache
from moderation.registry.opening import open_registry
from moderation.registry.registry import match_version
from moderation.registry.wandb import WandbRegistry
from moderation.scoring.scorer import Scorer
from moderation.scoring.tokens import TextTokens
from moderation.settings import ApiSettings
from moderation.text import normalize
from moderation.traits import Traits
from serve.batcher import Work

PINNED = "pinned"
"""In the place of an alias: a version that a caller asked for by name."""
LANGUAGE_SHARE = 0.02
"""A bundle's reference that is all English has 1.4 % that the detector is not sure of, and 0.05 % of any other tag."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TextScores:
    """What the model says of one text; scores are in [0, 1], in label order."""

    scores: dict[str, float]
    tokens_read: int
    truncated: bool
    traits: Traits


@dataclass(frozen=True, slots=True)
class _Read:
    tokens: TextTokens
    traits: Traits


@dataclass(frozen=True)
class Model:
    """What scores and decides, and what is said of it.

    ``tokenize`` takes normalised texts. It and ``infer`` block and are thread-safe; only they know what is in the work
    between them.
    """

    served: ServedVersion
    policy: Policy
    reference: dict[str, object]
    provenance: dict[str, object]
    operating_points: dict[str, dict[str, float]] | None
    tokenize: Callable[[Sequence[str]], list[Work[Any]]]
    infer: Callable[[Sequence[Any]], list[TextScores]]
    call_tokens: int = 0
    """How many tokens a call of ``infer`` should have; 0: one text."""
    calibration: str = ""
    """Twelve hex digits that change with what makes probabilities of logits."""
    perspective: PerspectiveScorer | None = None
    languages: tuple[str, ...] = ("en",)
    """Primary language subtags (BCP 47) that it was trained for."""
    usual_unsure: str = f"{UNDETERMINED}-Latn"
    """The tag of most texts that it was trained for and whose language the detector is not sure of."""

    def score(self, texts: Sequence[str]) -> list[TextScores]:
        """Return the scores of each text, in order (blocking)."""
        return self.infer([work.item for work in self.tokenize(list(map(normalize, texts)))])

    def likely_language(self, tag: str) -> str:
        """Return the one language that it was trained for in place of a ``tag`` that says no more than its script."""
        return self.languages[0] if len(self.languages) == 1 and tag == self.usual_unsure else tag

    def record(self) -> VersionRecord:
        """Return the row that tells readers of the database what this version is and decides by."""
        return VersionRecord(
            version=self.served.version,
            first_seen_at=clock.now(),
            name=self.served.name,
            labels=list(self.served.labels),
            thresholds=dict(self.served.thresholds),
            reference=self.reference,
            provenance=self.provenance,
            operating_points=self.operating_points,
        )


class ModelSource:
    """Finds and loads what an alias points to; every method blocks, for as long as the registry allows."""

    def __init__(self, settings: ApiSettings) -> None:
        """Use the registry of ``settings``."""
        self._settings = settings
        self._registry = open_registry(settings)
        # A registry that can be out of reach has a cache; of a local one only the last good version is noted.
        self._cache = (
            self._registry.cache
            if isinstance(self._registry, WandbRegistry)
            else BundleCache(settings.state_dir / "local")
        )

    def resolve(self, alias: str) -> str:
        """Return the version that ``alias`` points to; raises what the registry raises."""
        return self._registry.resolve(alias)

    def load(self, version: str, alias: str) -> Model:
        """Fetch ``version``, check it, and remember it as good for ``alias``.

        Raises:
            BundleError: the bundle is corrupt or another version, has other labels, or misses its probes' scores.
            ConfigurationError: the policy cannot be read or does not fit the bundle.
            NotFoundError, RegistryError, UnavailableError: the registry cannot give it.
        """
        model = _load(self._registry.fetch(version), version, self._settings, alias)
        self._cache.remember(alias, version)
        return model

    def first(self) -> tuple[Model, str | None]:
        """Return the model to start with and, if it is only the last good copy, why.

        Raises:
            ModerationError: as `resolve` and `load` do, where there is no last good copy.
        """
        alias = self._settings.alias
        try:
            return self.load(self.resolve(alias), alias), None
        except (BundleError, NotFoundError, RegistryError, UnavailableError) as error:
            version = self._cache.remembered(alias)
            copy = None if version is None else self._copy(version)
            if version is None or copy is None:
                raise
            logger.error("starting with the last good copy, version %s: %s", version, error)
            return _load(copy, version, self._settings, alias), f"last good copy: {error}"

    def match(self, beginning: str) -> str:
        """Return the one published version that starts with ``beginning``.

        Raises:
            NotFoundError: none starts so, or several do.
            ModerationError: as the registry does.
        """
        return match_version(beginning, self._registry.versions())

    def load_pinned(self, version: str) -> Model:
        """Return the model of a published version, beside what an alias points to; raises as `load` does."""
        return _load(self._registry.fetch(version), version, self._settings, PINNED)

    def _copy(self, version: str) -> Path | None:
        """Return where ``version`` lies on this machine."""
        if isinstance(self._registry, WandbRegistry):
            return self._cache.find(version)
        try:
            return self._registry.fetch(version)
        except NotFoundError:
            return None

    def close(self) -> None:
        """Let go of the registry."""
        if isinstance(self._registry, WandbRegistry):
            self._registry.close()


def _load(path: Path, version: str, settings: ApiSettings, alias: str) -> Model:
    bundle = read_bundle(path, LABELS, version)
    policy = read_policy(settings.policy_path, bundle.manifest.thresholds)
    # One thread per call: the batcher has threads of its own, and the candidate's has a lower priority.
    scorer = Scorer.load(bundle, threads=1, backend=settings.backend)
    served = ServedVersion(
        version=bundle.version,
        name=bundle.manifest.name,
        alias=alias,
        labels=list(scorer.labels),
        thresholds={
            label: {"review": limits.review, "remove": limits.remove} for label, limits in policy.thresholds.items()
        },
        max_tokens=bundle.manifest.max_tokens,
        normalizer_version=bundle.manifest.normalizer_version,
        backend=scorer.backend,
        device=scorer.device,
    )
    reference, provenance = (
        part.model_dump(mode="json") for part in (bundle.manifest.reference, bundle.manifest.provenance)
    )
    points = bundle.manifest.operating_points
    return Model(
        served,
        policy,
        reference,
        provenance,
        points,
        *_stages(scorer),
        call_tokens=scorer.call_tokens,
        calibration=bundle.manifest.calibration_id,
        perspective=PerspectiveScorer.load(bundle),
        languages=_languages(bundle.manifest),
        usual_unsure=_usual_unsure(bundle.manifest),
    )


def _languages(manifest: Manifest) -> tuple[str, ...]:
    """Return the languages that at least `LANGUAGE_SHARE` of the reference are in; English where it does not say."""
    shares: defaultdict[str, float] = defaultdict(float)
    for tag, share in (manifest.reference.language_shares or {}).items():
        shares[tag.partition("-")[0]] += share
    return tuple(tag for tag, share in shares.items() if share >= LANGUAGE_SHARE and tag != UNDETERMINED) or ("en",)


def _usual_unsure(manifest: Manifest) -> str:
    shares = manifest.reference.language_shares or {}
    unsure = {tag: share for tag, share in shares.items() if tag.startswith(UNDETERMINED) and tag not in NO_SCRIPT}
    return max(unsure, key=unsure.__getitem__, default=f"{UNDETERMINED}-Latn")


def _stages(
    scorer: Scorer,
) -> tuple[Callable[[Sequence[str]], list[Work[_Read]]], Callable[[Sequence[_Read]], list[TextScores]]]:
    """Return ``scorer``'s two halves, text by text."""

    def tokenize(normalized_texts: Sequence[str]) -> list[Work[_Read]]:
        tokens = scorer.tokenize_normalized(normalized_texts)
        return [
            Work(each.cost_tokens, _Read(each, Traits(language_tag(text), len(text), each.unknown_tokens)))
            for text, each in zip(normalized_texts, tokens, strict=True)
        ]

    def infer(read: Sequence[_Read]) -> list[TextScores]:
        scored = scorer.infer([each.tokens for each in read])
        rows = zip(scored.scores.tolist(), scored.tokens_read.tolist(), scored.truncated.tolist(), read, strict=True)
        return [
            TextScores(dict(zip(scorer.labels, row, strict=True)), tokens_read, truncated, each.traits)
            for row, tokens_read, truncated, each in rows
        ]

    return tokenize, infer
