"""Words that an encoder's vocabulary lacks: emoji, and abusive words as people disguise them.

To a WordPiece vocabulary most emoji are one unknown token, with the word they stand beside, and ``fck`` is ``fc``,
``##k``. Each gets a row of the word embeddings that begins as what it stands for, an emoji as its name in Unicode and a
disguise as the word. A row of int8 costs a bundle little more bytes than it has dimensions, and a comment no time.
"""

import json
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer
from tokenizers.pre_tokenizers import Sequence, Split
from torch import nn

from train.undisguise import EMOJI, EMOJI_RANGES, MASK

WORDS = Path(__file__).with_name("disguised_words.txt")
SHORTEST = 3
"""Letters of a disguise: two begin too many words."""
LONGEST_HIDDEN = 6
"""Letters of a word of which the first alone is told: f***."""
_VOWELS = frozenset("aeiou")


def extend(tokenizer: Tokenizer, rows: int) -> Tokenizer:
    """Return ``tokenizer`` with emoji and disguised words behind its own tokens; one that is no WordPiece as it is.

    ``rows`` is how many word embeddings its encoder has; the new tokens get the next.
    """
    said = json.loads(tokenizer.to_str())
    if said["model"]["type"] != "WordPiece":
        return tokenizer
    vocabulary: dict[str, int] = said["model"]["vocab"]
    first = max(rows, 1 + max(tokenizer.get_vocab(with_added_tokens=True).values()))
    vocabulary.update((token, first + number) for number, token in enumerate(additions(vocabulary)))
    extended = Tokenizer.from_str(json.dumps(said))
    extended.pre_tokenizer = Sequence([Split(Regex(EMOJI), "isolated"), extended.pre_tokenizer])
    return extended


def additions(vocabulary: Mapping[str, int]) -> dict[str, str]:
    """Return the tokens to add to a WordPiece ``vocabulary``, in order, and what each stands for.

    WordPiece takes the longest token that a word begins with, so none is added with which a word of the vocabulary
    begins: ``niger``, ``cut``.
    """
    words = _words()
    begun = {word[:end] for word in (*vocabulary, *words) for end in range(1, len(word) + 1)}
    found: dict[str, str] = {}
    for word in words:
        for disguise in _disguises(word):
            if len(disguise) >= SHORTEST and disguise not in begun:
                found.setdefault(disguise, word)
    for first, last in EMOJI_RANGES:
        for emoji in map(chr, range(first, last + 1)):
            name = unicodedata.name(emoji, "").lower()
            if name and unicodedata.category(emoji) == "So" and emoji not in vocabulary:
                found[emoji] = name
    return found


def give_meaning(embeddings: nn.Embedding, tokenizer: Tokenizer, first: int) -> None:
    """Set the rows of ``embeddings`` (V, H) from ``first`` on, in place: each to the mean of what its token stands for.

    The mean has the mean length of its parts, as the mean of many directions is short.
    """
    tokens = {token: row for token, row in tokenizer.get_vocab(with_added_tokens=True).items() if row >= first}
    meanings = additions({token: 0 for token in tokenizer.get_vocab() if token not in tokens})
    with torch.no_grad():
        for token, row in tokens.items():
            read = tokenizer.encode(meanings[token], add_special_tokens=False)
            parts = embeddings.weight[[part for part, real in zip(read.ids, read.attention_mask, strict=True) if real]]
            mean = parts.mean(0)
            embeddings.weight[row] = mean * parts.norm(dim=1).mean() / mean.norm()


def _disguises(word: str) -> Iterator[str]:
    """Yield ``word`` with one letter left out, with two exchanged, and with letters masked; its first one stays."""
    middle = range(1, len(word) - 1)
    for place in middle:
        yield word[:place] + word[place + 1 :]
    for place in range(1, len(word) - 2):
        yield word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    vowels = {place for place in middle if word[place] in _VOWELS}
    for hidden in (*({place} for place in middle), vowels, set(middle)):
        yield _masked(word, hidden)
    if len(word) <= LONGEST_HIDDEN:
        yield _masked(word, set(range(1, len(word))))
    if word[0] in _VOWELS:
        yield _masked(word, {0})


def _masked(word: str, hidden: set[int]) -> str:
    return "".join(MASK if place in hidden else letter for place, letter in enumerate(word))


@cache
def _words() -> tuple[str, ...]:
    lines = WORDS.read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))
