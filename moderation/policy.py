"""From scores and thresholds to a decision, with the labels that caused it.

Pure: knows nothing of files or models. `Policy.from_mapping` reads what ``configs/policy.yaml`` holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from moderation.errors import ConfigurationError

Decision = Literal["allow", "review", "remove"]
DECISIONS: tuple[Decision, ...] = get_args(Decision)

FROM_BUNDLE = "bundle"
NEVER = "never"


@dataclass(frozen=True)
class LabelThresholds:
    """The scores, in [0, 1], from which one label asks for review and for removal; None: never."""

    review: float | None
    remove: float | None


@dataclass(frozen=True)
class Verdict:
    """A decision and its reasons: the labels that reached it, highest score first; empty for allow."""

    decision: Decision
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    """Thresholds per label, resolved against one bundle."""

    thresholds: Mapping[str, LabelThresholds]

    @classmethod
    def from_mapping(cls, rules: object, bundle_thresholds: Mapping[str, float]) -> "Policy":
        """Resolve ``rules`` (``{labels: {label: {review: R, remove: R}}}``) for one bundle.

        R is a score in [0, 1], ``bundle`` (the bundle's own threshold of that label) or ``never``.

        Raises:
            ConfigurationError: unknown or missing label or key, a value out of range, or
                a removal threshold below the review threshold.
        """
        if not isinstance(rules, Mapping) or set(rules) != {"labels"} or not isinstance(rules["labels"], Mapping):
            raise ConfigurationError("policy: expected one key, 'labels', with a mapping under it")
        labels = rules["labels"]
        if set(labels) != set(bundle_thresholds):
            raise ConfigurationError(
                f"policy: has labels {sorted(map(str, labels))}, the bundle has {sorted(bundle_thresholds)}"
            )
        return cls({label: _read(label, labels[label], own) for label, own in bundle_thresholds.items()})

    def decide(self, scores: Mapping[str, float]) -> Verdict:
        """Return the strictest decision that any label's score (in [0, 1]) reaches."""
        by_score = sorted(self.thresholds, key=lambda label: -scores[label])
        for decision in ("remove", "review"):
            reached = tuple(
                label
                for label in by_score
                if (threshold := getattr(self.thresholds[label], decision)) is not None and scores[label] >= threshold
            )
            if reached:
                return Verdict(decision, reached)
        return Verdict("allow", ())


def _read(label: str, rule: object, own: float) -> LabelThresholds:
    if not isinstance(rule, Mapping) or set(rule) != {"review", "remove"}:
        raise ConfigurationError(f"policy: label {label!r} needs exactly the keys 'review' and 'remove'")
    review, remove = (_resolve(label, key, rule[key], own) for key in ("review", "remove"))
    if review is not None and remove is not None and remove < review:
        # With a threshold taken from the bundle the order can flip for a new bundle: the larger one holds.
        if FROM_BUNDLE not in rule.values():
            raise ConfigurationError(f"policy: label {label!r} has remove {remove} below review {review}")
        remove = review
    return LabelThresholds(review, remove)


def _resolve(label: str, key: str, value: object, own: float) -> float | None:
    if value == FROM_BUNDLE:
        return own
    if value == NEVER:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise ConfigurationError(
        f"policy: label {label!r} has {key} {value!r}; expected a score in [0, 1], 'bundle' or 'never'"
    )
