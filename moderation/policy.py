"""From scores and thresholds to a decision, with what caused it.

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
TRUNCATED = "truncated"
"""The reason that is no label: the text was not read to its end, so nobody knows what its rest says."""


@dataclass(frozen=True)
class LabelThresholds:
    """The scores, in [0, 1], from which one label asks for review and for removal; None: never."""

    review: float | None
    remove: float | None


@dataclass(frozen=True)
class Verdict:
    """A decision and its reasons: labels that reached it, highest score first, then `TRUNCATED`; empty for allow."""

    decision: Decision
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    """Thresholds per label, resolved against one bundle, and whether a text not read to its end is reviewed."""

    thresholds: Mapping[str, LabelThresholds]
    reviews_truncated: bool = True

    @classmethod
    def from_mapping(cls, rules: object, bundle_thresholds: Mapping[str, float]) -> "Policy":
        """Resolve ``rules`` (``{labels: {label: {review: R, remove: R}}, truncated: D}``) for one bundle.

        R is a score in [0, 1], ``bundle`` (the bundle's own threshold of that label) or ``never``; D is ``review``,
        also where it is not said, or ``allow``.

        Raises:
            ConfigurationError: unknown or missing label or key, a value out of range, or
                a removal threshold below the review threshold.
        """
        if not isinstance(rules, Mapping) or not {"labels"} <= set(rules) <= {"labels", TRUNCATED}:
            raise ConfigurationError("policy: expected the key 'labels' and, if it is to be said, 'truncated'")
        labels, truncated = rules["labels"], rules.get(TRUNCATED, "review")
        if not isinstance(labels, Mapping):
            raise ConfigurationError("policy: expected a mapping under 'labels'")
        if truncated not in ("review", "allow"):
            raise ConfigurationError(f"policy: truncated is {truncated!r}; expected 'review' or 'allow'")
        if set(labels) != set(bundle_thresholds):
            raise ConfigurationError(
                f"policy: has labels {sorted(map(str, labels))}, the bundle has {sorted(bundle_thresholds)}"
            )
        thresholds = {label: _read(label, labels[label], own) for label, own in bundle_thresholds.items()}
        return cls(thresholds, truncated == "review")

    def decide(self, scores: Mapping[str, float], truncated: bool) -> Verdict:
        """Return the strictest decision that any label's score (in [0, 1]) reaches.

        A text that was not read to its end (``truncated``) is not simply allowed: what was left out may be the worst.
        """
        by_score = sorted(self.thresholds, key=lambda label: -scores[label])
        if removed := tuple(label for label in by_score if _reaches(scores[label], self.thresholds[label].remove)):
            return Verdict("remove", removed)
        reasons = [label for label in by_score if _reaches(scores[label], self.thresholds[label].review)]
        if truncated and self.reviews_truncated:
            reasons.append(TRUNCATED)
        return Verdict("review" if reasons else "allow", tuple(reasons))


def _reaches(score: float, threshold: float | None) -> bool:
    return threshold is not None and score >= threshold


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
