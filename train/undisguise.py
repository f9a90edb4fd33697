"""Steps before a tokenizer's own normaliser that undo common disguises: they lie in the bundle's ``tokenizer.json``.

A model learns others from examples (`train.disguises`); a rule costs no parameters, 0.1 to 0.2 ms per comment, and
works on words that were never seen. For languages in Latin script only: look-alikes of Cyrillic and Greek become Latin
letters wherever they stand.
"""

from tokenizers import Regex, Tokenizer
from tokenizers.normalizers import Normalizer, Replace, Sequence

LONGEST_WORD = 30
"""Characters after a sign in a word: more would let a text without an end take quadratic time."""
_LETTER = "[A-Za-z]"
_SIGN = r"[.\-_*~|/]"
_BEFORE, _AFTER = "[^A-Za-z0-9'’]", "(?![A-Za-z0-9])"
_LOOK_ALIKES = {
    "a": "аɑαАΑ", "c": "сϲСϹ", "e": "еЕΕ", "i": "іıІΙ", "k": "κкКΚ", "o": "оοОΟ", "p": "рρРΡ", "s": "ѕЅ", "t": "τТΤ",
    "u": "υ", "x": "хχХΧ", "y": "уγУΥ",
}  # fmt: skip
"""The letters that abuse is spelt with; each costs every comment a pass of 5 µs."""
_DIGITS = {"1": "i", "0": "o", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s"}
_EMOJI = "[\u2600-\u27bf\ufe0f\u200d\U0001f300-\U0001faff]"


def undisguise(tokenizer: Tokenizer) -> None:
    """Put the steps before the normaliser of ``tokenizer``, in place."""
    own: list[Normalizer] = [tokenizer.normalizer] if tokenizer.normalizer is not None else []
    tokenizer.normalizer = Sequence([*steps(), *own])


def steps() -> list[Normalizer]:
    """Return the steps: look-alike letters, emoji in words, letters set apart, digits, letters four times or more."""
    return [
        *(Replace(Regex(f"[{alike}]"), letter) for letter, alike in _LOOK_ALIKES.items()),
        Replace(Regex(f"(?<={_LETTER}){_EMOJI}{{1,4}}(?={_LETTER})"), ""),
        Replace(Regex(_between_lone_letters(_SIGN, 3)), ""),  # f.u.c.k, and U.S.A.
        Replace(Regex(_between_lone_letters(" ", 4)), ""),  # not "u r a fool", nor "plan B I like"
        *(Replace(Regex(_at_the_end(sign)), letter) for sign, letter in _DIGITS.items() if sign.isdigit()),
        Replace(
            Regex(r"(?<![A-Za-z0-9@$])\$(?=[a-z]{2})|(?<=[a-z]|[a-z]\$)\$(?=\$?(?![A-Za-z0-9$@]))"), "s"
        ),  # $hit, a$$
        *(Replace(Regex(_inside_a_word(sign)), letter) for sign, letter in _DIGITS.items()),
        Replace(Regex(rf"({_LETTER})\1\K(?=\1\1)\1+"), ""),  # not www, KKK nor World War III
    ]


def _between_lone_letters(separator: str, letters: int) -> str:
    """Return a pattern of each separator in a run of at least so many letters, each alone."""
    places = []
    for before in range(1, letters):
        left = _LETTER + f"{separator}{_LETTER}" * (before - 1)
        right = _LETTER + f"{separator}{_LETTER}" * (letters - before - 1)
        places.append(f"(?<={_BEFORE}{left}|^{left}){separator}(?={right}{_AFTER})")
    return "|".join(places)


def _at_the_end(sign: str) -> str:
    """Return a pattern of a digit at the end of a small word that has another sign between its letters: a55h0l35."""
    signs = "".join(_DIGITS)
    return (
        rf"[a-z][{signs}]{{1,3}}[a-z]{{1,{LONGEST_WORD}}}[{signs}]{{0,2}}\K{sign}(?=[{signs}]{{0,2}}(?![A-Za-z0-9.@$]))"
    )


def _inside_a_word(sign: str) -> str:
    """Return a pattern of a sign between letters, in a word that holds nothing but letters and such signs after it.

    Not in H1N1, MP3s, US$5m nor an address; in capitals two letters have to stand before, as in SH1T.
    """
    signs = "".join(_DIGITS)

    def rest(letters: str) -> str:
        return f"(?=[{letters}{signs}]{{0,{LONGEST_WORD}}}[{letters}](?![A-Za-z0-9.@]))"

    small = f"(?<=[a-z]|[a-z][{signs}])[{sign}]{rest('a-z')}"
    return f"{small}|(?<=[A-Z][A-Z]|[A-Z][A-Z][{signs}])[{sign}]{rest('A-Z')}"
