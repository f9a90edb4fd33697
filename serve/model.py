"""The model that answers: a bundle found by its alias, its scorer, and the policy that decides.

`load` is the only place of the server that knows where bundles and policies come from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from moderation.bundle import read_bundle
from moderation.contracts import ServedVersion
from moderation.db.log import VersionRecord
from moderation.labels import LABELS
from moderation.policy import Policy
from moderation.policy_file import read_policy
from moderation.registry.local import LocalRegistry
from moderation.scoring.scorer import Scored, Scorer
from moderation.settings import ApiSettings


@dataclass(frozen=True)
class TextScores:
    """What the model says of one text; scores are in [0, 1], in label order."""

    scores: dict[str, float]
    tokens_read: int
    truncated: bool


@dataclass(frozen=True)
class Model:
    """What scores and decides, and what is said of it; ``score_texts`` blocks and is thread-safe."""

    served: ServedVersion
    policy: Policy
    reference: dict[str, object]
    provenance: dict[str, object]
    score_texts: Callable[[Sequence[str]], Scored]

    def score(self, texts: Sequence[str]) -> list[TextScores]:
        """Return the scores of each text, in order (blocking)."""
        scored = self.score_texts(texts)
        return [
            TextScores(dict(zip(self.served.labels, row, strict=True)), tokens_read, truncated)
            for row, tokens_read, truncated in zip(
                scored.scores.tolist(), scored.tokens_read.tolist(), scored.truncated.tolist(), strict=True
            )
        ]

    def record(self) -> VersionRecord:
        """Return the row that tells readers of the database what this version is and decides by."""
        return VersionRecord(
            version=self.served.version,
            first_seen_at=datetime.now(UTC),
            name=self.served.name,
            labels=list(self.served.labels),
            thresholds=dict(self.served.thresholds),
            reference=self.reference,
            provenance=self.provenance,
        )


def load(settings: ApiSettings) -> Model:
    """Load the bundle that ``settings.alias`` points to and check it.

    Raises:
        NotFoundError: no such alias.
        BundleError: the bundle is corrupt, has other labels, or does not score its probes as stated.
        ConfigurationError: the policy cannot be read or does not fit the bundle.
    """
    registry = LocalRegistry(settings.resolved_registry_dir())
    bundle = read_bundle(registry.fetch(registry.resolve(settings.alias)), LABELS)
    policy = read_policy(settings.policy_path, bundle.manifest.thresholds)
    scorer = Scorer.load(bundle, settings.threads)
    served = ServedVersion(
        version=bundle.version,
        name=bundle.manifest.name,
        alias=settings.alias,
        labels=list(scorer.labels),
        thresholds={
            label: {"review": limits.review, "remove": limits.remove} for label, limits in policy.thresholds.items()
        },
        max_tokens=bundle.manifest.max_tokens,
        normalizer_version=bundle.manifest.normalizer_version,
        backend=scorer.backend,
    )
    reference, provenance = (
        part.model_dump(mode="json") for part in (bundle.manifest.reference, bundle.manifest.provenance)
    )
    return Model(served, policy, reference, provenance, scorer.score)
