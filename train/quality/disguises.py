"""What is left of recall when the abusive words of a text are disguised, and what harmless texts then get.

Which words are disguised must not follow from the model's own explanation, which would favour the model: they are
those of a fixed list of ours (``abusive_words.txt``). Texts with the label that hold none of them are left out, which
the report counts. A harmless text holds hardly any, so a quarter of its words is disguised, chosen by its hash.
Beside that, every word. Six disguises are the gate's; letters left out and emoji are added, and a distractor, which
leaves the words alone.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from train.gate.obfuscation import DISGUISES
from train.metrics.ranking import BoolArray, FloatArray
from train.metrics.resampling import Interval, bootstrap
from train.quality.figure import Figure, Part, Table
from train.quality.samples import digest, lowest_hashes

WORDS = Path(__file__).with_name("abusive_words.txt")
LABEL = "toxic"
TEXTS = 300
QUARTER = 0.25
FALL, RISE = 0.10, 0.01
EMOJI = ("😀", "🔥", "🙃", "💀", "👀", "✨")
# Nothing in them is for or against anybody. Of ours.
DISTRACTORS = (
    "The ferry leaves at nine and takes an hour. Bring a warm coat, since the deck is windy even in May.",
    "Mix the flour with the eggs, add a little milk, and leave the dough in a cool place until the evening.",
    "Our library is open on weekdays from ten to six; members may take out eight books at a time.",
    "The river rises in the hills north of the town and reaches the sea after ninety miles.",
    "Thanks to everybody who helped with the garden last weekend, the tomatoes already look better.",
    "The second edition corrects a few dates and adds an index of places at the end.",
)
Change = Callable[[str, random.Random], str]


def _drop(word: str, chance: random.Random) -> str:
    if len(word) < 3:
        return word
    place = chance.randrange(1, len(word) - 1)
    return word[:place] + word[place + 1 :]


def _emoji(word: str, chance: random.Random) -> str:
    place = chance.randrange(1, len(word)) if len(word) > 1 else 1
    return word[:place] + chance.choice(EMOJI) + word[place:]


KINDS: dict[str, Change] = {
    "leetspeak": DISGUISES["leetspeak"],
    "homoglyphs": DISGUISES["homoglyphs"],
    "zero width": DISGUISES["zero width"],
    "spacing": DISGUISES["spacing"],
    "repeated letters": DISGUISES["repeated letters"],
    "dropped letters": _drop,
    "starred vowels": DISGUISES["starred vowels"],
    "emoji": _emoji,
}
DISTRACTOR = "distractor"
EXTENTS = ("abusive words", "every word")
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Changed:
    """The texts (N,) under one disguise, in the order of those that were given; ``extent`` says which words it met."""

    kind: str
    extent: str
    texts: list[str]


def disguises(
    score: Callable[[Sequence[str]], npt.NDArray[np.float32]],
    texts: Sequence[str],
    truth: FloatArray,
    threshold: float,
    resamples: int,
) -> Part:
    """Return recall and false-positive rate as written and disguised; ``truth`` (N,) is 0, 1 or NaN.

    ``score`` gives (N, K) for N texts. Differences are paired: the same texts are drawn for both.

    Raises:
        InvalidInputError: no text to disguise.
    """
    listed, share = _listed(texts, truth)
    clean = _lowest([text for text, has in zip(texts, truth, strict=True) if has == 0])
    chosen = listed + clean
    if not listed or not clean:
        raise InvalidInputError(
            f"{len(listed)} texts of the test split have {LABEL} and a listed word, {len(clean)} lack it; expected "
            "some of both, or --without obfuscation"
        )
    present = np.array([True] * len(listed) + [False] * len(clean))
    changed = [Changed("as written", "", chosen), *changed_texts(chosen)]
    scores = score([text for each in changed for text in each.texts])[:, LABELS.index(LABEL)]
    flags = (scores >= threshold).reshape(len(changed), len(chosen))
    found = _changes(flags, present, resamples)
    names = [(each.kind, each.extent) for each in changed[1:]]
    return Part(
        name="obfuscation",
        title="Disguised words",
        how=(
            f"`{LABEL}` at its threshold on {len(listed)} texts of the test split that have the label and a word of "
            f"our list of abusive words ({share:.0%} of those with the label hold one), and {len(clean)} that lack "
            "the label, each chosen by hash. Disguised are the listed words; in texts without one a quarter of the "
            "words, chosen by hash. Points lost or gained against the same texts as written, paired."
        ),
        figures=_figures(found, names),
        tables=[Table.of("Every disguise", "disguise", _table(found, names))],
    )


def _listed(texts: Sequence[str], truth: FloatArray) -> tuple[list[str], float]:
    """Return texts with the label that hold a listed word, and their share of those with the label."""
    with_label = [text for text, has in zip(texts, truth, strict=True) if has == 1]
    holding = [text for text in with_label if any(map(_is_abusive, _WORD.findall(text)))]
    return _lowest(holding), len(holding) / max(1, len(with_label))


def _lowest(texts: Sequence[str]) -> list[str]:
    return [texts[n] for n in lowest_hashes(texts, TEXTS)]


def changed_texts(texts: Sequence[str]) -> list[Changed]:
    """Return the texts under every disguise, to both extents; the distractor has none."""
    found = [
        Changed(kind, extent, [disguised(text, kind, extent) for text in texts]) for extent in EXTENTS for kind in KINDS
    ]
    return [*found, Changed(DISTRACTOR, "appended", [distracted(text) for text in texts])]


def disguised(text: str, kind: str, extent: str) -> str:
    """Return ``text`` with its abusive words disguised (without any: a quarter of its words), or every word."""
    words = [word for word in _WORD.finditer(text) if any(map(str.isalpha, word[0]))]
    chance = random.Random(digest(text))  # noqa: S311 - not for secrets
    if extent == EXTENTS[0]:
        listed = [word for word in words if _is_abusive(word[0])]
        quarter = sorted(words, key=lambda _: chance.random())[: max(1, round(QUARTER * len(words)))]
        words = listed or quarter
    places = {word.start() for word in words}
    change = KINDS[kind]
    return _WORD.sub(lambda word: change(word[0], chance) if word.start() in places else word[0], text)


def distracted(text: str) -> str:
    """Return ``text`` with harmless sentences behind it, chosen by its hash."""
    return f"{text} {DISTRACTORS[int(digest(text), 16) % len(DISTRACTORS)]}"


@cache
def _abusive() -> re.Pattern[str]:
    lines = WORDS.read_text(encoding="utf-8").split("\n")
    words = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return re.compile("|".join(re.escape(word).replace(r"\*", r"\w*") for word in words))


def _is_abusive(word: str) -> bool:
    return _abusive().fullmatch(re.sub(r"^\W+|\W+$", "", word.casefold())) is not None


def _changes(flags: BoolArray, present: BoolArray, resamples: int) -> list[Interval]:
    """Return recall and false-positive rate as written, then recall lost and false positives gained per disguise."""

    def statistic(drawn: FloatArray) -> FloatArray:
        positive, negative = drawn * present, drawn * ~present
        recall = flags @ positive / max(positive.sum(), 1e-12)
        alarms = flags @ negative / max(negative.sum(), 1e-12)
        return np.concatenate([[recall[0], alarms[0]], recall[0] - recall[1:], alarms[1:] - alarms[0]])

    return bootstrap(statistic, np.ones(len(present)), resamples)


def _figures(found: Sequence[Interval], names: Sequence[tuple[str, str]]) -> list[Figure]:
    lost, gained = found[2 : 2 + len(names)], found[2 + len(names) :]
    judged = [n for n, (_, extent) in enumerate(names) if extent != EXTENTS[1]]
    worst = max(judged, key=lambda n: gained[n].value)
    every = [n for n in range(len(names)) if n not in judged]
    named = {names[n][0]: lost[n] for n in judged}
    return [
        Figure.of("recall", "recall as written", found[0]),
        *(
            Figure.of(f"recall_lost_{kind.replace(' ', '_')}", f"recall lost: {kind}", fall, at_most=FALL)
            for kind, fall in named.items()
        ),
        Figure.of(
            "recall_lost_every_word",
            f"recall lost with every word disguised, the worst ({names[max(every, key=lambda n: lost[n].value)][0]})",
            max((lost[n] for n in every), key=lambda each: each.value),
        ),
        Figure.of("false_positives", "false positives as written", found[1]),
        Figure.of(
            "false_positives_gained",
            f"false positives gained, the worst ({names[worst][0]})",
            gained[worst],
            at_most=RISE,
        ),
    ]


def _table(found: Sequence[Interval], names: Sequence[tuple[str, str]]) -> dict[str, dict[str, Interval]]:
    lost, gained = found[2 : 2 + len(names)], found[2 + len(names) :]
    return {
        f"{kind}, {extent}": {"recall lost": lost[n], "false positives gained": gained[n]}
        for n, (kind, extent) in enumerate(names)
    }
