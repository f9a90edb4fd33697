"""How much recall is left when people disguise words: disguises of ours, each at several strengths.

The share of a text's words that are disguised is the strength; which words they are follows from the text alone, so
that every bundle reads the same. Zero-width characters and full-width letters are undone by the text normaliser, and
stand here to prove it.
"""

import hashlib
import random
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from moderation.labels import LABELS
from train.gate.checks import Check, at_least
from train.gate.frozen import FrozenData
from train.gate.rules import ObfuscationRules

_LEET = str.maketrans("aeiostAEIOST", "431057431057")
_CYRILLIC = str.maketrans("aceopxyACEHKMOPTX", "асеорхуАСЕНКМОРТХ")
_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
_VOWELS = "aeiouAEIOU"


def _repeat(word: str, chance: random.Random) -> str:
    place = chance.randrange(len(word))
    return word[:place] + word[place] * 4 + word[place + 1 :]


def _swap(word: str, chance: random.Random) -> str:
    if len(word) < 4:
        return word
    place = chance.randrange(1, len(word) - 2)
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def _star(word: str, chance: random.Random) -> str:
    places = [n for n, letter in enumerate(word) if letter in _VOWELS]
    if not places:
        return word
    place = chance.choice(places)
    return word[:place] + "*" + word[place + 1 :]


DISGUISES: dict[str, Callable[[str, random.Random], str]] = {
    "leetspeak": lambda word, _: word.translate(_LEET),
    "homoglyphs": lambda word, _: word.translate(_CYRILLIC),
    "full width": lambda word, _: word.translate(_FULL_WIDTH),
    "zero width": lambda word, _: "\u200b".join(word),
    "spacing": lambda word, _: " ".join(word),
    "dots": lambda word, _: ".".join(word),
    "repeated letters": _repeat,
    "swapped letters": _swap,
    "starred vowels": _star,
}


class Disguised(NamedTuple):
    """A text under one disguise at one strength; ``row`` is its place among the chosen texts."""

    disguise: str
    strength: float
    row: int
    text: str


class CurvePoint(BaseModel):
    """Recall, in [0, 1], on the texts under one disguise at one strength (0: as written)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    disguise: str
    strength: float
    recall: float
    rival_recall: float | None


def choose(data: FrozenData, rules: ObfuscationRules) -> list[int]:
    """Return rows that have the label, those whose text hashes lowest, so that no chance is in it."""
    positive = np.flatnonzero(data.truth[:, LABELS.index(rules.label)] == 1)
    return sorted(positive.tolist(), key=lambda row: _digest(data.texts[row]))[: rules.texts]


def disguise_all(texts: list[str], strengths: list[float]) -> list[Disguised]:
    """Return every text under every disguise at every strength."""
    return [
        Disguised(name, strength, row, disguise(text, name, strength))
        for name in DISGUISES
        for strength in strengths
        for row, text in enumerate(texts)
    ]


def disguise(text: str, name: str, strength: float) -> str:
    """Return ``text`` with the share ``strength`` of its words disguised, one at least."""
    words = text.split(" ")
    readable = [n for n, word in enumerate(words) if any(letter.isalpha() for letter in word)]
    chance = random.Random(_digest(text))  # noqa: S311 - not for secrets
    order = sorted(readable, key=lambda _: chance.random())
    for place in order[: max(1, round(strength * len(readable)))]:
        words[place] = DISGUISES[name](words[place], chance)
    return " ".join(words)


def curve(
    disguised: list[Disguised],
    clean: npt.NDArray[np.bool_],
    flags: npt.NDArray[np.bool_],
    rival: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]] | None,
) -> list[CurvePoint]:
    """Return the curve; ``clean`` and ``flags`` say which texts, as written and disguised, the label was found in."""
    groups: dict[tuple[str, float], list[int]] = {}
    for place, each in enumerate(disguised):
        groups.setdefault((each.disguise, each.strength), []).append(place)

    def point(name: str, strength: float, found: float, other: float | None) -> CurvePoint:
        return CurvePoint(disguise=name, strength=strength, recall=found, rival_recall=other)

    start = point("as written", 0.0, float(clean.mean()), float(rival[0].mean()) if rival else None)
    return [start] + [
        point(*key, float(flags[places].mean()), float(rival[1][places].mean()) if rival else None)
        for key, places in groups.items()
    ]


def obfuscation_checks(points: list[CurvePoint], rules: ObfuscationRules) -> list[Check]:
    """Return one check: mean recall over disguises and strengths, as a share of the recall as written."""
    clean, *disguised = points
    retained = np.mean([each.recall for each in disguised]) / max(clean.recall, 1e-12)
    rival = None
    if clean.rival_recall is not None:
        rivals = [each.rival_recall for each in disguised if each.rival_recall is not None]
        rival = min(1.0, float(np.mean(rivals) / max(clean.rival_recall, 1e-12)))
    name = f"recall of {rules.label} that is left under disguises"
    return [at_least("obfuscation", name, min(1.0, float(retained)), rival, rules.retained, rules.margin)]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
