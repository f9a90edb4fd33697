"""Steps around a tokenizer's own normaliser that undo common disguises: they lie in the bundle's ``tokenizer.json``.

A model learns others from examples (`train.disguises`); a rule costs no parameters, all of them 0.3 ms per comment, and
works on words that were never seen. For languages in Latin script only: look-alikes of Cyrillic and Greek become Latin
letters wherever they stand.
"""

import re
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer
from tokenizers.normalizers import Normalizer, Replace, Sequence

LONGEST_WORD = 30
"""Characters after a sign in a word: more would let a text without an end take quadratic time."""
_LETTER = "[A-Za-z]"
_SIGN = r"[.\-_*~|/]"
_VOWEL, _CONSONANT = "[AEIOUYaeiouy]", "[B-DF-HJ-NP-TV-XZb-df-hj-np-tv-xz]"
_NEVER_TWICE = "AHIJKQUVWXYahijkquvwxy"
"""No English word has them twice in a row, nor any consonant that follows another or begins a word."""
_BEFORE, _AFTER = "[^A-Za-z0-9'’]", "(?![A-Za-z0-9])"
_LOOK_ALIKES = {
    "a": "аɑαАΑ", "b": "ВΒ", "c": "сϲСϹ", "e": "еЕΕ", "h": "һНΗ", "i": "іıІΙ", "k": "κкКΚ", "m": "МΜ", "n": "ոΝ",
    "o": "оοОΟ", "p": "рρРΡ", "s": "ѕЅ", "t": "τТΤ", "u": "υ", "x": "хχХΧ", "y": "уγУΥ",
}  # fmt: skip
"""The letters that abuse is spelt with; each costs every comment a pass of 5 µs."""
_DIGITS = {"1": "i", "0": "o", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s"}
_SIGNS = "".join(_DIGITS)
_BEFORE_WORD, _END = "[^A-Za-z0-9@$.]", r"(?![A-Za-z0-9@]|\.[A-Za-z0-9])"
EMOJI = (
    "[\u231a\u231b\u23e9-\u23fa\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2600-\u27bf\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55"
    "\U0001f004\U0001f0cf\U0001f170-\U0001f19a\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff]"
)
_SHAPES = "\ufe0f\u200d\u20e3\U0001f3fb-\U0001f3ff"
"""What only shapes the emoji before it, the colours of skin among them."""
_IN_WORDS = f"[{EMOJI[1:-1]}{_SHAPES}]"
MASK = "\u2217"
"""Stands for a letter that is not told, and behind letters for their end: ``fuk∗`` is a token that begins no word.

An asterisk of mathematics, which a WordPiece tokenizer leaves in its word.
"""
_STAR = r"\*"
_MOST_STARS = 6
"""Of which each has a pattern, as what stands before a match has a fixed length."""


def undisguise(tokenizer: Tokenizer) -> None:
    """Put the steps before the normaliser of ``tokenizer``, in place; masked words are joined if it knows `MASK`.

    Behind the normaliser the end of a word is marked where the vocabulary has the word with its end alone; those are in
    lower case, and found only if the normaliser writes lower case.
    """
    own: list[Normalizer] = [tokenizer.normalizer] if tokenizer.normalizer is not None else []
    whole = [token[: -len(MASK)] for token in tokenizer.get_vocab() if re.fullmatch(f"[a-z0-9]{{3,}}{MASK}", token)]
    ends = [Replace(Regex(_ends(sorted(whole))), MASK)] if whole else []  # of what the own one wrote in lower case
    tokenizer.normalizer = Sequence([*steps(masks=tokenizer.token_to_id(f"##{MASK}") is not None), *own, *ends])


def steps(masks: bool) -> list[Normalizer]:
    """Return the steps: look-alikes, emoji in words, letters set apart, masked, digits, letters four times or more."""
    return [
        *(Replace(Regex(f"[{alike}]"), letter) for letter, alike in _LOOK_ALIKES.items()),
        Replace(Regex(f"(?<={_LETTER}){_IN_WORDS}{{1,4}}(?={_LETTER})"), ""),
        Replace(Regex(f"[{_SHAPES}]"), ""),
        Replace(Regex(_between_lone_letters(_SIGN, 3)), ""),  # f.u.c.k, and U.S.A.
        Replace(Regex(_between_lone_letters(" ", 4)), ""),  # not "u r a fool", nor "plan B I like"
        *([Replace(Regex(_masked()), MASK)] if masks else []),
        *(Replace(Regex(_at_the_end(sign)), letter) for sign, letter in _DIGITS.items() if sign.isdigit()),
        Replace(
            Regex(r"(?<![A-Za-z0-9@$])\$(?=[a-z]{2})|(?<=[a-z]|[a-z]\$)\$(?=\$?(?![A-Za-z0-9$@]))"), "s"
        ),  # $hit, a$$
        *(Replace(Regex(_at_the_start(sign)), letter) for sign, letter in _DIGITS.items() if sign.isdigit()),
        *(Replace(Regex(_among("a-z", sign)), letter) for sign, letter in _DIGITS.items()),
        *(Replace(Regex(_among("A-Z", sign)), letter.upper()) for sign, letter in _DIGITS.items()),
        # Four times or more: not www, KKK nor World War III.
        Replace(Regex(rf"([{_NEVER_TWICE}]|(?<!{_VOWEL}){_CONSONANT})\K\1{{3,}}"), ""),
        Replace(Regex(rf"({_LETTER})\1\K(?=\1\1)\1+"), ""),
    ]


def _ends(words: Iterable[str]) -> str:
    """Return a pattern of the end of each word that stands alone; words that begin alike are tried as one."""
    by_start: dict[str, list[str]] = {}
    for word in words:
        by_start.setdefault(word[:2], []).append(word[2:])
    starts = "|".join(f"{start}(?:{'|'.join(rests)})" for start, rests in by_start.items())
    part = r"[\p{L}\p{N}]"
    return rf"(?<!{part}|{part}['’])(?:{starts})\K(?!{part}|['’]{part})"


def _between_lone_letters(separator: str, letters: int) -> str:
    """Return a pattern of each separator in a run of at least so many letters, each alone."""
    places = []
    for before in range(1, letters):
        left = _LETTER + f"{separator}{_LETTER}" * (before - 1)
        right = _LETTER + f"{separator}{_LETTER}" * (letters - before - 1)
        places.append(f"(?<={_BEFORE}{left}|^{left}){separator}(?={right}{_AFTER})")
    return "|".join(places)


def _masked() -> str:
    """Return a pattern of each sign that hides a letter: f*ck, sh!t, f***, *sshole; not *this*, C#, A** or evil!the.

    An asterisk hides a letter between letters, or with two more behind one letter; ! and # behind one or two
    consonants, with which few sentences end.
    """
    inside = [f"(?<={_LETTER}{_STAR * n}){_STAR}(?={_STAR}{{0,{_MOST_STARS}}}{_LETTER})" for n in range(_MOST_STARS)]
    behind_one = [
        f"(?<={start}{_LETTER}{_STAR * n}){_STAR}(?={_STAR * max(0, 2 - n)})"
        for start in ("^", "[^A-Za-z0-9*'’]")
        for n in range(_MOST_STARS)
    ]
    others = [
        rf"(?<![A-Za-z0-9]){_CONSONANT}{{{before}}}\K[!#](?=[a-z]{{{after},7}}(?![A-Za-z0-9.]))"
        for before, after in ((1, 2), (2, 1))
    ]
    return "|".join([*inside, *behind_one, *others, rf"(?<![\w*]){_STAR}(?=ss(?:es|holes?)?(?![\w*]))"])


def _at_the_end(sign: str) -> str:
    """Return a pattern of a digit at the end of a small word that has another sign between its letters: a55h0l35."""
    return rf"[a-z][{_SIGNS}]{{1,3}}[a-z]{{1,{LONGEST_WORD}}}[{_SIGNS}]{{0,2}}\K{sign}(?=[{_SIGNS}]{{0,2}}{_END})"


def _at_the_start(sign: str) -> str:
    """Return a pattern of a digit that a small word begins with, if there is another between its letters: 5m3ll5.

    Not in 4th, 5km, 3com or 7eleven.
    """
    return rf"(?<![A-Za-z0-9@$.,:/\-]){sign}(?=[{_SIGNS}]{{0,2}}[a-z]{{1,10}}[{_SIGNS}]{{1,3}}[a-z])"


def _among(letters: str, sign: str) -> str:
    """Return a pattern of a sign between ``letters``, in a word of nothing but those and such signs after it.

    Not in H1N1, MP3s, US$5m nor an address: of capitals, and after one, two letters have to stand on one side, as in
    SH1T, B1TCH and B1tch.
    """
    rest = f"(?=[{letters}{_SIGNS}]{{0,{LONGEST_WORD}}}[{letters}]{_END})"
    capital = f"(?<={_BEFORE_WORD}[A-Z]|^[A-Z]|{_BEFORE_WORD}[A-Z][{_SIGNS}]|^[A-Z][{_SIGNS}])"
    two = f"(?=[{_SIGNS}]?[{letters}][{_SIGNS}]{{0,2}}[{letters}][{letters}{_SIGNS}]{{0,{LONGEST_WORD}}}{_END})"
    before = "[a-z]" if letters == "a-z" else "[A-Z][A-Z]"
    return f"(?<={before}|{before}[{_SIGNS}])[{sign}]{rest}|{capital}[{sign}]{two}"
