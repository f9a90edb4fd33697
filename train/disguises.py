"""Copies of training rows in which words are written as people write them to get past a filter.

The gate (`train.gate.obfuscation`) and the model's figures disguise texts in their own ways; these are drawn more
widely, letter by letter, so that a model learns the habit and not one table. Some copies instead get harmless texts
before or behind them: of the rows, or of our own, whose subjects and tone are not those of the rows.
"""

import hashlib
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence, Set
from pathlib import Path

import numpy as np
import pandas as pd

from moderation.labels import LABELS
from train.config import DisguiseConfig

_LEET = {
    "a": "4@", "b": "86", "e": "3", "g": "96", "i": "1!|", "l": "1|", "o": "0", "s": "5$z", "t": "7+", "u": "v",
    "z": "2",
}  # fmt: skip
_ALIKE = {
    "a": "аɑαàá", "b": "ЬƄ", "c": "сϲç", "d": "ԁď", "e": "еéèё", "g": "ɡ", "h": "һ", "i": "іíïı", "j": "ј", "k": "κк",
    "l": "ӏ", "n": "ոñ", "o": "оοöø", "p": "рρ", "s": "ѕş", "t": "тτ", "u": "υüù", "v": "ν", "w": "ԝ", "x": "хχ",
    "y": "уγý",
}  # fmt: skip
_MASKS = "*#-_.@%"
_SEPARATORS = " .-_*~|/"
_EMOJI = "😂🔥💩🤡🙄👎😡🖕💀😈🤮👏"


def _leet(word: str, chance: random.Random) -> str:
    return _swapped(word, _LEET, chance)


def _alike(word: str, chance: random.Random) -> str:
    return _swapped(word, _ALIKE, chance)


def _swapped(word: str, table: dict[str, str], chance: random.Random) -> str:
    share = chance.uniform(0.3, 1.0)
    letters = (
        chance.choice(table[letter.lower()]) if letter.lower() in table and chance.random() < share else letter
        for letter in word
    )
    return "".join(letters)


def _spaced(word: str, chance: random.Random) -> str:
    return chance.choice(_SEPARATORS).join(word)


def _split(word: str, chance: random.Random) -> str:
    place = chance.randrange(1, len(word))
    return word[:place] + chance.choice(_SEPARATORS) + word[place:]


def _repeated(word: str, chance: random.Random) -> str:
    place = chance.randrange(len(word))
    return word[:place] + word[place] * chance.randrange(2, 6) + word[place + 1 :]


def _stretched(word: str, chance: random.Random) -> str:
    return "".join(letter * chance.choice((1, 1, 2, 3)) for letter in word)


def _dropped(word: str, chance: random.Random) -> str:
    place = chance.randrange(1, len(word) - 1)
    return word[:place] + word[place + 1 :]


def _exchanged(word: str, chance: random.Random) -> str:
    if len(word) < 4:
        return word
    place = chance.randrange(1, len(word) - 2)
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def _masked(word: str, chance: random.Random) -> str:
    count = chance.randrange(1, max(2, len(word) - 1))
    mask = chance.choice(_MASKS)
    places = set(chance.sample(range(1, len(word)), min(count, len(word) - 1)))
    return "".join(mask if place in places else letter for place, letter in enumerate(word))


def _decorated(word: str, chance: random.Random) -> str:
    return chance.choice((f"{word}{chance.choice(_EMOJI)}", f"{chance.choice(_EMOJI)}{word}", f"{word}!!1"))


def _studded(word: str, chance: random.Random) -> str:
    place = chance.randrange(1, len(word))
    return word[:place] + chance.choice(_EMOJI) + word[place:]


DISGUISES: tuple[Callable[[str, random.Random], str], ...] = (
    _leet, _alike, _spaced, _split, _repeated, _stretched, _dropped, _exchanged, _masked, _decorated, _studded,
)  # fmt: skip
SHORTEST = 4
"""Letters that a word must have to be disguised by chance."""
LONGEST = 60
"""Words of a text that is copied: a disguise is as well learnt from short ones, at less cost."""
TELLING = 0.75
"""Share of texts with a telling word of which those alone are disguised, as people do."""
DILUTED = 0.4
"""Share of copies that get harmless texts beside them instead, as people hide abuse in small talk."""
SMALL_TALK = Path(__file__).with_name("small_talk.txt")
SMALL_TALK_WORDS = range(5, 40)
"""Words of a row's text that is put beside another."""
MOST_SENTENCES = 3
"""Lines of our own small talk beside one text."""
_WORD = re.compile(r"[^\W\d_]{3,}")


def disguised(rows: pd.DataFrame, config: DisguiseConfig) -> pd.DataFrame:
    """Return disguised copies, as many as a share of ``rows``, of those that are short and whose text hashes lowest.

    Half of them have a label, as far as there are such; those without teach that a disguise alone is no abuse.
    """
    short = rows[rows["comment_text"].str.count(" ") < LONGEST]
    order = short["comment_text"].map(_digest).sort_values().index
    has_label = (short[list(LABELS)] >= 0.5).any(axis=1)[order]
    count = round(config.share * len(rows))
    with_label = order[has_label][: count // 2]
    chosen = rows.loc[with_label.append(order[~has_label][: count - len(with_label)])]
    telling, harmless, sentences = telling_words(short), harmless_texts(short), small_talk()
    copies = chosen.assign(weight=np.minimum(chosen["weight"], 1.0) * config.weight)
    copies["comment_text"] = [_copy(text, telling, harmless, sentences) for text in chosen["comment_text"]]
    return copies


def telling_words(rows: pd.DataFrame) -> frozenset[str]:
    """Return the words that stand at least eight times as often in rows with a label as in those without.

    A word of three letters or more counts once per row, and three times at least; odds are of counts plus one half
    (Haldane 1956).
    """
    has_label = (rows[list(LABELS)] >= 0.5).any(axis=1)
    counts = {
        known: Counter(word for text in rows.loc[has_label == known, "comment_text"] for word in set(_words(text)))
        for known in (True, False)
    }
    odds = (has_label.sum() + 1) / ((~has_label).sum() + 1)
    return frozenset(
        word
        for word, count in counts[True].items()
        if count >= 3 and (count + 0.5) / (counts[False][word] + 0.5) >= 8 * odds
    )


def harmless_texts(rows: pd.DataFrame) -> list[str]:
    """Return short texts that nobody gave a label, in an order by hash; a tenth of them is enough of a choice."""
    labels = rows[list(LABELS)]
    words = rows["comment_text"].str.count(r"\s+") + 1
    harmless = rows[(labels < 0.1).all(axis=1) & words.isin(SMALL_TALK_WORDS)]
    texts = sorted(harmless["comment_text"], key=_digest)
    return texts[: max(100, len(texts) // 10)]


def small_talk() -> list[str]:
    """Return our own harmless texts, of one or two sentences each, on many subjects."""
    lines = SMALL_TALK.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def _copy(text: str, telling: frozenset[str], harmless: Sequence[str], sentences: Sequence[str]) -> str:
    chance = random.Random(_digest(f"copy\x1f{text}"))  # noqa: S311 - not for secrets
    if chance.random() >= DILUTED:
        return disguise(text, telling)
    if harmless and chance.random() < 0.5:
        beside = chance.choice(harmless)
    else:
        beside = " ".join(chance.sample(sentences, chance.randint(1, MOST_SENTENCES)))
    pair = [text, beside]
    return " ".join(pair if chance.random() < 0.5 else pair[::-1])


def disguise(text: str, telling: Set[str] = frozenset()) -> str:
    """Return ``text`` with some of its words disguised in one or two ways; the text decides which.

    Of a text with ``telling`` words mostly those, else any.
    """
    chance = random.Random(_digest(text))  # noqa: S311 - not for secrets
    words = text.split(" ")
    places = [place for place, word in enumerate(words) if sum(map(str.isalpha, word)) >= SHORTEST]
    kinds = chance.sample(DISGUISES, chance.choice((1, 1, 2)))
    share = chance.uniform(0.1, 1.0)
    telling_places = [place for place, word in enumerate(words) if not telling.isdisjoint(_words(word))]
    if telling_places and chance.random() < TELLING:
        places, share = telling_places, max(share, 0.5)
    for place in chance.sample(places, min(len(places), max(1, round(share * len(places))))):
        words[place] = chance.choice(kinds)(words[place], chance)
    return " ".join(words)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
