"""How well a label is still told apart when people disguise words: disguises of ours, each at several strengths.

Recall alone would mislead: a model that takes every disguise for abuse finds all of it. So texts without the label are
disguised as well, and what counts is recall minus false-positive rate (informedness; Youden, Cancer 3, 1950).

The share of a text's words that are disguised is the strength; which words they are follows from the text alone, so
that every bundle reads the same. Zero-width characters and full-width letters are undone by the text normaliser, and
stand here to prove it.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from moderation.labels import LABELS
from train.gate.checks import Check, at_least, nothing_to_judge
from train.gate.frozen import FrozenData
from train.gate.rules import ObfuscationRules

FlagArray = npt.NDArray[np.bool_]
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


class Rates(BaseModel):
    """Recall and false-positive rate, in [0, 1], at a bundle's threshold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recall: float
    false_alarms: float

    @property
    def informedness(self) -> float:
        """Recall minus false-positive rate, in [-1, 1]; 0 is chance."""
        return self.recall - self.false_alarms


class CurvePoint(BaseModel):
    """What the candidate and its rival tell apart under one disguise at one strength (0: as written)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    disguise: str
    strength: float
    candidate: Rates
    rival: Rates | None


@dataclass(frozen=True)
class Flags:
    """In which texts a bundle finds the label, as written (M,) and disguised (D,)."""

    clean: FlagArray
    disguised: FlagArray


def choose(data: FrozenData, rules: ObfuscationRules) -> tuple[list[int], FlagArray]:
    """Return rows with the label and as many without, and which have it; those whose text hashes lowest: no chance."""
    truth = data.truth[:, LABELS.index(rules.label)]
    with_label, without = (
        sorted(np.flatnonzero(truth == value).tolist(), key=lambda row: _digest(data.texts[row]))[: rules.texts]
        for value in (1, 0)
    )
    return with_label + without, np.array([True] * len(with_label) + [False] * len(without))


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


def curve(disguised: list[Disguised], present: FlagArray, candidate: Flags, rival: Flags | None) -> list[CurvePoint]:
    """Return the curve, its first point as written; ``present`` (M,) says which texts have the label.

    Without texts there is no point.
    """
    if not len(present):
        return []
    groups: dict[tuple[str, float], list[int]] = {}
    for place, each in enumerate(disguised):
        groups.setdefault((each.disguise, each.strength), []).append(place)

    def rates(flags: FlagArray) -> Rates:
        return Rates(recall=float(flags[present].mean()), false_alarms=float(flags[~present].mean()))

    def point(name: str, strength: float, own: FlagArray, other: FlagArray | None) -> CurvePoint:
        return CurvePoint(
            disguise=name, strength=strength, candidate=rates(own), rival=None if other is None else rates(other)
        )

    start = point("as written", 0.0, candidate.clean, rival.clean if rival else None)
    return [start] + [  # within a group the texts stand in the order of `present`
        point(*key, candidate.disguised[places], rival.disguised[places] if rival else None)
        for key, places in groups.items()
    ]


def obfuscation_checks(points: list[CurvePoint], rules: ObfuscationRules) -> list[Check]:
    """Return one check: mean informedness over disguises and strengths, as a share of that as written."""
    if not points:
        return [nothing_to_judge("obfuscation", "disguises", f"obfuscation: the data do not know {rules.label}")]
    value = _retained([point.candidate for point in points])
    rivals = [point.rival for point in points if point.rival is not None]
    name = f"what tells {rules.label} apart that is left under disguises"
    return [at_least("obfuscation", name, value, _retained(rivals) if rivals else None, rules.retained, rules.margin)]


def _retained(rates: list[Rates]) -> float:
    clean, *disguised = (each.informedness for each in rates)
    return min(1.0, float(np.mean(disguised)) / clean) if clean > 0 else 0.0


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
