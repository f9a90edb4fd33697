"""Perspective's attributes by our labels: names, aliases and versions, and what becomes of those that are no label.

``NAME@6`` and the like named versions of Perspective's own models: what is in production answers for them, under the
name that was asked. ``NAME@`` and 8 to 64 hexadecimal digits name a version of our registry.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from moderation.perspective_scale import ATTRIBUTES
from serve.compat.perspective.errors import unknown_attribute
from serve.compat.perspective.requests import AttributeConfig
from serve.errors import PerspectiveError

_LABELS = {attribute: label for label, attribute in ATTRIBUTES.items()}
LABEL_OF = _LABELS | {
    "TOXICITY_EXPERIMENTAL": "toxic",
    "TOXICITY_FAST": "toxic",
    "SEVERE_TOXICITY_EXPERIMENTAL": "severe_toxic",
    "PROFANITY_EXPERIMENTAL": "obscene",
    "OBSCENE": "obscene",
    "THREAT_EXPERIMENTAL": "threat",
    "INSULT_EXPERIMENTAL": "insult",
    "IDENTITY_ATTACK_EXPERIMENTAL": "identity_hate",
}
"""The label that answers for each name."""

_BRIDGING = (
    *("AFFINITY", "COMPASSION", "CURIOSITY", "NUANCE", "PERSONAL_STORY", "REASONING", "RESPECT"),
    *("ALIENATION", "FEARMONGERING", "GENERALIZATION", "MORAL_OUTRAGE", "POWER_APPEAL", "SCAPEGOATING"),
)
UNSCORABLE = frozenset(
    {
        *("SEXUALLY_EXPLICIT", "FLIRTATION", "SPAM", "ATTACK_ON_AUTHOR", "ATTACK_ON_COMMENTER", "INCOHERENT"),
        *("INFLAMMATORY", "LIKELY_TO_REJECT", "UNSUBSTANTIAL"),
        *(f"{name}_EXPERIMENTAL" for name in _BRIDGING),
    }
)
"""What Perspective had and no label of ours is."""

PROBABILITY = "PROBABILITY"
_SCORE_TYPES = (PROBABILITY, "SCORE_TYPE_UNSPECIFIED")
_NAME = re.compile(r"(?P<name>[A-Z_]+)(@(?P<version>[0-9]{1,7}|[0-9a-f]{8,64}))?")


@dataclass(frozen=True)
class Attribute:
    """A name as it was asked for, the label that answers, and the version of ours that it pins (None: production)."""

    name: str
    label: str
    pinned: str | None = None
    threshold: float | None = None


def scorable(requested: Mapping[str, AttributeConfig | None]) -> tuple[list[Attribute], list[str]]:
    """Return the attributes that a label answers, in order, and the names that none does.

    Raises:
        PerspectiveError: a name that Perspective never had, or another type of score than probabilities.
    """
    found, unscorable = [], []
    for asked, config in requested.items():
        match = _NAME.fullmatch(asked)
        name = match["name"] if match else ""
        if match is None or (name not in LABEL_OF and name not in UNSCORABLE):
            raise unknown_attribute(asked)
        stated = config or AttributeConfig()
        if stated.score_type is not None and stated.score_type not in _SCORE_TYPES:
            raise PerspectiveError(
                f"Requested score type {stated.score_type[:64]} is not supported by attribute {asked}"
            )
        if name in UNSCORABLE:
            unscorable.append(asked)
        else:
            version = match["version"] or ""
            pinned = version if len(version) >= 8 else None
            found.append(Attribute(asked, LABEL_OF[name], pinned, stated.score_threshold))
    return found, unscorable


def untrained(languages: Iterable[str], trained: Iterable[str]) -> list[str]:
    """Return those of ``languages`` (BCP 47 tags) whose primary language is none of ``trained``, in order."""
    known = set(trained)
    return [tag for tag in languages if re.split("[-_]", tag.lower())[0] not in known]
